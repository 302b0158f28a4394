"""When a model should not be believed: a threshold on its confidence, with a bound on the error of what it answers.

Fixed-sequence testing of thresholds from the strictest on (Angelopoulos et al. 2021, "Learn then Test",
arXiv:2110.01052), with the exact binomial p-value of selective classification (Geifman and El-Yaniv 2017,
arXiv:1705.08500).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom


@dataclass(frozen=True)
class Abstention:
    """Answer from `threshold` on; infinite where no threshold keeps the bound. `coverage`: the share of calibration
    answers that are still given, `error`: that of wrong ones among them."""

    threshold: float
    coverage: float
    error: float


def abstention(confidences: np.ndarray, right: np.ndarray, *, target: float, delta: float = 0.1) -> Abstention:
    """The lowest threshold of confidence [N] such that, with probability 1 − `delta` over calibration sets, answers
    given from it on are wrong at a rate of at most `target`. `right` [N]: whether each was. Raises ValueError for no
    answers and for confidences that are NaN.

    Thresholds are tested from the one that keeps the fewest answers that can pass; the first that fails ends it.
    """
    kept, errors, thresholds = _by_threshold(confidences, right)
    fewest = np.log(delta) / np.log(1 - target)  # fewer can't show it, even without an error
    can_pass = kept >= fewest
    passed = (binom.cdf(errors, kept, target) <= delta)[can_pass]
    count = int(passed.argmin()) if not passed.all() else len(passed)
    if not count:
        return Abstention(np.inf, 0.0, float("nan"))
    last = np.flatnonzero(can_pass)[count - 1]
    return Abstention(float(thresholds[last]), float(kept[last] / kept[-1]), float(errors[last] / kept[last]))


def risk_coverage(confidences: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """What answering only the surest costs and gains: coverage, error, threshold; a row a threshold."""
    kept, errors, thresholds = _by_threshold(confidences, right)
    return pd.DataFrame({"coverage": kept / kept[-1], "error": errors / kept, "threshold": thresholds})


def _by_threshold(confidences: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every threshold, the strictest first: how many answers it keeps, how many of these are wrong, and itself."""
    score, wrong = np.asarray(confidences, dtype=float), ~np.asarray(right, dtype=bool)
    if not len(score) or np.isnan(score).any() or score.shape != wrong.shape:
        told = f"{len(score)} confidences, {np.isnan(score).sum()} of them NaN, of {len(wrong)} answers"
        raise ValueError(f"{told}; expected one for each answer")
    order = np.argsort(-score, kind="stable")
    kept = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1) + 1  # ties stay together
    return kept, wrong[order].cumsum()[kept - 1], score[order[kept - 1]]
