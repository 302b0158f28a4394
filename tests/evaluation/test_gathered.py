from medmm_lib.evaluation.gathered import file_of
from medmm_lib.evaluation.predictions import read, write


def test_predictions_have_a_place_by_condition(tmp_path):
    file = file_of(tmp_path / "tuned", "another patient's image")
    assert file == tmp_path / "tuned" / "another_patients_image" / "predictions.jsonl"
    write([{"question": "q", "reference": "a", "prediction": "b"}], file)
    assert list(read(file)["prediction"]) == ["b"]
    assert file_of(tmp_path).parent.name == "model"
