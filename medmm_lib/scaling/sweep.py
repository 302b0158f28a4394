"""A sweep of 4M: several sizes, each trained on several amounts of tokens, and what every training ended with.

Every cell is a training of its own, with its learning rate going down to its own end: a shorter training is not the
beginning of a longer one (Hoffmann et al. 2022, section 3).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from medmm_lib import device, paths, sources
from medmm_lib.fourm.experiment import Setup, Studies, step_flops, train
from medmm_lib.fourm.shape import sized
from medmm_lib.scaling.compute import layer_weights

HEAD_WIDTH = 32


def grid(setup: Setup, widths: Sequence[int], steps: Sequence[int], seeds: Sequence[int]) -> list[Setup]:
    """The cells: the setup in every width, number of steps and seed, in heads of `HEAD_WIDTH`; cheap ones first."""
    cells = [
        replace(setup, steps=count, seed=seed, shape=dict(setup.shape) | _of_width(width))
        for width in widths
        for count in steps
        for seed in seeds
    ]
    return sorted(cells, key=lambda cell: cell.steps * int(cell.shape["width"]) ** 2)


def sweep(cells: Sequence[Setup], studies: Studies, folder: Path, *, views: int = 1) -> pd.DataFrame:
    """Train all cells, and append each to `folder`/sweep.jsonl when it is done; those that are there are not trained,
    unless the code of trainings has changed. Each study is there in so many `views`.

    A row a cell: width, steps, seed; parameters (weights of layers), tokens (given and asked for), unique (tokens of
    all training studies; their other views don't count), flops (of the whole training, as PyTorch counts them), loss
    (held out, nats a token), step_ms, seconds, peak (FLOP/s of a large matrix product on the same machine), mfu (the
    share of it that was reached), and its curve: steps and training losses.
    """
    file = folder / "sweep.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    done = {row["key"]: row for row in known}
    for cell in cells:
        key = _key(cell, studies)
        if key not in done:
            done[key] = {"key": key} | _trained(cell, studies, folder, views)
            lines = [json.dumps(row) for row in done.values()]
            paths.write_atomically(file, "\n".join(lines) + "\n")
    return pd.DataFrame([done[_key(cell, studies)] for cell in cells])


def _key(cell: Setup, studies: Studies) -> str:
    code = [path.read_text(encoding="utf-8") for path in sources.library_files("import medmm_lib.fourm.experiment")]
    return sources.json_hash([asdict(cell), studies.key, code])


def _of_width(width: int) -> dict[str, int]:
    heads = max(1, width // HEAD_WIDTH)
    return {"width": width, "heads": heads, "kv_heads": heads}


def _trained(cell: Setup, studies: Studies, folder: Path, views: int) -> dict[str, object]:
    whole = train(cell, studies, folder / "cells", evaluations=0)
    log = [row for row in whole.log if "loss" in row]
    flops, seconds = step_flops(cell, studies) * cell.steps, sum(row["seconds"] for row in log)
    peak = device.matmul_flops(device.precision()[0], seconds=0.2)
    return {
        "width": cell.shape["width"], "steps": cell.steps, "seed": cell.seed,
        "parameters": layer_weights(sized(studies.spaces, cell.size, **cell.shape)), "tokens": whole.tokens,
        "unique": int(sum(int(length.sum()) for part in studies.training for length in part.lengths.values()) / views),
        "flops": flops, "loss": whole.final["all"],
        "step_ms": 1000 * whole.step_seconds, "seconds": seconds, "peak": peak, "mfu": flops / seconds / peak,
        "curve": [[row["step"], row["loss"]] for row in log],
    }  # fmt: skip
