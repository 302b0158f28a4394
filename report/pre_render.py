"""Run by Quarto before it renders: stops where a page would be published without its numbers or figures.

It uses the standard library only, as Quarto runs it with whatever Python it finds.
"""

import json
import os
import sys
from pathlib import Path


def missing(root: Path) -> list[str]:
    """One line for each thing that the pages need and that is not there."""
    lines = []
    for notebook in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        page = root / "report" / "chapters" / notebook.name
        command = f"run `medmm run --only {notebook.stem}`, then `medmm site`"
        if not page.exists():
            lines.append(f"chapter {notebook.stem} has no page: {command}")
        elif not has_outputs(page):
            lines.append(f"the page of {notebook.stem} holds no results: {command}")
    for name in ("_variables.yml", "report/assets/plotly.min.js", "report/reference.qmd"):
        if not (root / name).exists():
            lines.append(f"{name} is missing: run `medmm site`, which writes it")
    return lines


def has_outputs(page: Path) -> bool:
    """Whether a notebook was executed."""
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return any(cell.get("outputs") for cell in cells)


if __name__ == "__main__":
    here = Path(os.environ.get("QUARTO_PROJECT_DIR") or Path(__file__).resolve().parent.parent)
    if found := missing(here):
        sys.exit("The website cannot be rendered yet:\n" + "\n".join(f"- {line}" for line in found))
