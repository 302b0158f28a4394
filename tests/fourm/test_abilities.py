import numpy as np
import torch

import medmm_lib.data
from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.fourm import abilities
from medmm_lib.fourm.boxes import Box
from medmm_lib.fourm.modalities import REGISTRY
from tests.fourm import small

ENTRIES = {name: REGISTRY[name] for name in ("caption", "label map", "boxes")}


def studies():
    return medmm_lib.data.load("phantom")["test"].select(range(12))


def test_the_truth_scores_best():
    truth = abilities.known(studies(), ENTRIES, 64)
    scores = abilities.scores(truth, truth, ENTRIES)
    for name, values in scores.items():
        there = values[~np.isnan(values)]
        if name not in ("caption cider",):
            assert np.allclose(there, 1), name
    assert np.isnan(scores["boxes 0.5"]).any()  # where no box is known, none can be found


def test_a_wrong_answer_scores_what_it_should():
    box = Box((0.0, 0.0, 0.5, 0.5), "cyst")
    half = np.zeros((4, 4), np.uint8)
    half[:, :2] = 1
    whole = np.ones((4, 4), np.uint8)
    truth = abilities.Answers({"caption": ["a cyst on the left", "a cyst"]}, [[box], []], {"label map": [whole, None]})
    made = abilities.Answers({"caption": ["a cyst on the right", ""]}, [[box, box], [box]], {"label map": [half, half]})
    scores = abilities.scores(made, truth, ENTRIES)
    np.testing.assert_array_equal(scores["caption side"], [0, np.nan])
    np.testing.assert_array_equal(scores["caption finding"], [1, 0])
    np.testing.assert_array_equal(scores["boxes 0.5"], [1, np.nan])
    np.testing.assert_array_equal(scores["label map 2"], [np.nan, np.nan])  # drawn or not, it is not there
    np.testing.assert_allclose(scores["boxes F1 0.5"], [2 / 3, 0])
    np.testing.assert_allclose(scores["label map 1"], [2 / 3, np.nan])
    np.testing.assert_allclose(scores["label map Dice"], [2 / 3, np.nan])


def test_controls_change_the_pixels_alone():
    pixels = {"patches": torch.arange(4.0)[:, None, None].expand(4, 16, 16)}
    made = abilities.controls(pixels, ["a", "a", "b", "b"], seed=0)
    assert not made["blank scan"]["patches"].any()
    exchanged = made["another patient's scan"]["patches"][:, 0, 0].tolist()
    assert [sorted(exchanged[:2]), sorted(exchanged[2:])] == [[2, 3], [0, 1]]


def test_the_prior_is_the_majority_of_its_kind():
    maps = np.array([[[1, 1]], [[1, 2]], [[2, 2]], [[5, 5]]], np.uint8)
    drawn = abilities.majority_maps(["a", "a", "a", "b"], maps, ["a", "b", "new"], len(MASK_CLASSES))
    np.testing.assert_array_equal(np.stack(drawn)[:, 0], [[1, 2], [5, 5], [1, 2]])


def test_features_are_means_over_what_is_given_and_a_probe_reads_them():
    model, tokens = small.model(), small.tokens(80)
    whole = abilities.features(model, tokens.given("patches"))
    np.testing.assert_allclose(
        whole[70:75],
        abilities.features(model, tokens.rows(torch.arange(70, 75)).given("patches")),
        rtol=1e-4,
        atol=1e-5,
    )
    labels = ["bright" if bright else "dark" for bright in whole[:, 0] > np.median(whole[:, 0])]
    assert (abilities.probe(whole[:60], labels[:60], whole[60:]) == np.array(labels[60:])).mean() > 0.8
