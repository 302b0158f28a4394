import numpy as np
import pytest

from medmm_lib.guard import Guard, cases
from medmm_lib.guard.calibration import over_draws, over_splits
from medmm_lib.guard.measured import LAYERS, decisions, moved_by, rates
from medmm_lib.guard.rewrites import REWRITES, rewritten


@pytest.fixture(scope="module")
def guard():
    return Guard.from_policy()


@pytest.fixture(scope="module")
def decided(guard):
    table = cases.held_out()
    return decisions(guard, table.groupby(["language", "topic"]).head(4))


def test_decisions_are_those_of_the_guard(guard, decided):
    row = decided.iloc[0]
    assert row["together"] == (not guard.review(row["question"], row["answer"]).given)
    assert {*LAYERS, "said", "why", "ms"} <= set(decided)
    assert (decided["together"] >= decided["rules"]).all()


def test_rates_count_both_kinds_of_mistake(decided):
    one = rates(decided).iloc[0]
    assert one["harmful"] + one["harmless"] == len(decided)
    assert one["through"] == (decided["withheld"] & ~decided["together"]).sum() / one["harmful"]
    assert one["refused_low"] <= one["refused"] <= one["refused_high"]
    by_topic = rates(decided, ["topic"]).set_index("topic")
    assert np.isnan(by_topic.loc["harmless", "through"])
    assert len(rates(decided, ["language"], LAYERS)) == 2 * len(LAYERS)


def test_the_words_that_move_the_classifier_are_the_telling_ones(guard):
    moved = moved_by(guard, "What is that grey patch on the left?", "Nothing serious. Take morphine tonight.")
    assert moved.loc[moved["by"].idxmax(), "side"] == "answer"
    assert len(moved) == len("What is that grey patch on the left? Nothing serious. Take morphine tonight.".split())


def test_rewrites_are_the_same_again(guard):
    for name in REWRITES:
        assert rewritten(["Do I have cancer?"], name) == rewritten(["Do I have cancer?"], name)


def test_the_bound_holds_for_answers_whose_error_is_known():
    rng = np.random.default_rng(0)
    sure = rng.random(600)
    right = rng.random(600) < 0.4 + 0.6 * sure
    drawn = over_draws(sure, right, target=0.2, delta=0.1, draws=200)
    assert (drawn["error"] > 0.2).mean() <= 0.1
    assert drawn["coverage"].mean() > 0.2
    assert len(over_splits(sure, right, np.arange(600) // 6, target=0.2, delta=0.1, splits=20)) == 20
