"""Every path of the project, in one place."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
SWEEPS = PARAMS / "sweeps"
REPORT = ROOT / "report"
CHAPTER_PAGES = REPORT / "chapters"
DOWNLOADS = REPORT / "downloads"
RECORDS = REPORT / "results"
ARTIFACTS = ROOT / "artifacts"
SITE = ROOT / "_site"
LOCK, HOLDER = ".lock", ".lock.holder"  # in folders that one run at a time writes to; the second says which


def chapters() -> list[str]:
    """The chapters' names, in order, such as `01_data_preparation`."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def artifacts(profile: str, chapter: str) -> Path:
    """The folder in which one run of `chapter` under `profile` leaves its files."""
    return ARTIFACTS / profile / chapter


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with written(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A neighbour of `path` to write to, which takes its name once all is written, and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, neighbour = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(neighbour, 0o644)
        os.replace(neighbour, path)
    except BaseException:
        Path(neighbour).unlink(missing_ok=True)
        raise


class InUse(RuntimeError):
    """A folder that another run is writing to; the message says which run."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one run. The system gives it free when the process ends, however it ends.

    Raises `InUse` at once where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        by = holder.read_text() if holder.is_file() else "a process that has just started"
        raise InUse(
            f"{os.path.relpath(folder)} is in use by {by}. Wait until that run has ended, or stop it, and run the same "
            "again"
        ) from error
    try:
        write_atomically(holder, f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
