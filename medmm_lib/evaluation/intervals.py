"""Confidence intervals and paired tests over patients: rows of one patient are not independent.

The bootstrap draws patients with replacement (Efron and Tibshirani 1993, section 8.3); the paired test flips the sign
of a patient's whole difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 1000
BATCH = 50  # resamples whose weights are in memory at a time

# Weighted statistics: weights [B, N] → [B].
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean difference between two runs on the same examples, its interval, and the p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def interval(
    statistic: Statistic,
    groups: Sequence | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The statistic and its 95 % percentile bootstrap interval over `groups` ([N]: the patient of each row).

    The interval is too narrow for few patients and for shares near 0 or 1: where all are right it is a point.

    `statistic` gets weights ([B, N]: how often each row was drawn) and returns [B]. Resamples on which it is undefined
    (NaN) are left out. With fewer than two groups the interval is undefined (NaN).
    """
    place, count = patients(groups)
    value = float(statistic(np.ones((1, len(place))))[0])
    if count < 2:
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    chances = np.full(count, 1 / count)
    sizes = [min(BATCH, resamples - start) for start in range(0, resamples, BATCH)]
    drawn = (rng.multinomial(count, chances, size=size)[:, place].astype(float) for size in sizes)
    values = np.concatenate([statistic(weights) for weights in drawn])
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def mean(values: Sequence[float] | np.ndarray) -> Statistic:
    """The weighted mean of `values` ([N]) as a statistic; NaN values do not count."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)

    def statistic(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights[:, known] @ values[known] / weights[:, known].sum(1)

    return statistic


def paired_difference(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    groups: Sequence | np.ndarray,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Difference:
    """Mean of `first` − `second` ([N] each, the same examples), with interval and sign-flip permutation p-value.

    Examples on which one of the runs has no score (NaN) are left out of all three. With fewer than two patients the
    interval and the p-value are undefined (NaN). Up to 2^13 sign patterns are all tried, else `resamples` random ones.
    For a statistic that is no mean (AUC, corpus BLEU), `interval` of `lambda weights: one(weights) - other(weights)`
    is the paired bootstrap.
    Raises `ValueError` when the runs have different lengths.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"the runs have {len(first)} and {len(second)} examples; a paired test needs the same ones")
    differences = first - second
    differences[np.abs(differences) <= 1e-12 * (np.abs(first) + np.abs(second))] = 0  # rounding is no difference
    known = ~np.isnan(differences)
    place, count = patients(np.asarray(groups, dtype=object)[known] if known.any() else groups)
    estimate = interval(mean(differences[known]), place, seed=seed) if known.any() else Estimate(*[float("nan")] * 3)
    if not known.any() or count < 2:
        return Difference(estimate.value, float("nan"), float("nan"), float("nan"))
    sums = np.bincount(place, differences[known])
    return Difference(estimate.value, estimate.low, estimate.high, _sign_flip_p(sums, resamples, seed))


def patients(groups: Sequence | np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each row's patient ([N], from 0) and how many patients there are.

    Raises `ValueError` when there are no rows or when a row names no patient.
    """
    names = np.empty(len(groups), dtype=object)
    names[:] = list(groups)
    place, found = pd.factorize(names)
    if not len(place) or (place < 0).any():
        what = f"row {int(np.argmax(place < 0)) + 1} names no patient" if len(place) else "there are no rows"
        raise ValueError(f"{what}: an interval needs to know which rows belong together")
    return place, len(found)


def _sign_flip_p(sums: np.ndarray, resamples: int, seed: int) -> float:
    """How often a sum with random signs is at least as far from 0 as the one found; two-sided."""
    found = abs(sums.sum())
    tolerance = 1e-9 * np.abs(sums).sum()
    if len(sums) <= 13:
        signs = 2 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1) - 1
        return float((np.abs(signs @ sums) >= found - tolerance).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, BATCH):
        signs = rng.choice([-1.0, 1.0], (min(BATCH, resamples - start), len(sums)))
        extreme += int((np.abs(signs @ sums) >= found - tolerance).sum())
    return (extreme + 1) / (resamples + 1)
