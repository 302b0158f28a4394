"""The whole report as one PDF: the website's pages as a Quarto book, which Quarto sets with Typst.

Quarto 1.9 and later bring Typst and its books along, so that neither TeX nor a network is needed.
"""

import base64
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from medmm_lib import paths
from medmm_lib.site import SiteError, put_in_place, stage

PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
# A label where it is set and where it is named, in a page's Markdown or a notebook's JSON.
LABEL = re.compile(r"(#\| label: |[@#])(fig|tbl|eq)-(?=[a-z0-9])")


def build(profile: str) -> Path:
    """Set the pages of `profile` as one PDF, `_pdf/medmm.pdf`, and return its path; `SiteError` without Quarto."""
    quarto = shutil.which("quarto")
    if not quarto:
        raise SiteError("a PDF of the whole report needs Quarto 1.9 or later: https://quarto.org/docs/get-started")
    put_in_place(profile)
    with tempfile.TemporaryDirectory(prefix="medmm-book-") as folder:
        project = Path(folder)
        stage(project)
        config = yaml.safe_load((project / "_quarto.yml").read_text(encoding="utf-8"))
        chapters = _chapters(config, project)
        for number, page in enumerate(_pages(chapters)):
            _for_a_book(project / page, number)
        (project / "_quarto.yml").write_text(yaml.safe_dump(_as_book(config, chapters), sort_keys=False), "utf-8")
        if subprocess.run([quarto, "render", str(project), "--to", "typst"]).returncode:
            raise SiteError("quarto could not set the book; its own message is above")
        paths.write_atomically(paths.ROOT / "_pdf" / "medmm.pdf", next(project.glob("_book/*.pdf")).read_bytes())
    return paths.ROOT / "_pdf" / "medmm.pdf"


def _chapters(config: dict[str, Any], project: Path) -> list[str | dict[str, Any]]:
    """The sidebar as a book's chapters; the journal's list of entries gives way to the entries."""
    journal = "report/journal/index.qmd"
    contents = config["website"]["sidebar"]["contents"]
    chapters: list[str | dict[str, Any]] = [
        {"part": one["section"], "chapters": [page for page in one["contents"] if page != journal]}
        if isinstance(one, dict)
        else one
        for one in contents
    ]
    entries = sorted(page.relative_to(project).as_posix() for page in project.glob("report/journal/2*.qmd"))
    return [*chapters, {"part": "Journal", "chapters": entries}] if entries else chapters


def _pages(chapters: list[str | dict[str, Any]]) -> list[str]:
    return [page for one in chapters for page in (one["chapters"] if isinstance(one, dict) else [one])]


def _for_a_book(page: Path, number: int) -> None:
    """Give a page labels that no other has, and Typst its pictures as files, as it reads no data addresses."""
    text = LABEL.sub(rf"\1\2-{number}-", page.read_text(encoding="utf-8"))

    def to_file(found: re.Match[str]) -> str:
        picture = page.with_name(f"{page.stem}_{found.start()}.png")
        picture.write_bytes(base64.b64decode(found[1]))
        return picture.name

    page.write_text(PICTURE.sub(to_file, text), encoding="utf-8")


def _as_book(config: dict[str, Any], chapters: list[str | dict[str, Any]]) -> dict[str, Any]:
    return {
        "project": {"type": "book", "output-dir": "_book"},
        "book": {
            "title": "Multimodal foundation models for medicine",
            "subtitle": config["website"]["page-footer"]["center"],
            "author": "The medmm authors",
            "output-file": "medmm",
            "chapters": chapters,
        },
        "bibliography": config["bibliography"],
        "execute": {"enabled": False, "echo": False},
        "format": {"typst": {"toc": True, "lang": "en", "papersize": "a4"}},
    }
