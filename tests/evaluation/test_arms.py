import numpy as np
import pytest

from medmm_lib.evaluation.arms import auc_beside_first, beside_first, in_words

GROUPS = np.repeat(np.arange(40), 2)


def test_arms_are_paired_with_the_first():
    random = np.random.default_rng(0)
    base = random.normal(size=(2, 80))
    table = beside_first({"a": base, "b": base + 1}, GROUPS).set_index("arm")
    assert table.loc["a", "difference"] == 0
    assert table.loc["b", "difference"] == pytest.approx(1)
    assert table.loc["b", "difference_low"] == pytest.approx(1)  # whatever the examples
    assert table.loc["a", "seeds"] == pytest.approx(base.mean(1).std(ddof=1))


def test_one_seed_has_no_spread_and_nan_does_not_count():
    scores = np.array([[1.0, np.nan, 0.0, 1.0]])
    table = beside_first({"a": scores}, [0, 1, 2, 3])
    assert np.isnan(table["seeds"][0])
    assert table["value"][0] == pytest.approx(2 / 3)


def test_aucs_are_paired_too():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (80, 2)).astype(float)
    good, bad = np.clip(labels * 0.4 + random.random((80, 2)) * 0.6, 0, 1), random.random((80, 2))
    table = auc_beside_first({"bad": [bad, bad], "good": [good, good]}, labels, ["x", "y"], GROUPS).set_index("arm")
    assert table.loc["bad", "difference"] == table.loc["bad", "difference_high"] == 0
    assert table.loc["good", "difference"] == pytest.approx(table.loc["good", "value"] - table.loc["bad", "value"])
    assert table.loc["good", "difference_low"] > 0
    assert table.loc["good", "seeds"] == 0


def test_in_words():
    row = {"value": 0.5, "low": 0.25, "high": 0.75, "difference": -0.1, "difference_low": -0.2, "difference_high": 0.0}
    assert in_words(row) == "0.50 [0.25, 0.75]"
    assert in_words(row, "difference", 1) == "-0.1 [-0.2, +0.0]"
