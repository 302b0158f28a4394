"""Whether the bound on the error of what is answered holds: many calibrations on a real model's confidences."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medmm_lib.guard.abstain import abstention


def over_draws(
    confidences: np.ndarray, right: np.ndarray, *, target: float, delta: float, draws: int, seed: int = 0
) -> pd.DataFrame:
    """Calibrations on answers drawn with replacement from these N, so that the true error at each threshold is known:
    that of all N. A row a draw: threshold, coverage, error (NaN where nothing is answered). The bound holds where at
    most a share `delta` of rows has an error above `target`."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        drawn = rng.integers(len(right), size=len(right))
        found = abstention(confidences[drawn], right[drawn], target=target, delta=delta)
        rows.append(_measured(found.threshold, confidences, right))
    return pd.DataFrame(rows)


def over_splits(
    confidences: np.ndarray, right: np.ndarray, groups: Sequence, *, target: float, delta: float, splits: int,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Calibrations on half of the `groups` ([N]: the patient of each answer), measured on the other half: harder than
    the bound promises, as answers of one patient are alike and the other half is a sample itself. Rows as of
    `over_draws`."""
    rng = np.random.default_rng(seed)
    names = np.unique(np.asarray(groups))
    rows = []
    for _ in range(splits):
        here = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        found = abstention(confidences[here], right[here], target=target, delta=delta)
        rows.append(_measured(found.threshold, confidences[~here], right[~here]))
    return pd.DataFrame(rows)


def _measured(threshold: float, confidences: np.ndarray, right: np.ndarray) -> dict[str, float]:
    answered = confidences >= threshold
    error = float((~right[answered]).mean()) if answered.any() else np.nan
    return {"threshold": threshold, "coverage": float(answered.mean()), "error": error}
