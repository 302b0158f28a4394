"""Runs a chapter on a node's own disk, as a cluster's volume is slow: `python -m medmm_lib.cluster.staging --help`.

Project and data are copied to the disk; while the chapter runs, what it leaves is copied back to the volume, file by
file, each whole or not at all. Marks of completeness are copied after what they mark, so that a pod that is killed at
any moment goes on from the last checkpoint that came back whole.
"""

import argparse
import logging
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path

import torch

from medmm_lib import checkpoints, parameters, paths
from medmm_lib.data import shards

LOG = logging.getLogger(__name__)
NOT_STAGED = {".venv", "_site", "artifacts", "__pycache__"}  # of the project
NOT_COPIED = {paths.LOCK, paths.HOLDER}
MARKS = (shards.INDEX, checkpoints.MARK, "results.json", "inputs.json")  # in the order in which they are written
DATABASE = ".sqlite"  # written to while it is copied
COPYING = ".copy."  # folders that a file is copied in before it gets its name
SECONDS = 300.0  # between copies
WAITS = 75  # exit code: nothing is wrong, but there is no GPU yet


class _Ending:
    """What a pod is told when it has to end (SIGTERM): while it copies, while the chapter runs, or after.

    Without a handler, the first process of a container would not be told at all.
    """

    def __init__(self) -> None:
        self.told, self.process = False, None
        signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, *_: object) -> None:
        self.told = True
        if self.process is None:
            self.heed()
        else:
            self.process.terminate()  # which does nothing to one that has ended

    def heed(self) -> None:
        """End this process if it was told to."""
        if self.told:
            sys.exit(128 + signal.SIGTERM)


def run(profile: str, chapter: str, local: Path, *, seconds: float = SECONDS, room: float = math.inf) -> int:
    """Run one chapter on `local`, a folder on the node's disk with `room` bytes. → the exit code of `medmm run`.

    It is told to end when this process is (SIGTERM), and what it left is copied back then, too. A copy that fails
    meanwhile is told and tried again; the last one raises. Raises `paths.InUse` when the chapter runs elsewhere.
    """
    home, place, ending = paths.ROOT, local / "medmm", _Ending()
    here, there = (root / "artifacts" / profile / chapter for root in (place, home))
    with paths.locked(there):
        for begun in there.rglob(f"{COPYING}*"):  # by a pod that was killed
            shutil.rmtree(begun)
        environment = _staged(profile, chapter, home, place, room)
        command = [sys.executable, "-m", "medmm_lib.cli", "run", "--profile", profile, "--only", chapter]
        ending.process = subprocess.Popen(command, cwd=place, env=environment)
        while (code := _ended(ending.process, seconds)) is None:
            try:
                mirror(here, there)
            except (OSError, sqlite3.Error) as error:
                LOG.warning("results could not be copied back, and will be tried again: %s", error)
        try:
            mirror(here, there)
        finally:
            ending.heed()
    return code


def _ended(process: subprocess.Popen, seconds: float) -> int | None:
    """The exit code, or None while it still runs after some seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def mirror(source: Path, target: Path, leave_out: Set[str] = frozenset()) -> int:
    """Bring the files of `source` that are new or changed to `target`. → how many.

    Nothing else is removed there but checkpoints that `source` has dropped, and these only once a later one has come
    whole. Files that vanish or change meanwhile are left for the next time. `leave_out`: names at the top.
    """
    found = [path for path in _files(source, leave_out) if path.name not in NOT_COPIED]
    last = {name: place for place, name in enumerate(MARKS, 1)}
    copied = 0
    for path in sorted(found, key=lambda path: (last.get(path.name, 0), path)):
        to = target / path.relative_to(source)
        try:
            copied += not _same(path, to) and _copy(path, to)
        except FileNotFoundError:
            continue
    for old in target.rglob("checkpoint-*"):
        beside = source / old.relative_to(target)
        if old.is_dir() and not beside.exists() and beside.parent.is_dir() and _later(old):
            shutil.rmtree(old)
    return copied


def _later(checkpoint: Path) -> bool:
    """Whether a later checkpoint stands beside it, with its mark."""
    steps = {one: int(one.name.rpartition("-")[2]) for one in checkpoint.parent.glob("checkpoint-*[0-9]")}
    return any(step > steps.get(checkpoint, step) and (one / checkpoints.MARK).is_file() for one, step in steps.items())


def _files(source: Path, leave_out: Set[str] = frozenset()) -> Iterator[Path]:
    try:
        inside = sorted(source.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # dropped meanwhile, or never there
        return
    for path in inside:
        if path.name not in leave_out and not path.name.startswith(COPYING):
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


def _copy(path: Path, to: Path) -> bool:
    """One file with its times, whole or not at all. → False where it was written to meanwhile."""
    to.parent.mkdir(parents=True, exist_ok=True)
    before = path.lstat()
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=COPYING) as folder:
        neighbour = Path(folder) / path.name
        if path.suffix == DATABASE and not path.is_symlink():
            with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(neighbour)) as other:
                one.backup(other)
        else:
            shutil.copy2(path, neighbour, follow_symlinks=False)
            now = path.lstat()
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                return False
        if not path.is_symlink():
            os.utime(neighbour, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(neighbour, to)
    return True


def _staged(profile: str, chapter: str, home: Path, place: Path, room: float) -> dict[str, str]:
    """Bring project, earlier results and data to the disk. → the environment that the chapter runs in there."""
    mark, own = place.parent / "staged", Path("artifacts") / profile / chapter
    if mark.is_file():  # the container was started again on the same node: what is there may be ahead of the volume
        mirror(place / own, home / own)
    mirror(home, place, NOT_STAGED)
    for folder in (profile, "data"):
        mirror(home / "artifacts" / folder, place / "artifacts" / folder)
    paths.write_atomically(mark, "")
    environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{place / 'kernels'}"}
    if not parameters.of_profile(profile, chapter).get("data_root") and (root := os.environ.get("MEDMM_DATA")):
        environment["MEDMM_DATA"] = str(_data(Path(root), place.parent / "data", room))
    return environment


def _data(root: Path, target: Path, room: float) -> Path:
    """Where the data is read from: the disk, or the volume where it would fill more than most of the disk."""
    size = sum(path.stat().st_size for path in _files(root))
    there = sum(path.stat().st_size for path in _files(target))
    if size > 0.8 * min(room, shutil.disk_usage(target.parent).free + there):
        LOG.warning("the data, %.1f GB, does not fit on %s and is read from the volume", size / 1e9, target)
        return root
    mirror(root, target)
    return target


def main(arguments: list[str] | None = None) -> int:
    """The command of a pod."""
    parser = argparse.ArgumentParser(prog="python -m medmm_lib.cluster.staging", description=__doc__)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--only", required=True, metavar="CHAPTER")
    parser.add_argument("--local", type=Path, required=True, help="a folder on the node's own disk")
    parser.add_argument("--room", type=float, default=math.inf, metavar="GIB", help="that may be filled there")
    parser.add_argument("--gpu", action="store_true", help="run only once a GPU is attached")
    parser.add_argument("--stay", action="store_true", help="do not end with the chapter, but when told to (SIGTERM)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    code = 1
    if options.gpu and not torch.cuda.is_available():
        LOG.warning("no GPU is attached yet. Attach one: the pod is then started again and the chapter runs")
        code = WAITS
    else:
        try:
            code = run(options.profile, options.only, options.local, room=2**30 * options.room)
        except Exception:  # a pod that ends is started again at once, which would help nobody to see why
            if not options.stay:
                raise
            LOG.exception("the chapter could not be run")
        LOG.info("the chapter's run ended with exit code %d", code)
    if options.stay:
        _Ending()
        signal.pause()
    return code


if __name__ == "__main__":
    sys.exit(main())
