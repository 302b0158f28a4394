"""Every path of the project, in one place."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
REPORT = ROOT / "report"
CHAPTER_PAGES = REPORT / "chapters"
RECORDS = REPORT / "results"
ARTIFACTS = ROOT / "artifacts"
SITE = ROOT / "_site"


def chapters() -> list[str]:
    """The chapters' names, in order, such as `01_data_preparation`."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def artifacts(profile: str, chapter: str) -> Path:
    """The folder in which one run of `chapter` under `profile` leaves its files."""
    return ARTIFACTS / profile / chapter


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: the content goes to a neighbour first, which then takes the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, neighbour = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(neighbour, 0o644)
        os.replace(neighbour, path)
    except BaseException:
        Path(neighbour).unlink(missing_ok=True)
        raise
