import numpy as np
import pytest

from medmm_lib.evaluation.retrieval import ranks, retrieval_metrics


def test_ranks_by_hand():
    similarity = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
    assert ranks(similarity, list("abc"), list("abc")).tolist() == [1, 2, 1]


def test_copies_in_the_gallery_neither_help_nor_push_others_down():
    # "a" stands three times and outscores "b": "b" is still second.
    similarity = np.array([[0.9, 0.8, 0.7, 0.5, 0.1]])
    assert ranks(similarity, ["b"], ["a", "a", "a", "b", "c"]).tolist() == [2]
    # The best copy counts.
    assert ranks(similarity, ["a"], ["c", "a", "b", "a", "a"]).tolist() == [2]


def test_constant_scores_get_no_credit():
    found = retrieval_metrics(np.ones((20, 20)), range(20), range(20), range(20))
    assert found["median_rank"] == 10.5
    for cut in (1, 5, 10):  # exactly what a random order gives
        assert found[f"r_at_{cut}"].value == pytest.approx(cut / 20)
        assert found[f"chance_r_at_{cut}"] == pytest.approx(cut / 20, abs=0.08)


def test_perfect_retrieval():
    found = retrieval_metrics(np.eye(30), range(30), range(30), range(30))
    assert found["r_at_1"].value == found["r_at_10"].value == 1
    assert found["median_rank"] == 1


def test_random_scores_reach_what_chance_gives():
    similarity = np.random.default_rng(0).normal(size=(600, 50))
    queries = np.arange(600) % 50
    found = retrieval_metrics(similarity, queries, range(50), range(600))
    for cut in (1, 5, 10):
        assert found[f"r_at_{cut}"].low <= found[f"chance_r_at_{cut}"] <= found[f"r_at_{cut}"].high


def test_chance_knows_the_copies():
    keys = ["copy"] * 50 + [f"item {number}" for number in range(50)]
    found = retrieval_metrics(np.random.default_rng(1).normal(size=(100, 100)), keys, keys, range(100))
    assert found["chance_r_at_1"] > 0.2  # far more than one in 51 items
    assert found["r_at_1"].low <= found["chance_r_at_1"] <= found["r_at_1"].high


def test_what_can_not_be_ranked_is_refused():
    with pytest.raises(ValueError, match="nothing for the query 'z'"):
        ranks(np.zeros((1, 2)), ["z"], ["a", "b"])
    with pytest.raises(ValueError, match="not finite"):
        ranks(np.array([[np.nan]]), ["a"], ["a"])
    with pytest.raises(ValueError, match="expected"):
        ranks(np.zeros((2, 2)), ["a"], ["a", "b"])
