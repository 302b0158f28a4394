import numpy as np
import pytest

from medmm_lib.evaluation.strata import age_group, agreement, by_stratum, length_group


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (0, "under 18 years"),
        (18, "18 to 39 years"),
        (64, "40 to 64 years"),
        (65, "65 years and more"),
        (None, "not known"),
    ],
)
def test_age_groups(age, said):
    assert age_group(age) == said


def test_answers_by_length():
    assert length_group("Yes") == "under 2 words"
    assert length_group("a small cyst") == "2 to 4 words"
    assert length_group("word " * 30) == "15 words and more"


def test_a_weak_stratum_comes_first_with_its_difference():
    random = np.random.default_rng(0)
    strata = ["CT"] * 60 + ["MR"] * 60 + [None] * 3
    scores = np.concatenate([random.random(60) < 0.3, random.random(60) < 0.9, np.ones(3)]).astype(float)
    patients = [f"p{k // 2}" for k in range(123)]
    table = by_stratum(scores, strata, patients)
    assert list(table["stratum"]) == ["CT", "MR"]  # three examples of the unknown are too few to tell
    assert table["value"][0] == pytest.approx(scores[:60].mean())
    assert table["others"][0] == pytest.approx(scores[60:].mean())
    assert table["difference_high"][0] < 0 < table["difference_low"][1]
    assert table["examples"][0] == 60
    assert table["patients"][0] == 30


def test_examples_without_a_score_do_not_count():
    table = by_stratum([1, np.nan] * 20, ["a", "b"] * 20, list(range(40)))
    assert list(table["stratum"]) == ["a"]
    assert np.isnan(table["difference"][0])  # nothing else to compare with


def test_agreement_is_the_chance_that_right_scores_higher():
    right = np.array([1, 1, 0, 0] * 10, float)
    patients = list(range(40))
    assert agreement(right, right, patients).value == 1
    assert agreement(np.zeros(40), right, patients).value == 0.5
    assert agreement(-right, right, patients).value == 0
    assert np.isnan(agreement(right, np.ones(40), patients).value)
