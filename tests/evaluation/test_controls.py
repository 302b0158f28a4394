import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

from medmm_lib.evaluation.controls import control_table, controls, majority_answers

FEATURES = Features(
    {"image": Image(), "question": Value("string"), "answer": Value("string"), "patient_id": Value("string")}
)


def questions(patients, answers=None):
    return Dataset.from_dict(
        {
            "image": [Picture.new("L", (8 + number, 8), 10 * number) for number in range(len(patients))],
            "question": ["Is it CT?"] * len(patients),
            "answer": answers or ["Yes"] * len(patients),
            "patient_id": patients,
        },
        FEATURES,
    )


def test_one_call_makes_all_four():
    data = questions(["a", "a", "b", "c", "d"])
    made = controls(data, questions(["x", "y", "z"], ["No", "No", "Yes"]))
    assert list(made) == ["blank image", "shuffled image", "text only", "majority answer"]
    for control in made.values():
        assert control["question"][:] == data["question"][:]
        assert control["answer"][:] == data["answer"][:]
    blank = made["blank image"]["image"]
    assert all(len(set(image.tobytes())) == 1 for image in blank)
    assert [image.size for image in blank] == [image.size for image in data["image"]]
    assert made["text only"]["image"][:] == [None] * 5
    assert made["majority answer"]["prediction"][:] == ["No"] * 5


@pytest.mark.parametrize("seed", range(5))
def test_a_shuffled_image_is_always_another_patients(seed):
    patients = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
    data = questions(patients)
    owner = {image.tobytes(): patient for image, patient in zip(data["image"], patients, strict=True)}
    shuffled = controls(data, data, seed=seed)["shuffled image"]
    owners = [owner[image.tobytes()] for image in shuffled["image"]]
    assert all(new != old for new, old in zip(owners, patients, strict=True))
    assert sorted(owners) == sorted(patients)  # every image serves once


def test_a_blank_image_keeps_its_mode():
    data = questions(["a", "b", "c"])
    coloured = data.map(lambda row: {"image": row["image"].convert("RGB")}, features=FEATURES)
    blank = controls(coloured, coloured)["blank image"]["image"]
    assert {image.mode for image in blank} == {"RGB"}
    assert {image.getpixel((0, 0)) for image in blank} == {(128, 128, 128)}


def test_one_dominant_patient_is_refused():
    data = questions(["a", "a", "a", "b"])
    with pytest.raises(ValueError, match="more than half"):
        controls(data, data)


def test_the_majority_is_per_question_then_overall():
    training = Dataset.from_dict({"question": ["p", "p", "q", "r"], "answer": ["yes", "yes", "no", "no"]})
    assert majority_answers(["p", "q", "new"], training) == ["yes", "no", "no"]


def test_the_table_shows_a_score_with_its_controls():
    rng = np.random.default_rng(0)
    model = rng.random(60) < 0.9
    blind = rng.random(60) < 0.5
    table = control_table(model, {"blank image": blind, "the same": model}, np.arange(60)).set_index("condition")
    assert table.loc["model", "value"] == pytest.approx(model.mean())
    assert table.loc["blank image", "lead"] == pytest.approx(model.mean() - blind.mean())
    assert table.loc["blank image", "p"] < 0.01
    assert table.loc["the same", "p"] == 1
    assert np.isnan(table.loc["model", "p"])
