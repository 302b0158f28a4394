import numpy as np
import pytest

from medmm_lib import paths
from medmm_lib.evaluation import gathered
from medmm_lib.evaluation.predictions import read, write


def lines(said):
    """Twenty questions on ten patients, half of them closed."""
    made = []
    for k in range(20):
        closed = k % 2 == 0
        reference = ("Yes" if k % 4 == 0 else "No") if closed else "a cyst"
        own = {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "question": "Is there?" if closed else "What?"}
        made.append(own | {"reference": reference, "prediction": said(k, reference)})
    return made


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path)
    folder = tmp_path / "quick" / "02_lora_finetuning"
    write(lines(lambda k, known: known), gathered.file_of(folder / "tuned"))
    write(lines(lambda k, known: "Yes"), gathered.file_of(folder / "tuned", "majority answer"))
    write(lines(lambda k, known: "No way"), gathered.file_of(folder / "tuned", "blank image"))
    write(lines(lambda k, known: "a cat"), gathered.file_of(folder / "base"))
    return folder


def test_predictions_have_a_place_by_condition(tmp_path):
    file = gathered.file_of(tmp_path / "tuned", "another patient's image")
    assert file == tmp_path / "tuned" / "another_patients_image" / "predictions.jsonl"
    write([{"question": "q", "reference": "a", "prediction": "b"}], file)
    assert list(read(file)["prediction"]) == ["b"]
    assert gathered.file_of(tmp_path).parent.name == "model"


def test_what_is_missing_is_named_with_the_command(artifacts):
    found, missing = gathered.gather("quick")
    assert [one.name for one in found] == ["PaliGemma, base", "PaliGemma, fine-tuned"]
    assert missing["4M, captions"] == "medmm run --profile quick --only 03_fourm_pretraining"
    assert set(found[1].conditions) == {"model", "majority answer", "blank image"}
    assert set(found[0].conditions) == {"model", "majority answer"}  # which needs no model


def test_every_score_stands_beside_its_best_control(artifacts):
    table = gathered.beside_controls(gathered.gather("quick")[0][1]).set_index("score")
    assert table.loc["closed", "value"] == 1
    assert table.loc["closed", "examples"] == 10
    assert table.loc["closed", "control_value"] == pytest.approx(0.5)
    assert table.loc["closed", "lead"] == pytest.approx(0.5)
    assert table.loc["open", "lead"] == 1
    assert table.loc["edit_distance", "value"] == 0
    assert table.loc["edit_distance", "lead"] < 0  # the lower the better
    assert table["control"].notna().all()


def test_neighbours_are_paired_over_their_common_questions(artifacts):
    base, tuned = gathered.gather("quick")[0]
    table = gathered.neighbours(tuned, base).set_index("score")
    assert table.loc["closed", "difference"] == 1
    assert table.loc["open", "examples"] == 10
    assert table.loc["open", "low"] == table.loc["open", "high"] == 1
    other = gathered.Answered("other", "x", {"model": base.rows.assign(image_id="elsewhere")})
    with pytest.raises(ValueError, match="no common question"):
        gathered.neighbours(tuned, other)


def test_controls_with_other_questions_are_refused(artifacts):
    write(lines(lambda k, known: "Yes")[::-1], gathered.file_of(artifacts / "tuned", "blank image"))
    with pytest.raises(ValueError, match="blank image has other questions"):
        gathered.gather("quick")


def test_open_answers_count_word_for_word_and_closed_ones_by_their_first_word(artifacts):
    rows = gathered.gather("quick")[0][1].rows.assign(prediction=["Yes, there is", "a cyst of the liver"] * 10)
    scores = gathered.example_scores(rows)
    assert np.nanmean(scores["closed"]) == 0.5
    assert np.nanmean(scores["open"]) == 0
