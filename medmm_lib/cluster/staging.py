"""Runs a chapter on a node's own disk, as a cluster's volume is slow: `python -m medmm_lib.cluster.staging --help`.

Project and data are copied to the disk; while the chapter runs, what it leaves is copied back to the volume, file by
file, each whole or not at all. Marks of completeness are copied after what they mark, so that a pod that is killed at
any moment goes on from the last checkpoint that came back whole.
"""

import argparse
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch

from medmm_lib import checkpoints, data, parameters, paths

LOG = logging.getLogger(__name__)
NOT_STAGED = {".venv", "_site", "artifacts", "__pycache__"}  # of the project
NOT_COPIED = {".lock", ".lock.holder"}
MARKS = (checkpoints.MARK, "results.json", "inputs.json")  # in the order in which they are written
DATABASES = {".sqlite", ".db"}  # written to while they are copied
SECONDS = 300.0  # between copies
WAITS = 75  # exit code: nothing is wrong, but there is no GPU yet


def run(profile: str, chapter: str, local: Path, *, seconds: float = SECONDS, force: bool = False) -> int:
    """Run one chapter on `local`, a folder on the node's disk. → the exit code of `medmm run`.

    It is told to end when this process is (SIGTERM), and what it left is copied back then, too.
    """
    home, place = paths.ROOT, local / "medmm"
    with paths.locked(paths.artifacts(profile, chapter)):
        fetch_back = _places(profile, home, place)
        environment = _staged(profile, chapter, home, place)
        command = [sys.executable, "-m", "medmm_lib.cli", "run", "--profile", profile, "--only", chapter]
        process = subprocess.Popen(command + ["--force"] * force, cwd=place, env=environment)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
            finally:
                mirror(*fetch_back)


def mirror(source: Path, target: Path, leave_out: set[str] = frozenset()) -> int:
    """Bring the files of `source` that are new or changed to `target`. → how many.

    Nothing else is removed there but checkpoints that `source` has dropped. Files that vanish meanwhile are left out:
    they were being replaced. `leave_out`: names at the top.
    """
    found = [path for path in _files(source, leave_out) if path.name not in NOT_COPIED]
    last = {name: place for place, name in enumerate(MARKS, 1)}
    copied = 0
    for path in sorted(found, key=lambda path: (last.get(path.name, 0), path)):
        to = target / path.relative_to(source)
        try:
            if not _same(path, to):
                _copy(path, to)
                copied += 1
        except FileNotFoundError:
            continue
    for old in target.rglob("checkpoint-*"):
        beside = source / old.relative_to(target)
        if old.is_dir() and not beside.exists() and beside.parent.is_dir():
            shutil.rmtree(old)
    return copied


def _files(source: Path, leave_out: set[str]) -> Iterator[Path]:
    for path in sorted(source.iterdir()) if source.is_dir() else []:
        if path.name not in leave_out:
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, {"__pycache__"})
            else:
                yield path


def _same(path: Path, to: Path) -> bool:
    if path.is_symlink() or to.is_symlink():
        return path.is_symlink() and to.is_symlink() and path.readlink() == to.readlink()
    if not to.is_file():
        return False
    one, other = path.stat(), to.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _copy(path: Path, to: Path) -> None:
    """One file, whole or not at all, with its times."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".copy.") as folder:
        neighbour = Path(folder) / path.name
        if path.suffix in DATABASES and not path.is_symlink():
            with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(neighbour)) as other:
                one.backup(other)
            shutil.copystat(path, neighbour)
        else:
            shutil.copy2(path, neighbour, follow_symlinks=False)
        os.replace(neighbour, to)


def _places(profile: str, home: Path, place: Path) -> tuple[Path, Path]:
    return place / "artifacts" / profile, home / "artifacts" / profile


def _staged(profile: str, chapter: str, home: Path, place: Path) -> dict[str, str]:
    """Bring project, earlier results and data to the disk. → the environment that the chapter runs in there."""
    mark = place.parent / "staged"
    if mark.is_file():  # the container was started again on the same node: what is there may be ahead of the volume
        mirror(*_places(profile, home, place))
    mirror(home, place, NOT_STAGED)
    for folder in (profile, "data"):
        mirror(home / "artifacts" / folder, place / "artifacts" / folder)
    paths.write_atomically(mark, "")
    environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{place / 'kernels'}"}
    if root := _data(profile, chapter, place.parent / "data"):
        environment["MEDMM_DATA"] = str(root)
    return environment


def _data(profile: str, chapter: str, target: Path) -> Path | None:
    """The chapter's sources on the disk; None where they are embedded, or too large for it and read from the volume."""
    given = parameters.of_profile(profile, chapter)
    names = [given.get("data", "phantom")] if isinstance(given.get("data", ""), str) else given["data"]
    folders = [data.folder(name, given["data_root"] or None) for name in names if name in data.LOADERS]
    if not folders:
        return None
    size = sum(path.stat().st_size for folder in folders for path in _files(folder, set()))
    target.mkdir(parents=True, exist_ok=True)
    if size > 0.8 * shutil.disk_usage(target).free:
        LOG.warning("the data, %.1f GB, does not fit on %s and is read from the volume", size / 1e9, target)
        return None
    for folder in folders:
        mirror(folder, target / folder.name)
    return target


def main(arguments: list[str] | None = None) -> int:
    """The command of a pod."""
    parser = argparse.ArgumentParser(prog="python -m medmm_lib.cluster.staging", description=__doc__)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--only", required=True, metavar="CHAPTER")
    parser.add_argument("--local", type=Path, required=True, help="a folder on the node's own disk")
    parser.add_argument("--gpu", action="store_true", help="run only once a GPU is attached")
    parser.add_argument("--stay", action="store_true", help="do not end with the chapter, but when told to (SIGTERM)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.gpu and not torch.cuda.is_available():
        LOG.warning("no GPU is attached yet. Attach one: the pod is then started again and the chapter runs")
        code = WAITS
    else:
        code = run(options.profile, options.only, options.local)
        LOG.info("the chapter's run ended with exit code %d", code)
    if options.stay:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        signal.pause()
    return code


if __name__ == "__main__":
    sys.exit(main())
