import numpy as np
import pytest

from medmm_lib.evaluation import explained
from medmm_lib.evaluation.explained import Explained

COUNT, GRID, SIDE = 24, 4, 16


def bright(seed=0):
    """Images with one bright patch, the only thing that a model's score depends on, and where it is."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, GRID**2, COUNT)
    regions = np.zeros((COUNT, GRID, GRID))
    regions[np.arange(COUNT), places // GRID, places % GRID] = 1
    regions = np.stack([explained.enlarged(region, SIDE) for region in regions])
    return np.where(regions > 0, 255, 100).astype(np.uint8), regions


def one(maps, randomised=None):
    images, _ = bright()
    maps = {"map": maps}
    random = {"map": np.random.default_rng(1).random((COUNT, GRID, GRID)) if randomised is None else randomised}

    def score(n, given):
        return (given == 255).mean((1, 2))

    return Explained("brightness", images, [f"p{k // 2}" for k in range(COUNT)], maps, random, score)


def true_maps():
    _, regions = bright()
    return regions[:, ::4, ::4] + 0.1 * np.random.default_rng(2).random((COUNT, GRID, GRID))


def test_a_map_of_the_lesion_beats_every_control():
    table = explained.pointed(one(true_maps()), bright()[1])["map"].set_index("condition")
    assert table.loc["model", "value"] == 1
    assert table.loc["chance", "value"] == pytest.approx(1 / GRID**2)
    assert (table.loc[["another patient's lesion", "random weights", "chance"], "lead_low"] > 0).all()


def test_a_random_map_beats_none():
    random = np.random.default_rng(3).random((COUNT, GRID, GRID))
    table = explained.pointed(one(random), bright()[1])["map"].set_index("condition")
    assert (table.loc[["another patient's lesion", "random weights", "chance"], "lead_low"] <= 0).all()


def test_a_map_that_always_marks_one_place_is_no_better_than_with_another_patients_lesion():
    maps = np.zeros((COUNT, GRID, GRID))
    maps[:, 1, 1] = 1
    table = explained.pointed(one(maps), bright()[1])["map"].set_index("condition")
    assert table.loc["another patient's lesion", "value"] == pytest.approx(table.loc["model", "value"], abs=0.1)
    assert table.loc["another patient's lesion", "lead_low"] <= 0


def test_deleting_what_a_true_map_marks_hurts_at_once_and_showing_it_is_enough():
    table = explained.faithful(one(true_maps()), most=20).set_index("curve")
    for control in ("random", "others"):
        assert table.loc["deletion", f"to_{control}_high"] < 0
        assert table.loc["insertion", f"to_{control}_low"] > 0
        assert table.loc["deletion", "value"] < table.loc["deletion", control]


@pytest.mark.parametrize("constant", [False, True])
def test_a_map_of_nothing_is_as_faithful_as_chance(constant):
    random = np.random.default_rng(4)
    maps = (
        np.broadcast_to(random.random((GRID, GRID)), (COUNT, GRID, GRID))
        if constant
        else random.random((COUNT, GRID, GRID))
    )
    table = explained.faithful(one(maps), most=COUNT)
    assert ((table["to_others_low"] <= 0) & (table["to_others_high"] >= 0)).all()
    assert (table["to_random"].abs() < 0.02).all()  # a true map is 0.06 away


def test_no_map_can_point_better_than_its_patches_allow():
    regions = bright()[1]
    assert explained.ceiling(one(true_maps()), regions) == 1
    quarter = regions.copy()
    quarter[:, ::2] = 0
    assert explained.ceiling(one(true_maps()), quarter) == pytest.approx(0.5)


def test_maps_that_do_not_depend_on_the_weights_are_found_out():
    maps = true_maps()
    np.testing.assert_allclose(explained.likeness(one(maps, maps**3))["map"], 1)  # ranks are the same
    assert np.mean(explained.likeness(one(maps))["map"]) < 0.35  # of 16 places, by chance
    np.testing.assert_allclose(explained.likeness(one(maps, -maps))["map"], 1)  # the other way round is akin, too
    assert np.isnan(explained.likeness(one(maps, np.ones_like(maps)))["map"]).all()


def test_a_map_must_go_into_its_image():
    with pytest.raises(ValueError, match="3 × 3 patches does not go into 16 × 16 pixels"):
        explained.enlarged(np.zeros((3, 3)), 16)
