"""Arms of a study beside the first of them: each was trained once with each of the same seeds.

The interval says which patients were held out, not how another training would end; `seeds` is the standard deviation
between trainings, NaN for one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medmm_lib.evaluation.classification import auc_statistics, mean_of
from medmm_lib.evaluation.intervals import Statistic, interval, mean, paired_difference


def beside_first(arms: Mapping[str, np.ndarray], groups: Sequence) -> pd.DataFrame:
    """Scores of examples, arm → [seeds, N], averaged over seeds and paired with the first arm's.

    Columns: arm, value, low, high, seeds, and of the difference to the first arm: difference, difference_low,
    difference_high, p. `groups`: the patient of each example. NaN scores do not count.
    """
    rows, first = [], None
    for arm, runs in arms.items():
        values = runs.mean(0)
        first = values if first is None else first
        estimate, lead = interval(mean(values), groups), paired_difference(values, first, groups)
        rows.append({
            "arm": arm, "value": estimate.value, "low": estimate.low, "high": estimate.high,
            "seeds": spread(np.nanmean(runs, axis=1)), "difference": lead.value, "difference_low": lead.low,
            "difference_high": lead.high, "p": lead.p,
        })  # fmt: skip
    return pd.DataFrame(rows)


def auc_beside_first(
    arms: Mapping[str, Sequence[np.ndarray]], labels: np.ndarray, names: Sequence[str], groups: Sequence
) -> pd.DataFrame:
    """Mean AUCs of predicted probabilities, arm → one [N, C] a seed, with the columns of `beside_first` but p.

    Differences are of means over seeds, by the paired bootstrap over patients. `labels` [N, C] as in
    `classification_metrics`.
    """
    rows, first = [], None
    for arm, runs in arms.items():
        each = [mean_of(auc_statistics(run, labels, names)) for run in runs]
        first = first or each
        estimate = interval(lambda weights, each=each: _mean(each, weights), groups)
        lead = interval(lambda weights, a=each, b=first: _mean(a, weights) - _mean(b, weights), groups)
        ones = np.ones((1, len(labels)))
        rows.append({
            "arm": arm, "value": estimate.value, "low": estimate.low, "high": estimate.high,
            "seeds": spread([float(one(ones)[0]) for one in each]), "difference": lead.value,
            "difference_low": lead.low, "difference_high": lead.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def spread(values: Sequence[float]) -> float:
    """The standard deviation between seeds, NaN for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def in_words(row: Mapping[str, float], name: str = "", digits: int = 2) -> str:
    """A value with its interval, or with `name` "difference" a difference: 0.91 [0.88, 0.94], +0.02 [−0.01, +0.05]."""
    keys = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    value, low, high = (row[key] for key in keys)
    sign = "+" if name else ""
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _mean(statistics: Sequence[Statistic], weights: np.ndarray) -> np.ndarray:
    return np.mean([one(weights) for one in statistics], axis=0)
