import pytest

from medmm_lib.evaluation import gathered
from medmm_lib.evaluation.predictions import read, write


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


def test_controls_with_other_questions_are_refused(artifacts):
    file = gathered.file_of(artifacts / "tuned", "blank image")
    write(read(file).iloc[::-1].to_dict("records"), file)
    with pytest.raises(ValueError, match="blank image has other questions"):
        gathered.gather("quick")


def test_the_same_questions_on_other_images_are_refused_too(artifacts):
    file = gathered.file_of(artifacts / "tuned", "blank image")
    rows = read(file)
    moved = rows.assign(image_id=list(rows["image_id"])[::-1])
    write(moved.to_dict("records"), file)
    with pytest.raises(ValueError, match="blank image has other questions"):
        gathered.gather("quick")


def test_controls_have_the_names_that_they_were_written_under(artifacts):
    write(
        read(gathered.file_of(artifacts / "base")).to_dict("records"),
        gathered.file_of(artifacts / "tuned", "another patient's scan"),
    )
    assert "another patient's scan" in gathered.gather("quick")[0][1].conditions


def test_a_chapter_that_was_broken_off_counts_as_missing(artifacts):
    (artifacts / "results.json").unlink()
    found, missing = gathered.gather("quick")
    assert not found
    assert missing["PaliGemma, base"] == "medmm run --profile quick --only 02_lora_finetuning"
