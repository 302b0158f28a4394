"""Training curves as files hold them: TensorBoard's exports, the Trainer's state, tables of losses."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = (("Step", "Value"), ("step", "loss"))  # TensorBoard's export; everything else


@dataclass(frozen=True)
class Curve:
    """A training's loss: `steps` [T] from 1 on, rising, and `losses` [T]."""

    steps: np.ndarray
    losses: np.ndarray


def read(path: Path | str) -> Curve:
    """The training loss in a file: a CSV with the columns step and loss, or Step and Value (TensorBoard's export), or
    the `trainer_state.json` of a checkpoint.

    Rows without a loss are left out. A step that stands several times (accumulated batches) has the mean of its losses.
    A file that counts its steps from 0 is counted from 1: a power law has no value at 0. Raises ValueError for a file
    that holds no such curve.
    """
    path = Path(path)
    if path.suffix == ".json":
        rows = pd.DataFrame(json.loads(path.read_text()).get("log_history", []))
    else:
        rows = pd.read_csv(path)
    names = next((names for names in COLUMNS if set(names) <= set(rows)), None)
    if names is None:
        wanted = " or ".join(" and ".join(names) for names in COLUMNS)
        raise ValueError(f"{path.name} has {', '.join(map(str, rows)) or 'no columns'}; expected {wanted}")
    step, loss = (pd.to_numeric(rows[name], errors="coerce") for name in names)
    if (damaged := loss.isna() & rows[names[1]].notna()).any() or step[loss.notna()].isna().any():
        bad = int((damaged | (step.isna() & loss.notna())).to_numpy().argmax())
        raise ValueError(f"{path.name}, row {bad + 1}: {rows.loc[bad, list(names)].to_dict()} is no step and its loss")
    means = loss[loss.notna()].groupby(step[loss.notna()]).mean()
    if means.empty:
        raise ValueError(f"{path.name} holds no loss in its column {names[1]}")
    steps = means.index.to_numpy(dtype=float)
    return Curve(steps + (steps[0] == 0), means.to_numpy())
