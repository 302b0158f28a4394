import numpy as np
import pytest

from medmm_lib.evaluation import closed


@pytest.mark.parametrize(
    ("samples", "reference", "right"),
    [
        (["Yes", "yes.", "No", "Yes, it is", "no"], "Yes", 1),
        (["No", "No", "No", "Yes", "Yes"], "Yes", 0),
        (["Yes", "No"], "Yes", 0),  # a tie is no majority
        (["Yes", "Yes", "No", "No", "perhaps"], "Yes", 0),
        (["", None, "Yes"], "Yes", 0),  # not answering is an answer
        (["yes"] * 5, "yes", 1),
        (["left", "Left.", "right"], "left", 1),
    ],
)
def test_majority_right(samples, reference, right):
    assert closed.majority_right([samples], [reference]).tolist() == [right]


def test_disagreement_is_any_other_answer():
    samples = [["Yes", "yes, there is"], ["Yes", "No"], ["Yes"], [None, "No"]]
    assert closed.disagreement(samples).tolist() == [0, 1, 0, 1]


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="no list of sampled answers"):
        closed.majority_right([[]], ["Yes"])


@pytest.mark.parametrize(
    ("text", "is_closed"), [("Yes", 1), ("no.", 1), ("Nodule", 0), ("", 0), (None, 0), ("No, it is", 1)]
)
def test_closed_references_begin_with_yes_or_no(text, is_closed):
    assert closed.is_closed(text) == bool(is_closed)


def test_five_coin_flips_score_what_they_should():
    rng = np.random.default_rng(0)
    samples = rng.choice(["yes", "no"], (4000, 5)).tolist()
    assert closed.majority_right(samples, ["yes"] * 4000).mean() == pytest.approx(0.5, abs=0.03)
    assert closed.disagreement(samples).mean() == pytest.approx(1 - 2 / 32, abs=0.02)
