"""Checkpoints that can be trusted: each has a mark, written last, with a hash of every file in it.

The Trainer writes a checkpoint file by file, and drops old ones by the files' times, which a clock that is put back
turns round. Here one without a mark was only begun, one whose files are not those of its mark is damaged, and the older
ones go by their steps.
"""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from medmm_lib import device, parallel, paths

LOG = logging.getLogger(__name__)
MARK = "complete.json"
KEPT = 2  # the last one, and one to fall back to


class NoGPU(RuntimeError):
    """A training that was begun on a GPU and has none now; the message says how to go on."""


class Keep(TrainerCallback):
    """Marks every checkpoint that the Trainer has written, and drops all but `KEPT`.

    These are the last ones, or the last and the best.
    """

    def on_save(self, arguments: TrainingArguments, state: TrainerState, _: TrainerControl, **__: object) -> None:
        """Called once all files of a checkpoint are there."""
        parallel.wait()  # every process writes a part
        if not state.is_world_process_zero:
            return
        mark(Path(arguments.output_dir) / f"checkpoint-{state.global_step}")
        rotate_checkpoints(arguments.output_dir, KEPT, state.best_model_checkpoint)


def mark(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, what is in it, and what kind of device it was made on."""
    made = {"device": device.describe()["type"], "files": _hashes(checkpoint)}
    paths.write_atomically(checkpoint / MARK, json.dumps(made, indent=2))


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, or an empty string."""
    try:
        marked = json.loads((checkpoint / MARK).read_text())["files"]
    except FileNotFoundError:
        return "it was only begun"
    except (ValueError, KeyError, TypeError) as error:
        return f"{MARK} can't be read: {error}"
    there = _hashes(checkpoint)
    missing = sorted(marked.keys() - there.keys())
    changed = sorted(name for name in marked.keys() & there.keys() if marked[name] != there[name])
    return f"{', '.join(missing + changed)}: missing or not as written" if missing or changed else ""


def last(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder."""
    return next((one for one in _newest_first(folder) if not damage(one)), None)


def whole(folder: Path) -> Path | None:
    """The last whole checkpoint; those after it are removed, and it says so. All processes call it together."""
    if parallel.MAIN:
        for checkpoint in _newest_first(folder):
            if not (wrong := damage(checkpoint)):
                break
            LOG.warning("%s is left out (%s): going on from the one before it", checkpoint, wrong)
            shutil.rmtree(checkpoint)
    parallel.wait()
    return next(iter(_newest_first(folder)), None)


def check_device(checkpoint: Path) -> None:
    """Raise `NoGPU` where a checkpoint was made on a GPU and there is none now: a CPU would take months."""
    kind = json.loads((checkpoint / MARK).read_text())["device"]
    if kind == "cuda" and not torch.cuda.is_available():
        raise NoGPU(
            f"{checkpoint} was made on a GPU, and there is none here now. Attach one and run the same again: it goes "
            f"on from there. To begin anew on CPU cores, remove {checkpoint.parent}"
        )


def _newest_first(folder: Path) -> list[Path]:
    return [Path(name) for name in reversed(sort_checkpoints(str(folder)))]


def _hashes(checkpoint: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != MARK:
            with path.open("rb") as file:
                hashes[str(path.relative_to(checkpoint))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
