from dataclasses import asdict

import numpy as np
import pytest
from datasets import Dataset

from medmm_lib.vlm import studies
from medmm_lib.vlm.studies import Measured
from tests.vlm import small

ONE_THING = {
    "targets": {"target_modules"}, "methods": {"method", "learning_rate"}, "rank": {"rank", "alpha"},
    "accumulation": {"batch_size", "accumulation", "steps"}, "clipping": {"clipping"},
    "precision": {"precision", "context"},
}  # fmt: skip


def settings(tuning):
    return {**asdict(tuning), **asdict(tuning.schedule), "schedule": None}


@pytest.mark.parametrize("study", list(studies.STUDIES))
def test_arms_differ_in_what_is_studied_alone(study):
    arms = [settings(one) for one in studies.arms(study, small.tuning()).values()]
    differ = {name for name in arms[0] if len({str(arm[name]) for arm in arms}) > 1}
    assert differ == ONE_THING[study]


def test_accumulated_arms_see_as_many_questions():
    arms = studies.arms("accumulation", small.tuning(batch_size=16))
    seen = {one.schedule.steps * one.schedule.batch_size * one.schedule.accumulation for one in arms.values()}
    assert len(seen) == 1
    with pytest.raises(ValueError, match="multiple of 4"):
        studies.arms("accumulation", small.tuning(batch_size=6))


def test_epochs_are_rounds_through_the_questions():
    steps = {name: one.schedule.steps for name, one in studies.epochs(small.tuning(batch_size=16), 160).items()}
    assert steps == {"2 epochs": 20, "10 epochs": 100, "20 epochs": 200, "50 epochs": 500}
    halved = studies.epochs(small.tuning(batch_size=16, accumulation=2), 160)["50 epochs"]
    assert halved.schedule.steps == 250


def test_learning_by_heart_begins_where_the_loss_is_lowest():
    assert studies.turning_point([(0, 3.0), (1, 2.0), (2, 1.5), (3, 1.75)]) == (2, 0.25)
    assert studies.turning_point([(0, 3.0), (1, 2.0)]) == (1, 0.0)


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match="studies has 'colour'; expected some of targets"):
        studies.arms("colour", small.tuning())


def asked(names):
    return Dataset.from_dict({"question_id": names})


def test_the_leaky_split_keeps_sizes_and_scores_the_same_questions():
    training, test = asked([f"a{k}" for k in range(30)]), asked([f"b{k}" for k in range(11)])
    parts, scored = studies.leaky(training, test, seed=3)
    assert parts["by patient"]["question_id"] == training["question_id"]
    leaked = set(parts["by question"]["question_id"])
    assert len(leaked) == len(training)
    assert len(leaked & set(test["question_id"])) == 5
    assert len(scored) == 6
    assert not leaked & set(scored["question_id"])
    with pytest.raises(ValueError, match="can't make room"):
        studies.leaky(asked(["a"]), test, seed=0)


def test_closed_answers_are_right_by_their_first_word():
    rows = Dataset.from_dict({"answer": ["Yes", "a dark image", "No"], "form": ["closed", "open", "closed"]})
    right = studies.closed_right(rows, {0: "yes, it is", 2: "Yes"})
    assert right[[0, 2]].tolist() == [1, 0]
    assert np.isnan(right[1])


def test_open_answers_are_right_word_for_word():
    rows = Dataset.from_dict({"answer": ["Yes", "a dark image", "CT scan"], "form": ["closed", "open", "open"]})
    assert studies.right(rows, ["Yes, it is", "A dark image.", "CT"]).tolist() == [1, 1, 0]


def test_arms_are_compared_to_the_first_over_patients():
    rng = np.random.default_rng(0)
    patients = [f"p{k // 3}" for k in range(60)]
    closed = np.where(np.arange(60) % 2, np.nan, 1.0)
    base = rng.normal(2, 0.3, 60)
    runs = {
        "first": [Measured(base, closed, 10, 80.0, 5.0), Measured(base + 0.2, closed, 10, 80.0, 7.0)],
        "better": [Measured(base - 0.5, closed), Measured(base - 0.5, closed * 0)],
    }
    table = studies.comparison(runs, patients).set_index("arm")
    assert table.loc["first", "loss_difference"] == 0
    assert table.loc["better", "loss_difference"] == pytest.approx(-0.6)
    assert table.loc["better", "loss_p"] < 0.01
    assert table.loc["first", "loss_seeds"] == pytest.approx(0.2 / np.sqrt(2))
    assert table.loc["better", "closed"] == pytest.approx(0.5)
    assert table.loc["better", "closed_difference"] == pytest.approx(-0.5)
    assert table.loc["first", "step_ms"] == 6
    shown = studies.readable(table.reset_index())
    assert list(shown["arm"]) == ["first", "better"]
    assert shown["held-out loss to the first [95 %]"][1].startswith("-0.600 [")
