import numpy as np
import pytest

import medmm_lib.data
from medmm_lib.evaluation.facts import FACTS, commonest, commonest_right, named_right

CYST = "Coronal FLAIR image of a woman shows an extra-axial cyst in the right frontal lobe. There is no infarct."


@pytest.mark.parametrize(
    ("text", "plane", "side", "finding"),
    [
        (CYST, "coronal", "right", "cyst"),
        ("PA chest X-ray: a normal chest. No rib fracture.", "frontal", None, "nothing"),
        ("Axial CT: plaques in the left and in the right hemisphere", "axial", None, "plaque"),
        ("Axial CT slice: the lesion lies outside of this slice.", "axial", None, "nothing"),
        ("Sagittal T2W: haematoma with a mass, left", "sagittal", "left", "haemorrhage, mass"),
        ("CT without contrast shows a renal mass", None, None, "mass"),
        ("No pneumothorax but a nodule", None, None, "nodule"),
        ("", None, None, None),
    ],
)
def test_what_a_caption_names(text, plane, side, finding):
    assert {name: fact(text) for name, fact in FACTS.items()} == {"plane": plane, "side": side, "finding": finding}


def test_the_phantoms_captions_name_what_their_records_hold():
    part = medmm_lib.data.load("phantom")["validation"]
    planes = list(map(FACTS["plane"], part["caption"]))
    assert np.mean([given == known for given, known in zip(planes, part["plane"], strict=True)]) == 1
    empty = [not boxes for boxes in part["boxes"]]
    assert [text == "nothing" for text in map(FACTS["finding"], part["caption"])] == empty


def test_right_only_where_the_reference_names_one():
    texts = ["left", "left and right", "", "right"]
    known = ["left", "left", "left", "no side"]
    np.testing.assert_array_equal(named_right(texts, known, FACTS["side"]), [1, 0, 0, np.nan])


def test_the_commonest_answer_is_a_control():
    training = ["left", "left", "right", "none"]
    assert commonest(training, FACTS["side"]) == "left"
    assert commonest([], FACTS["side"]) is None
    np.testing.assert_array_equal(commonest_right(training, ["right", "left", ""], FACTS["side"]), [0, 1, np.nan])
