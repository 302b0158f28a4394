"""Classification with several labels a case, each present, absent or unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medmm_lib.evaluation.intervals import Estimate, Statistic, interval


@dataclass(frozen=True)
class Classification:
    """Metrics of one set of predicted probabilities."""

    mean_auc: Estimate  # over the classes that have both outcomes
    all_labels_right: Estimate  # share of rows with every known label right at 0.5
    auc: dict[str, Estimate]  # by class
    without_both_outcomes: list[str]  # classes that no AUC can be computed for


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], groups: Sequence, *, seed: int = 0
) -> Classification:
    """Mean AUC, per-class AUC and all-labels-right accuracy, with intervals over `groups` (patients).

    `probabilities` is [N, C]. `labels` is [N, C]: 1 present, 0 absent; any other value, such as CheXpert's -1 or NaN,
    is unknown and counts for nothing. A row without any known label is left out of the accuracy: a
    case is right only when all its known labels are, which is how the poster behind this report counts.
    Raises `ValueError` when the shapes do not fit, for values that are no probabilities and for a name used twice.
    """
    probabilities, labels = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=float)
    if probabilities.shape != labels.shape or labels.shape[1:] != (len(names),) or len(labels) != len(groups):
        raise ValueError(
            f"probabilities {probabilities.shape}, labels {labels.shape}, {len(names)} names, {len(groups)} groups: "
            "expected [N, C], [N, C], C and N"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in 0 to 1; a sigmoid or a softmax makes them of a model's raw scores")
    if len(set(names)) < len(names):
        raise ValueError("two classes have the same name")
    known = (labels == 0) | (labels == 1)
    statistics = auc_statistics(probabilities, labels, names)
    right = ((probabilities >= 0.5) == (labels == 1)) | ~known
    rows = known.any(1)

    def accuracy(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights[:, rows] @ right.all(1)[rows] / weights[:, rows].sum(1)

    undefined = Estimate(float("nan"), float("nan"), float("nan"))
    return Classification(
        mean_auc=interval(mean_of(statistics), groups, seed=seed) if statistics else undefined,
        all_labels_right=interval(accuracy, groups, seed=seed),
        auc={name: interval(statistic, groups, seed=seed) for name, statistic in statistics.items()},
        without_both_outcomes=[name for name in names if name not in statistics],
    )


def auc_statistics(scores: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Statistic]:
    """The AUC of each class that has both outcomes, by name, as statistics of weights [B, N].

    `scores` and `labels` are [N, C], labels as in `classification_metrics`; scores may be any numbers.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    known = (labels == 0) | (labels == 1)
    return {
        name: auc_statistic(scores[known[:, at], at], labels[known[:, at], at], known[:, at])
        for at, name in enumerate(names)
        if {0, 1} <= set(labels[:, at])
    }


def mean_of(statistics: Mapping[str, Statistic]) -> Statistic:
    """The mean of several statistics.

    A resample can lack one outcome of a rare class; the mean is over the others then.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        values = np.stack([one(weights) for one in statistics.values()])
        seen = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return np.where(seen, values, 0).sum(0) / seen.sum(0)

    return statistic


def auc_statistic(scores: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None) -> Statistic:
    """The area under the ROC curve as a statistic of weights [B, N]; ties count half.

    `rows` ([N], boolean) says which of the weights belong to `scores` and `labels`, where some rows are unknown.
    The area is the probability that a positive scores above a negative (Hanley and McNeil 1982).
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # the first place of each distinct score
    positive = (labels == 1)[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        weights = (weights if rows is None else weights[:, rows])[:, order]
        above = np.add.reduceat(weights * positive, starts, axis=1)  # [B, distinct scores]
        below = np.add.reduceat(weights * ~positive, starts, axis=1)
        lower = np.cumsum(below, axis=1) - below
        with np.errstate(invalid="ignore"):
            return (above * (lower + below / 2)).sum(1) / (above.sum(1) * below.sum(1))

    return statistic
