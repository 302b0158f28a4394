"""Confidence intervals and paired tests over patients: rows of one patient are not independent.

The bootstrap draws patients with replacement (Efron and Tibshirani 1993, section 8.3); the paired test flips the sign
of a patient's whole difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000
BATCH = 50  # resamples whose weights are in memory at a time

# Weighted statistics: weights [B, N] → [B].
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The value and its interval, three decimals."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The statistic and its percentile bootstrap interval over `groups` ([N]: the patient of each row).

    `statistic` gets weights ([B, N]: how often each row was drawn) and returns [B]. Resamples on which it is undefined
    (NaN) are left out. With fewer than two groups the interval is undefined (NaN).
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    count = place.max() + 1
    value = float(statistic(np.ones((1, len(place))))[0])
    if count < 2:
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    values = np.concatenate([statistic(part[:, place].astype(float)) for part in _batches(drawn)])
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
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

    Raises `ValueError` when the runs have different lengths.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"the runs have {len(first)} and {len(second)} examples; a paired test needs the same ones")
    estimate = interval(mean(first - second), groups, seed=seed)
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(place, first - second)
    if not sums.any():
        return Difference(estimate.value, estimate.low, estimate.high, 1.0)
    test = stats.permutation_test(
        (sums, np.zeros_like(sums)),
        lambda one, other, axis: (one - other).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    return Difference(estimate.value, estimate.low, estimate.high, float(test.pvalue))


def _batches(drawn: np.ndarray) -> list[np.ndarray]:
    return [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
