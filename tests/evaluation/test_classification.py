import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medmm_lib.evaluation.classification import auc_statistic, classification_metrics
from medmm_lib.evaluation.intervals import interval

RNG = np.random.default_rng(5)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=30))
def test_auc_is_scikit_learns_with_ties_and_weights(rows):
    scores, labels, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    ours = auc_statistic(scores, labels)(weights[None])[0]
    drawn = weights > 0
    if len(set(labels[drawn])) < 2:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_metrics_of_a_small_case_by_hand():
    probabilities = np.array([[0.9, 0.2], [0.4, 0.8], [0.6, 0.1], [0.1, 0.3]])
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    found = classification_metrics(probabilities, labels, ["Edema", "Fracture"], [1, 2, 3, 4])
    assert found.auc["Edema"].value == pytest.approx(3 / 4)
    assert found.without_both_outcomes == ["Fracture"]
    assert found.mean_auc.value == pytest.approx(3 / 4)
    assert found.all_labels_right.value == pytest.approx(2 / 4)  # rows 1 and 4


def test_perfect_constant_and_reversed_scores():
    labels = np.array([[0], [0], [1], [1]])
    for scores, auc in ((labels, 1.0), (np.full((4, 1), 0.5), 0.5), (1 - labels, 0.0)):
        found = classification_metrics(scores, labels, ["a"], range(4))
        assert found.mean_auc.value == auc
    assert classification_metrics(labels, labels, ["a"], range(4)).all_labels_right.value == 1


def test_one_class_only_has_no_auc_but_an_accuracy():
    found = classification_metrics(np.array([[0.9], [0.8]]), np.array([[1], [1]]), ["a"], [1, 2])
    assert np.isnan(found.mean_auc.value)
    assert found.auc == {}
    assert found.without_both_outcomes == ["a"]
    assert found.all_labels_right.value == 1


def test_unknown_labels_count_for_nothing():
    probabilities, labels = RNG.random((40, 3)), RNG.integers(0, 2, (40, 3)).astype(float)
    hidden = labels.copy()
    hidden[:10, 0] = -1
    hidden[10:15, 1] = np.nan
    found = classification_metrics(probabilities, hidden, list("abc"), range(40))
    assert found.auc["a"].value == pytest.approx(roc_auc_score(labels[10:, 0], probabilities[10:, 0]))
    right = ((probabilities >= 0.5) == (labels == 1)) | (hidden == -1) | np.isnan(hidden)
    assert found.all_labels_right.value == pytest.approx(right.all(1).mean())


def test_a_rare_class_has_an_interval_all_the_same():
    labels = np.zeros((50, 1))
    labels[:2] = 1
    found = classification_metrics(RNG.random((50, 1)), labels, ["rare"], range(50))
    assert found.auc["rare"].low < found.auc["rare"].value < found.auc["rare"].high


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -3.0])
def test_only_probabilities_are_scored(wrong):
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        classification_metrics(np.array([[wrong], [0.5]]), np.array([[1], [0]]), ["a"], [1, 2])


def test_a_name_stands_for_one_class():
    with pytest.raises(ValueError, match="same name"):
        classification_metrics(np.zeros((2, 2)), np.zeros((2, 2)), ["a", "a"], [1, 2])


def test_two_aucs_can_be_compared_on_the_same_patients():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200).astype(float)
    good, bad = labels + rng.normal(scale=0.5, size=200), labels + rng.normal(scale=3, size=200)
    one, other = auc_statistic(good, labels), auc_statistic(bad, labels)
    lead = interval(lambda weights: one(weights) - other(weights), np.arange(200))
    assert lead.value == pytest.approx(roc_auc_score(labels, good) - roc_auc_score(labels, bad))
    assert lead.low > 0


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"expected \[N, C\]"):
        classification_metrics(np.zeros((3, 2)), np.zeros((3, 2)), ["a"], [1, 2, 3])
