"""How often a 95 % interval holds the truth, by simulation with a known truth: one metric of each kind.

Patients have random effects, so that rows of one patient depend on each other, as in real data.
"""

import numpy as np
import pytest

from medmm_lib.evaluation.classification import auc_statistic
from medmm_lib.evaluation.intervals import interval, mean
from medmm_lib.evaluation.text import BLEU_ORDER, corpus_bleu

PATIENTS, ROWS, STUDIES = 60, 4, 400
GROUPS = np.repeat(np.arange(PATIENTS), ROWS)


def patient_effect(rng, scale):
    return rng.normal(scale=scale, size=PATIENTS)[GROUPS]


def token_f1(rng):
    """Scores in 0..1 with a patient's own level: mean of a clipped normal, symmetric around 0.4."""
    return mean(np.clip(0.4 + patient_effect(rng, 0.1) + rng.normal(scale=0.1, size=len(GROUPS)), 0, 0.8))


def closed_accuracy(rng):
    """Right or wrong, with a patient's own chance of 0.6 or 0.8."""
    chance = rng.choice([0.6, 0.8], PATIENTS)[GROUPS]
    return mean(rng.random(len(GROUPS)) < chance)


def auc(rng):
    """Normal scores, one standard deviation apart, half of each variance the patient's."""
    labels = rng.random(PATIENTS)[GROUPS] < 0.4
    scores = labels + np.sqrt(0.5) * (patient_effect(rng, 1) + rng.normal(size=len(GROUPS)))
    return auc_statistic(scores, labels.astype(float))


def bleu(rng):
    """Matches of 1- to 4-grams, binomial around a patient's own rate."""
    totals = np.tile([10, 9, 8, 7], (len(GROUPS), 1))
    rate = np.clip(np.array([0.6, 0.4, 0.3, 0.2]) + patient_effect(rng, 0.05)[:, None], 0, 1)
    counts = np.hstack([rng.binomial(totals, rate), totals, np.full((len(GROUPS), 2), 10)]).astype(float)
    assert counts.shape[1] == 2 * BLEU_ORDER + 2
    return lambda weights: corpus_bleu(weights @ counts)


def recall_at_1(rng):
    """Retrieval: the right item scores above 19 others or not."""
    right = rng.normal(loc=1.5, size=len(GROUPS)) + patient_effect(rng, 0.5)
    return mean(right > rng.normal(size=(19, len(GROUPS))).max(0))


def dice(rng):
    """Overlap of 0 (missed) or around 0.8, a fifth of the patients being hard."""
    hard = (rng.random(PATIENTS) < 0.2)[GROUPS]
    found = rng.random(len(GROUPS)) < np.where(hard, 0.4, 0.95)
    return mean(found * rng.beta(16, 4, len(GROUPS)))


@pytest.mark.parametrize("simulate", [token_f1, closed_accuracy, auc, bleu, recall_at_1, dice])
def test_intervals_hold_the_truth_as_often_as_they_say(simulate, record_property):
    rng = np.random.default_rng(11)
    # The truth is the mean over many studies of the same kind; its own error is small beside an interval's width.
    truth = np.mean([simulate(rng)(np.ones((1, len(GROUPS))))[0] for _ in range(4000)])
    estimates = [interval(simulate(rng), GROUPS, resamples=400, seed=study) for study in range(STUDIES)]
    coverage = float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]))
    record_property("coverage", coverage)
    print(f"{simulate.__name__}: {coverage:.3f} of {STUDIES} intervals hold the truth {truth:.3f}")
    # Three standard errors of a share of 0.95 in 400 studies are 0.033.
    assert 0.917 <= coverage <= 0.983


def test_intervals_over_rows_would_hold_it_less_often():
    rng = np.random.default_rng(12)
    hits = {"patients": 0, "rows": 0}
    for study in range(200):
        statistic = mean(patient_effect(rng, 1) + rng.normal(scale=0.3, size=len(GROUPS)))
        for name, groups in (("patients", GROUPS), ("rows", np.arange(len(GROUPS)))):
            estimate = interval(statistic, groups, resamples=300, seed=study)
            hits[name] += estimate.low <= 0 <= estimate.high
    assert hits["rows"] < 0.8 * 200 < 0.9 * 200 < hits["patients"]
