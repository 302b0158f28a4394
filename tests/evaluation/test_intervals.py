import numpy as np
import pytest
from scipy import stats

from medmm_lib.evaluation.intervals import interval, mean, paired_difference

RNG = np.random.default_rng(7)


def test_without_groups_it_is_scipys_bootstrap():
    values = RNG.normal(size=60)
    ours = interval(mean(values), np.arange(60), resamples=8000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=8000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_rows_of_one_patient_widen_the_interval():
    by_patient = RNG.normal(size=20)
    values, groups = np.repeat(by_patient, 10), np.repeat(np.arange(20), 10)
    over_patients, over_rows = (interval(mean(values), ids) for ids in (groups, np.arange(200)))
    assert over_patients.high - over_patients.low > 2 * (over_rows.high - over_rows.low)


def test_the_seed_decides():
    values = RNG.normal(size=30)
    assert interval(mean(values), np.arange(30), seed=1) == interval(mean(values), np.arange(30), seed=1)
    assert interval(mean(values), np.arange(30), seed=1) != interval(mean(values), np.arange(30), seed=2)


def test_constant_values_have_a_point_as_interval():
    estimate = interval(mean(np.ones(12)), np.arange(12))
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)


def test_one_patient_gives_no_interval():
    estimate = interval(mean(np.array([0.0, 1.0])), ["a", "a"])
    assert estimate.value == 0.5
    assert np.isnan([estimate.low, estimate.high]).all()


def test_nan_values_do_not_count():
    assert interval(mean([1.0, np.nan, 0.0]), [1, 2, 3]).value == 0.5


def test_paired_difference_finds_a_difference_and_not_where_there_is_none():
    first = RNG.normal(size=80)
    better = paired_difference(first + 0.5, first + RNG.normal(scale=0.1, size=80), np.arange(80))
    assert better.value == pytest.approx(0.5, abs=0.05)
    assert better.p < 0.001
    assert better.low > 0
    same = paired_difference(first, first, np.arange(80))
    assert (same.value, same.p) == (0, 1)


def test_p_values_are_uniform_when_nothing_differs():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(25), 4)
    p = []
    for number in range(150):
        patient = rng.normal(size=25)[groups]  # a patient's rows depend on each other
        p.append(paired_difference(patient + rng.normal(size=100), np.zeros(100), groups, resamples=199, seed=number).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) < 0.12


def test_few_patients_are_enumerated():
    # Three patients, all better: 2 of the 8 sign patterns are as extreme.
    assert paired_difference(np.ones(3), np.zeros(3), [1, 2, 3]).p == pytest.approx(0.25)


def test_a_missing_score_leaves_its_example_out():
    rng = np.random.default_rng(8)
    first, second = rng.normal(size=40), rng.normal(size=40)
    first[3] = np.nan
    whole = np.arange(40) != 3
    with_gap = paired_difference(first, second, np.arange(40))
    without = paired_difference(first[whole], second[whole], np.arange(40)[whole])
    assert with_gap == without
    assert with_gap.p > 0.05


def test_rounding_is_no_difference():
    assert paired_difference([0.1 + 0.2] * 20, [0.3] * 20, range(20)).p == 1


def test_the_test_is_scipys():
    rng = np.random.default_rng(9)
    first, second = rng.normal(0.4, size=12), rng.normal(size=12)
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", vectorized=True
    )
    assert paired_difference(first, second, range(12)).p == pytest.approx(theirs.pvalue)


def test_one_patient_has_no_p_value():
    assert np.isnan(paired_difference([1, 2], [0, 0], ["a", "a"]).p)


@pytest.mark.parametrize("groups", [["a", None], [1.0, float("nan")], []])
def test_rows_without_a_patient_are_refused(groups):
    with pytest.raises(ValueError, match=r"names no patient|no rows"):
        interval(mean(np.ones(len(groups))), groups)


def test_any_kind_of_name_is_a_patient():
    assert interval(mean([1.0, 0.0]), [("a", 1), ("b", 2)]).low == 0
    assert interval(mean([1.0, 0.0]), ["1", 1]).low == 0


def test_different_examples_are_refused():
    with pytest.raises(ValueError, match="3 and 2 examples"):
        paired_difference([1, 2, 3], [1, 2], [1, 2, 3])
