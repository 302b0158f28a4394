"""One pandoc pass that gives a page what smalldocs lacks: citations, cross-references, numbered captions and math.

smalldocs builds the website where Quarto is not installed. It reads Quarto's Markdown, but leaves `[@key]`, `@fig-x`
and `$math$` as they are. This pass turns them into plain Markdown and MathML and leaves everything else alone.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pypandoc
import yaml
from smalldocs.markdown import split_front_matter
from smalldocs.notebook import cell_options, source, to_markdown

FILTER = Path(__file__).with_name("references.lua")
READER = "markdown+table_attributes-native_divs-native_spans"
WRITER = (
    "markdown+table_attributes-simple_tables-multiline_tables-grid_tables-smart-citations-raw_attribute"
    "-native_divs-native_spans-fancy_lists-example_lists-line_blocks"
)
FENCE = re.compile(r"^(`{3,}|~{3,})")
SHORTCODE = re.compile(r"\{\{<.*?>\}\}")
# Private-use characters stand for what pandoc must not touch: no page holds them, and pandoc passes them through.
KEPT = re.compile("\ue000(\\d+)\ue001")


class PageError(Exception):
    """A page that cannot be published as it is; the message names the page and what to mend."""


def with_resolved_references(page: str, text: str, bibliography: Path) -> str:
    """The page's Markdown (front matter included) with citations, cross-references and math resolved.

    `page` is the name that problems are reported under; they are raised together as one `PageError`.
    """
    _, body = split_front_matter(text)
    front = text[: len(text) - len(body.lstrip("\n"))].rstrip("\n")
    kept: list[str] = []
    markdown = _pandoc(page, _keep(body, kept), bibliography)
    body = KEPT.sub(lambda match: kept[int(match[1])], markdown)
    return f"{front}\n\n{body}" if front else body


def notebook_with_resolved_references(page: str, text: str, bibliography: Path, folding: dict[str, Any]) -> str:
    """The same for an executed notebook: a notebook of one Markdown cell that shows the code and the stored outputs.

    `folding` holds the site's `code-fold` and `code-summary`, which smalldocs reads from a cell only.
    """
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            options, code = cell_options(source(cell))
            _move_caption_to_outputs(cell, options)
            header = yaml.safe_dump(folding | options, allow_unicode=True, sort_keys=False, width=10**6)
            cell["source"] = "\n".join([*(f"#| {line}" for line in header.splitlines()), code])
    front, body = to_markdown(json.dumps(notebook))
    body = with_resolved_references(page, body, bibliography)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": body}]
    if front:
        header = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
        cells.insert(0, {"cell_type": "raw", "metadata": {}, "source": f"---\n{header}---\n"})
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": notebook["metadata"], "cells": cells})


def _move_caption_to_outputs(cell: dict[str, Any], options: dict[str, Any]) -> None:
    """Make `fig-cap` or `tbl-cap` an output: smalldocs itself captions pictures only, and cannot number them."""
    figure, table = options.pop("fig-cap", None), options.pop("tbl-cap", None)
    text = figure or table
    if not text or not cell["outputs"]:
        return
    text = " ".join(map(str, text)) if isinstance(text, list) else str(text)
    output = {"output_type": "display_data", "metadata": {}}
    output["data"] = {"text/markdown": f":::: {{.medmm-caption}}\n{text}\n::::"}
    # As in print: a table's caption stands above it, a figure's below.
    cell["outputs"].insert(0 if table else len(cell["outputs"]), output)


def _keep(body: str, kept: list[str]) -> str:
    """Replace code blocks, raw blocks and shortcodes by marks; `kept` receives what they stand for."""

    def mark(content: str) -> str:
        kept.append(content)
        return f"\ue000{len(kept) - 1}\ue001"

    lines: list[str] = []
    block: list[str] = []
    for line in body.split("\n"):
        fence = FENCE.match(line)
        if block:
            block.append(line)
            if fence and line.strip() == fence[1] and len(fence[1]) >= len(FENCE.match(block[0])[1]):
                lines += ["", mark("\n".join(block)), ""]
                block = []
        elif fence:
            block = [line]
        else:
            lines.append(SHORTCODE.sub(lambda match: mark(match[0]), line))
    return "\n".join(lines + block)


def _pandoc(page: str, body: str, bibliography: Path) -> str:
    """Run pandoc with the Lua filter; its problems become one `PageError`."""
    metadata = {"link-citations": True, "reference-section-title": "References"}
    if bibliography.is_file():
        metadata["bibliography"] = str(bibliography)
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        yaml.safe_dump(metadata, file)
        file.flush()
        command = [pypandoc.get_pandoc_path(), f"--from={READER}", f"--to={WRITER}", "--wrap=none"]
        command += [f"--metadata-file={file.name}", f"--lua-filter={FILTER}"]
        result = subprocess.run(command, input=body, capture_output=True, text=True, encoding="utf-8")
    problems = [line.removeprefix("problem: ") for line in result.stderr.splitlines() if line.startswith("problem: ")]
    if problems:
        raise PageError("\n".join(f"{page}: {problem}" for problem in problems))
    if result.returncode:
        raise PageError(f"{page}: pandoc stopped: {result.stderr.strip()}")
    return result.stdout
