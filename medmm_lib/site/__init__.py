"""The website: executed notebooks and pages in, `_site` out.

Quarto renders it; where Quarto is not installed, smalldocs renders the same project after one pandoc pass.
"""

import json
import re
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from medmm_lib import paths, results
from medmm_lib.site import answers, pandoc, reference, reproduce
from medmm_lib.site.check import Website

VARIABLE = re.compile(r"\{\{<\s*var\s+([\w.-]+)\s*>\}\}")
# What _quarto.yml tells Quarto and the pandoc pass does for smalldocs, which would warn that it ignores these keys.
ONLY_FOR_QUARTO = ("bibliography", "link-citations", "html-math-method", "execute")
WEB_FONT = re.compile(r"@import\s+url\([^)]*//fonts\.googleapis\.com[^)]*\);?")  # the site loads nothing from a network


class SiteError(Exception):
    """The website cannot be built; the message says what is wrong and what to do."""


def prepare(profile: str) -> None:
    """Put what the pages need in place: executed chapters, measured numbers, the reference and plotly.js."""
    _copy_chapters(profile)
    _copy_plotly()
    reference.write()
    paths.write_atomically(_variables_file(), _variables_text(profile))


def build(profile: str) -> Path:
    """Render the website of `profile` into `_site` and return its first page.

    The old `_site` stays as it is until the new one is complete and has passed its checks.
    """
    put_in_place(profile)
    with tempfile.TemporaryDirectory(prefix="medmm-site-") as folder:
        project = Path(folder)
        stage(project)
        if quarto := shutil.which("quarto"):
            _render_with_quarto(quarto, project)
        else:
            print("site: quarto is not on the PATH, so smalldocs renders the pages (complete, but plainer)")
            _render_with_smalldocs(project)
        if problems := Website(project / "_site").problems():
            raise SiteError("the website was not replaced:\n" + "\n".join(problems))
        _replace_site(project / "_site")
    return paths.SITE / "index.html"


def put_in_place(profile: str) -> None:
    """`prepare`, and raise `SiteError` for a chapter that `profile` has not run."""
    prepare(profile)
    for chapter in paths.chapters():
        if not (paths.CHAPTER_PAGES / f"{chapter}.ipynb").exists():
            command = f"medmm run --profile {profile} --only {chapter}"
            raise SiteError(f"chapter {chapter} has not been run with the profile {profile}: run `{command}` first")


def _copy_chapters(profile: str) -> None:
    """Bring the executed notebooks of `profile` to the pages, and remove pages that no run of it stands behind."""
    wanted = set()
    for chapter in paths.chapters():
        executed = paths.artifacts(profile, chapter) / "notebook.ipynb"
        if executed.exists():
            page = paths.CHAPTER_PAGES / f"{chapter}.ipynb"
            notebook = json.loads(executed.read_text(encoding="utf-8"))
            reproduce.offer(profile, chapter, notebook)
            notebook = _publishable(notebook)
            paths.write_atomically(page, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
            wanted.add(page)
    for page in paths.CHAPTER_PAGES.glob("*.ipynb"):
        if page not in wanted:
            page.unlink()


def _publishable(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without what needs a kernel or a terminal, and with HTML that loads nothing from a network."""
    notebook["metadata"].pop("widgets", None)
    notebook["cells"] = [cell for cell in notebook["cells"] if "widget" not in cell["metadata"].get("tags", [])]
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = f'#| code-summary: "Parameters of this run"\n{_text(cell["source"])}'
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if not _needs_more_than_a_page(output)]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                output["data"] = {"text/markdown": data["text/markdown"]}
            elif "text/html" in data:
                output["data"] = _html_as_markdown(data)
    return notebook


def _needs_more_than_a_page(output: dict[str, Any]) -> bool:
    """Whether an output is for a terminal, or a widget, such as a progress bar, that only a kernel keeps alive."""
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _html_as_markdown(data: dict[str, Any]) -> dict[str, Any]:
    """Say in Markdown what a `text/html` output shows.

    Quarto loads RequireJS and jQuery from a CDN for every page with a `text/html` output, in case it needs them. Ours
    never does. Formats without HTML, such as PDF, get the static picture instead.
    """
    fence = "`" * 8
    markdown = f"{fence}{{=html}}\n{_text(data['text/html'])}\n{fence}\n"
    if "image/png" in data:
        alt = re.sub(r"([\[\]\\*_`$])", r"\\\1", _text(data.get("text/plain", "")))
        picture = f"![{alt}](data:image/png;base64,{''.join(_text(data['image/png']).split())})"
        markdown += f'\n::: {{.content-visible unless-format="html"}}\n{picture}\n:::\n'
    return {"text/markdown": markdown}


def _text(value: str | list[str]) -> str:
    """A notebook's text, which may be stored as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def _copy_plotly() -> None:
    """Copy the plotly.js that fits the installed plotly, unless it is there already."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    copy = paths.REPORT / "assets" / "plotly.min.js"
    if not copy.exists() or copy.read_bytes() != script:
        paths.write_atomically(copy, script)


def _variables_file() -> Path:
    return paths.ROOT / "_variables.yml"


def _variables_text(profile: str) -> str:
    """What `{{< var … >}}` shows: answers, numbers of the latest run and of record, else "not measured yet"."""
    variables: dict[str, Any] = {"profile": profile, "answers": answers.of(profile), "latest": {}, "record": {}}
    for chapter in paths.chapters():
        metrics = _metrics(paths.artifacts(profile, chapter) / "results.json")
        if metrics:
            variables["latest"][chapter] = metrics
    for file in sorted(paths.RECORDS.glob("*/*.json")):
        variables["record"].setdefault(file.parent.name, {})[file.stem] = _metrics(file)
    for key in sorted(_variables_asked_for()):
        _fill_in(variables, key.split("."))
    header = "# Written by `medmm site` from the results of the runs. Do not edit.\n"
    return header + yaml.safe_dump(variables, allow_unicode=True, sort_keys=True)


def _metrics(file: Path) -> dict[str, str]:
    """The metrics of one results file, as text for a reader."""
    if not file.exists():
        return {}
    metrics = json.loads(file.read_text(encoding="utf-8")).get("metrics", {})
    return {name: results.number(value) for name, value in metrics.items()}


def _variables_asked_for() -> set[str]:
    """Every key that a page shows with `{{< var key >}}`."""
    pages = [paths.ROOT / "index.qmd", *paths.REPORT.rglob("*.qmd"), *paths.CHAPTER_PAGES.glob("*.ipynb")]
    return {key for page in pages if page.exists() for key in VARIABLE.findall(page.read_text(encoding="utf-8"))}


def _fill_in(variables: dict[str, Any], key: list[str]) -> None:
    """Give a key that no run has measured a text, so that a page never shows an empty place."""
    for part in key[:-1]:
        variables = variables.setdefault(part, {})
    variables.setdefault(key[-1], results.NOT_MEASURED)


def stage(project: Path) -> None:
    """Copy the website's sources to an empty folder: a render writes beside them, and Quarto edits .gitignore."""
    for name in ("_quarto.yml", "_variables.yml", "index.qmd"):
        shutil.copy(paths.ROOT / name, project / name)
    shutil.copytree(paths.REPORT, project / "report")
    (project / "notebooks").mkdir()
    for chapter in paths.chapters():
        shutil.copy(paths.NOTEBOOKS / f"{chapter}.ipynb", project / "notebooks")


def _render_with_quarto(quarto: str, project: Path) -> None:
    result = subprocess.run([quarto, "render", str(project), "--to", "html"])
    if result.returncode:
        raise SiteError("quarto could not render the website; its own message is above")


def _render_with_smalldocs(project: Path) -> None:
    from smalldocs.config import BuildError, ConfigError
    from smalldocs.site import build as render

    config = yaml.safe_load((project / "_quarto.yml").read_text(encoding="utf-8"))
    options = config.get("format", {}).get("html", {})
    _resolve_references(project, {key: options[key] for key in ("code-fold", "code-summary") if key in options})
    (project / "_quarto.yml").write_text(yaml.safe_dump(_for_smalldocs(config), sort_keys=False), encoding="utf-8")
    try:
        site = render(project, quiet=True)
    except (BuildError, ConfigError) as error:
        raise SiteError(f"smalldocs could not render the website: {error}") from error
    for warning in site.warnings:
        print(f"site: {warning}")
    for theme in (project / "_site" / "site_libs" / "themes").rglob("*.css"):
        theme.write_text(WEB_FONT.sub("", theme.read_text(encoding="utf-8")), encoding="utf-8")


def _resolve_references(project: Path, folding: dict[str, Any]) -> None:
    """Run the pandoc pass over every page of the staged project; the problems of all pages come together."""
    bibliography = project / "report" / "references.bib"
    problems = []
    pages = [*project.glob("*.qmd"), *project.glob("report/**/*.qmd"), *project.glob("report/chapters/*.ipynb")]
    for page in sorted(pages):
        name, text = page.relative_to(project).as_posix(), page.read_text(encoding="utf-8")
        try:
            if page.suffix == ".ipynb":
                text = pandoc.notebook_with_resolved_references(name, text, bibliography, folding)
            else:
                text = pandoc.with_resolved_references(name, text, bibliography)
            page.write_text(text, encoding="utf-8")
        except pandoc.PageError as error:
            problems.append(str(error))
    if problems:
        raise SiteError("the website was not replaced:\n" + "\n".join(problems))


def _for_smalldocs(config: dict[str, Any]) -> dict[str, Any]:
    """The project's configuration without what only Quarto reads."""
    config = {key: value for key, value in config.items() if key not in ONLY_FOR_QUARTO}
    config["project"].pop("pre-render", None)  # `build` has checked the same, and the pass has changed the pages
    options = config.get("format", {}).get("html", {})
    for key in ONLY_FOR_QUARTO:
        options.pop(key, None)
    if isinstance(theme := options.get("theme"), dict):
        options["theme"] = {mode: _without_sass(names) for mode, names in theme.items()}
    return config


def _without_sass(names: str | list[str]) -> list[str]:
    return [name for name in ([names] if isinstance(names, str) else names) if not name.endswith(".scss")]


def _replace_site(rendered: Path) -> None:
    """Give the finished website its place. The copy is made beside it first, so that the swap is two renames."""
    neighbour = Path(tempfile.mkdtemp(dir=paths.SITE.parent, prefix=f"{paths.SITE.name}."))
    try:
        shutil.copytree(rendered, neighbour / "new")
        if paths.SITE.exists():
            paths.SITE.rename(neighbour / "old")
        (neighbour / "new").rename(paths.SITE)
    except OSError:
        if not paths.SITE.exists() and (neighbour / "old").exists():
            (neighbour / "old").rename(paths.SITE)
        raise
    finally:
        shutil.rmtree(neighbour)
