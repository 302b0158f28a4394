import numpy as np
import pytest

from medmm_lib.evaluation.regions import box_hits, box_iou, dice
from medmm_lib.evaluation.saliency import curve_area, deletion, insertion, pointing


def test_iou_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 0, 0]])
    overlaps = box_iou(boxes, boxes)
    assert overlaps[0, 1] == pytest.approx(1 / 7)
    assert overlaps[0, 0] == 1
    assert overlaps[0, 2] == 0
    assert overlaps[3, 3] == 0  # a box without area
    assert box_iou(np.zeros((0, 4)), boxes).shape == (0, 4)


def test_a_box_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="ends before it begins"):
        box_iou(np.array([[2, 0, 1, 1]]), np.array([[0, 0, 1, 1]]))


def test_a_predicted_box_serves_one_known_box():
    known = [np.array([[0, 0, 10, 10], [0, 0, 10, 9]])]
    assert box_hits([np.array([[0, 0, 10, 10]])], known).tolist() == [1, 0]
    assert box_hits([np.array([[0, 0, 10, 10], [0, 0, 10, 9]])], known).tolist() == [1, 1]
    assert box_hits([np.zeros((0, 4))], known).tolist() == [0, 0]
    assert box_hits([np.array([[0, 0, 1, 1]])], [np.zeros((0, 4))]).tolist() == []


def test_dice_by_hand():
    known = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    predicted = np.array([[0, 0, 1, 1], [0, 1, 1, 0]])
    found = dice(predicted, known, 3)
    assert found[0] == pytest.approx(2 * 3 / (4 + 4))
    assert found[1] == pytest.approx(2 * 3 / (4 + 4))
    assert np.isnan(found[2])  # in neither map
    assert dice(np.full((2, 2), 2), np.zeros((2, 2), int), 3)[2] == 0
    with pytest.raises(ValueError, match="expected the same"):
        dice(np.zeros((2, 2)), np.zeros((3, 3)), 2)


REGION = np.zeros((8, 8))
REGION[2:4, 2:4] = 1


def test_the_pointing_game():
    assert pointing(REGION, REGION) == 1
    assert pointing(1 - REGION, REGION) == 0
    assert pointing(np.ones((8, 8)), REGION) == pytest.approx(4 / 64)  # a constant map: the region's share
    with pytest.raises(ValueError, match="not finite"):
        pointing(np.full((8, 8), np.nan), REGION)


def in_region(images):
    return images[:, 2:4, 2:4].mean((1, 2))


def test_deletion_and_insertion_tell_a_good_map_from_a_bad_one():
    image = np.ones((8, 8))
    for curve, better in ((deletion, np.less), (insertion, np.greater)):
        good = curve(image, REGION, in_region, baseline=0.0, steps=16)
        bad = curve(image, -REGION, in_region, baseline=0.0, steps=16)
        assert better(curve_area(good), curve_area(bad))
        assert len(good) == 17
    fallen = deletion(image, REGION, in_region, baseline=0.0, steps=16)
    assert (fallen[0], fallen[1], fallen[-1]) == (1, 0, 0)
    risen = insertion(image, REGION, in_region, baseline=0.0, steps=16)
    assert (risen[0], risen[1], risen[-1]) == (0, 1, 1)


def test_maps_of_bytes_and_truths_rank_like_floats():
    image = np.random.default_rng(0).random((8, 8))
    curve = deletion(image, REGION, in_region, baseline=0.0)
    for kind in (np.uint8, bool):
        assert deletion(image, REGION.astype(kind), in_region, baseline=0.0).tolist() == curve.tolist()
    with pytest.raises(ValueError, match="not finite"):
        deletion(image, np.full((8, 8), np.nan), in_region, baseline=0.0)


def test_images_with_channels():
    image = np.ones((8, 8, 3))
    scores = insertion(image, REGION, lambda images: images[:, 2:4, 2:4].mean((1, 2, 3)), baseline=0.0, steps=16)
    assert (scores[0], scores[1]) == (0, 1)


def test_there_must_be_something_to_point_at():
    with pytest.raises(ValueError, match="region is empty"):
        pointing(REGION, np.zeros((8, 8)))


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match="outside 0 to 1"):
        dice(np.full((2, 2), 255), np.zeros((2, 2), int), 2)


def test_the_area_of_a_straight_line_is_a_half():
    assert curve_area(np.linspace(0, 1, 11)) == pytest.approx(0.5)
