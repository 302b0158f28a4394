import pytest

from medmm_lib import data
from medmm_lib.data import questions
from medmm_lib.data.asked import TYPES, with_images


def test_every_image_question_gets_its_image():
    part = data.load("phantom")["validation"]
    asked = questions.make(data.load("phantom"))["validation"]
    rows = with_images(part, asked)
    assert len(rows) == sum(kind == "image" for kind in asked["kind"])
    images = dict(zip(part["image_id"], part["image"], strict=True))
    for row in rows.select(range(0, len(rows), 37)):
        assert row["image"].tobytes() == images[row["image_id"]].tobytes()
        assert row["question_id"].startswith(f"{row['image_id']}-")
    kinds = set(rows["type"])
    assert kinds <= set(TYPES)
    assert {"modality", "plane-closed", "finding", "caption"} <= kinds
    assert not any(kind.startswith("finding-") for kind in kinds)


def test_questions_of_another_split_are_named():
    parts, asked = data.load("phantom"), questions.make(data.load("phantom"))
    with pytest.raises(ValueError, match="images that are not there, such as"):
        with_images(parts["validation"], asked["test"])


def test_images_can_be_made_smaller_once():
    part = data.load("phantom")["validation"]
    rows = with_images(part, questions.make(data.load("phantom"))["validation"], side=32)
    assert rows[0]["image"].size == (32, 32)
    assert rows[0]["image"].mode == "RGB"


def test_types_can_be_left_out_and_unknown_ones_are_named():
    part, asked = data.load("phantom")["validation"], questions.make(data.load("phantom"))["validation"]
    everything, fewer = with_images(part, asked), with_images(part, asked, without=["caption", "finding"])
    assert set(everything["type"]) - set(fewer["type"]) == {"caption", "finding"}
    assert len(fewer) == sum(kind not in ("caption", "finding") for kind in everything["type"])
    with pytest.raises(ValueError, match="captoin; expected some of modality, "):
        with_images(part, asked, without=["captoin"])
