import re

import numpy as np
import pytest

from medmm_lib import data
from medmm_lib.data import browse


@pytest.fixture(scope="module")
def rows():
    return list(data.examples())


def test_every_picture_has_a_text_and_every_case_its_images(rows):
    page = browse.page(rows)
    pictures = re.findall(r"<img [^>]*>", page)
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)
    assert len(pictures) >= len(rows)
    assert page.count("<summary>") == len({row["case_id"] for row in rows})
    assert page.count("<details open>") == 1


def test_texts_of_the_data_cannot_become_markup(rows):
    row = rows[0] | {"caption": '<script>alert("x")</script>', "history": "a < b", "case_id": "<b>"}
    page = browse.page([row])
    assert "<script>" not in page
    assert "<b>" not in page
    assert "a &lt; b" in page


def test_the_overlay_draws_boxes_where_they_are(rows):
    row = next(row for row in rows if row["boxes"])
    drawn = np.asarray(browse.overlay(row))
    left, top, _, bottom = row["boxes"][0]["box"]
    height, width = drawn.shape[:2]
    middle = int((top + bottom) / 2 * height), int(left * width) + 1
    assert tuple(drawn[middle][:3]) == (255, 255, 255)
    assert drawn.shape[:2] == tuple(4 * side for side in reversed(row["image"].size))


def test_an_image_without_truth_has_no_overlay(rows):
    assert browse.overlay(rows[0] | {"mask": None, "boxes": None}) is None
    assert "overlay" not in browse.page([rows[0] | {"mask": None, "boxes": []}]).replace("overlay-switch", "")


def test_the_widget_follows_its_controls(rows):
    part = data.examples()
    box = browse.widget(part)
    case, overlay = box.children[0].children
    before = box.children[1].value
    case.value = case.options[-1]
    assert box.children[1].value != before
    assert 'class="overlay"' in box.children[1].value or not any(row["boxes"] for row in part)
    overlay.value = False
    assert 'class="overlay"' not in box.children[1].value
