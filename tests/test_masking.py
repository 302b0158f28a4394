import numpy as np
import pytest

from medmm_kernels.spec import STRATEGIES
from medmm_lib import data, masking


@pytest.fixture(scope="module")
def studies():
    return data.examples()


def changes(strategy):
    return {"first_input_tokens": 24, "progress": 0.5} if strategy == "curriculum" else {}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_patch_is_drawn_where_it_is_given_or_asked_for(studies, strategy):
    row = studies[0]
    masked = masking.mask(row, masking.specification(strategy=strategy, **changes(strategy)), sample_id=5)
    drawn = masking.panels(row, masked)
    side, size = row["image"].size[0], row["image"].size[0] // masking.SIDE
    for panel, (rows, m) in enumerate([(masked.encoder, 1), (masked.encoder, 2), (masked.decoder, 2)]):
        left = panel * (side + masking.GAP)
        corners = drawn[::size, left : left + side : size].reshape(-1, 4)  # one pixel of every patch
        there = np.zeros(len(corners), bool)
        there[rows.position[0][rows.modality[0] == m].numpy()] = True
        assert (corners[:, 3] == np.where(there, 255, masking.HIDDEN[3])).all()


def test_texts_given_and_asked_for_make_the_caption(studies):
    for sample_id in range(20):
        row = studies[0]
        given, asked = masking.texts(row, masking.mask(row, masking.specification(inputs=300, targets=300), sample_id))
        cut = dict(part.split(" ", 1) for part in asked.split("⟨")[1:-1])  # "0⟩" → the words that ⟨0⟩ stands for
        merged = " ".join(cut[word[1:]].strip() if word.startswith("⟨") else word for word in given.split())
        assert given == "nothing" or merged == " ".join(masking.words(row))


def test_weights_prefer_tissue(studies):
    row = next(row for row in studies if row["location_category"] == "Head")
    weights = masking.tissue(row)
    assert weights.min() > 0
    corner, centre = weights[0], weights[masking.SIDE * masking.SIDE // 2 + masking.SIDE // 2]
    assert centre > corner


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_explorer_draws_again_when_a_control_moves(studies, strategy):
    explorer = masking.widget(studies)
    controls = {control.description: control for control in explorer.children[0].children}
    controls["Strategy"].value = strategy
    controls["Given"].value = 0
    assert "given:</b> nothing" in explorer.children[-1].value
    controls["Given"].value = 200
    assert "given:</b> nothing" not in explorer.children[-1].value
    assert (controls["Progress"].layout.display is None) == (strategy == "curriculum")
