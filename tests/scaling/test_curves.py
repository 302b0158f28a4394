import json

import numpy as np
import pytest

from medmm_lib.scaling import curves


def test_tensorboards_export(tmp_path):
    file = tmp_path / "run.csv"
    file.write_text("Wall time,Step,Value\n17.5,4,3.0\n18.5,12,2.0\n")
    curve = curves.read(file)
    assert curve.steps.tolist() == [4, 12]
    assert curve.losses.tolist() == [3, 2]


def test_losses_of_a_repeated_step_are_averaged_and_empty_columns_ignored(tmp_path):
    file = tmp_path / "losses.csv"
    file.write_text("step,loss,validation_loss,edit_distance\n0,14.0,,\n0,12.0,,\n1,11.0,,\n2,,,\n3,9.0,,\n")
    curve = curves.read(file)
    assert curve.steps.tolist() == [1, 2, 4]  # counted from 1
    assert curve.losses.tolist() == [13, 11, 9]


def test_the_trainers_state(tmp_path):
    file = tmp_path / "trainer_state.json"
    log = [{"step": 10, "loss": 2.5}, {"step": 10, "eval_loss": 2.7}, {"step": 20, "loss": 2.0}]
    file.write_text(json.dumps({"log_history": log}))
    np.testing.assert_array_equal(curves.read(file).losses, [2.5, 2.0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch,error\n1,2\n", r"has epoch, error; expected Step and Value or step and loss"),
        ("step,loss\n1,\n2,\n", "holds no loss"),
        ("step,loss\n1,2.0\n2,low\n", "row 2"),
        ("step,loss\n,2.0\n", "row 1"),
    ],
)
def test_a_file_without_a_curve_is_named(tmp_path, text, told):
    file = tmp_path / "run.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        curves.read(file)
