"""Where a model fails: scores by what is known of the patient, the image and the question."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medmm_lib.evaluation.classification import auc_statistic
from medmm_lib.evaluation.intervals import Estimate, interval, mean
from medmm_lib.evaluation.text import tokens

UNKNOWN = "not known"
AGES = (18, 40, 65)  # years: where a group begins
PATIENTS = 5  # of fewer, a bootstrap over patients says nothing
LENGTHS = (2, 5, 15)  # words of the reference: where a group begins


def age_group(age: int | None) -> str:
    """Such as `18 to 39`; `not known` for none."""
    return UNKNOWN if age is None or pd.isna(age) else _group(int(age), AGES, "years")


def length_group(reference: str) -> str:
    """How many words a reference answer has, such as `2 to 4 words`."""
    return _group(len(tokens(reference)), LENGTHS, "words")


def _group(value: int, starts: tuple[int, ...], unit: str) -> str:
    if value < starts[0]:
        return f"under {starts[0]} {unit}"
    low = max(start for start in starts if start <= value)
    above = [start for start in starts if start > value]
    return f"{low} to {above[0] - 1} {unit}" if above else f"{low} {unit} and more"


def by_stratum(
    scores: Sequence[float] | np.ndarray, strata: Sequence[str | None], patients: Sequence[str], *, least: int = 10
) -> pd.DataFrame:
    """The mean score of every stratum with `least` examples and `PATIENTS` patients or more, beside all other examples.

    `scores`, `strata` and `patients` are [N]; a stratum of None is `not known`. Columns: stratum, examples, patients,
    value, low, high, `others` and `difference` to them with `difference_low`, `difference_high`, by a bootstrap over
    patients (strata may share them). Sorted by value, the worst first.
    """
    scores = np.asarray(scores, dtype=float)
    names = np.array([UNKNOWN if name is None or pd.isna(name) else str(name) for name in strata], dtype=object)
    rows = []
    for name in sorted(set(names)):
        own = (names == name) & ~np.isnan(scores)
        if own.sum() < least or len({patients[k] for k in np.flatnonzero(own)}) < PATIENTS:
            continue
        inside, outside = (mean(np.where(part, scores, np.nan)) for part in (own, ~own & ~np.isnan(scores)))
        value = interval(mean(scores[own]), [patients[k] for k in np.flatnonzero(own)])
        alone = not (~own & ~np.isnan(scores)).any()
        lead = (
            Estimate(*[float("nan")] * 3)
            if alone
            else interval(lambda weights, a=inside, b=outside: a(weights) - b(weights), patients)
        )
        rows.append({
            "stratum": name, "examples": int(own.sum()), "patients": len({patients[k] for k in np.flatnonzero(own)}),
            "value": value.value, "low": value.low, "high": value.high, "others": value.value - lead.value,
            "difference": lead.value, "difference_low": lead.low, "difference_high": lead.high,
        })  # fmt: skip
    columns = ["stratum", "examples", "patients", "value", "low", "high", "others"]
    columns += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns).sort_values("value", kind="stable", ignore_index=True)


def agreement(metric: Sequence[float], right: Sequence[float], patients: Sequence[str]) -> Estimate:
    """How well a text metric tells right from wrong answers: the chance that a right one scores above a wrong one.

    0.5 says nothing, 1 always; NaN where all are right, or all wrong. Twice [N], with the interval over patients.
    """
    metric, right = np.asarray(metric, dtype=float), np.asarray(right, dtype=float)
    if len(set(right)) < 2:
        return Estimate(*[float("nan")] * 3)
    return interval(auc_statistic(metric, right), patients)
