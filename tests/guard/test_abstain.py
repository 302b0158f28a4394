import numpy as np
import pytest

from medmm_lib.guard.abstain import abstention, risk_coverage


def drawn(rng, count):
    confidence = rng.uniform(size=count)
    return confidence, rng.uniform(size=count) < confidence


def test_the_bound_holds_over_repeated_splits():
    rng = np.random.default_rng(0)
    broken, kept = 0, []
    for _ in range(300):
        found = abstention(*drawn(rng, 300), target=0.2, delta=0.1)
        if np.isfinite(found.threshold):
            broken += (1 - found.threshold) / 2 > 0.2  # the true error of answers from there on
            kept.append(found.coverage)
    assert broken / 300 <= 0.13
    assert np.mean(kept) > 0.15


def test_no_threshold_keeps_a_bound_that_nothing_shows():
    found = abstention(np.linspace(0, 1, 10), np.ones(10, bool), target=0.05)
    assert found.threshold == np.inf
    assert found.coverage == 0


def test_all_is_answered_where_all_is_right():
    found = abstention(np.linspace(0.1, 1, 100), np.ones(100, bool), target=0.1)
    assert (found.threshold, found.coverage, found.error) == (0.1, 1.0, 0.0)


def test_ties_stay_together():
    found = abstention(np.full(50, 0.7), np.r_[np.ones(25, bool), np.zeros(25, bool)], target=0.3)
    assert found.threshold == np.inf
    assert len(risk_coverage(np.full(50, 0.7), np.ones(50, bool))) == 1


def test_the_curve_ends_at_the_error_of_all():
    confidence, right = drawn(np.random.default_rng(1), 200)
    curve = risk_coverage(confidence, right)
    assert curve["coverage"].iloc[-1] == 1
    assert curve["error"].iloc[-1] == pytest.approx(1 - right.mean())


@pytest.mark.parametrize("confidences", [[], [0.5, float("nan")]])
def test_no_confidence_is_no_calibration(confidences):
    with pytest.raises(ValueError, match="expected one for each answer"):
        abstention(np.array(confidences), np.ones(len(confidences), bool), target=0.1)
