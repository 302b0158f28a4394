import shutil

import numpy as np
import pytest
import torch

from medmm_lib.evaluation import explained
from medmm_lib.vlm import card, evidence, saliency
from medmm_lib.vlm.collator import IGNORED
from medmm_lib.vlm.finetuning import finetune
from medmm_lib.vlm.kept import kept
from medmm_lib.vlm.training import answer_losses, answer_scores
from tests.vlm import small

PARAMETERS = {"base": "embedded", "precision": "fp32", "prompt": "answer en {question}", "context": 24}


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """What chapter 02 leaves, moved to another folder afterwards."""
    first, moved = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("moved") / "chapter"
    tuning = small.tuning("fp32", steps=20)
    tuned = finetune(small.base(first / "base"), tuning, small.rows(), first / "runs", key="test")
    card.save(
        tuned, tuning, "a base", "MIT", first / "adapter", data={"name": "phantom", "fingerprint": "f"}, figures={}
    )
    shutil.move(first, moved)
    return moved, tuned


def test_the_tuned_model_is_there_again_wherever_the_folder_is(chapter):
    folder, tuned = chapter
    model, collator, base = kept(folder, PARAMETERS)
    assert str(folder) in base
    rows = small.rows(8)
    np.testing.assert_allclose(
        answer_losses(model, collator, rows)[0], answer_losses(tuned.model, tuned.collator, rows)[0], rtol=1e-5
    )


def test_without_an_adapter_the_chapter_to_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run chapter 02_lora_finetuning first, with method lora"):
        kept(tmp_path, PARAMETERS)


def test_its_maps_can_be_put_to_the_test(chapter):
    model, collator, base = kept(chapter[0], PARAMETERS)
    rows = small.rows(6)
    one = saliency.explained(model, collator, rows, base)
    assert one.images.shape == (6, 16, 16, 3)
    assert set(one.maps) == set(one.randomised) == set(saliency.KINDS)
    scores = np.array([one.score(k, one.images[k : k + 1])[0] for k in range(6)])
    for k in range(6):
        told, labels = answer_scores(model, collator([rows[k]]))
        ids = labels[labels != IGNORED]
        likely = told.softmax(-1)[torch.arange(len(ids)), ids][:-1].detach().numpy()  # the end does not count
        assert scores[k] == pytest.approx(np.log(likely / (1 - likely)).mean(), rel=0.02, abs=0.02)
    assert not np.allclose(one.maps["rollout"], one.randomised["rollout"])
    table = explained.faithful(one, most=4, steps=2)
    assert table["value"].notna().all()


def test_hidden_places_are_those_that_the_map_marks_most():
    image, values = np.full((5, 5, 3), 200, np.uint8), np.array([[0.0, 3.0], [1.0, 2.0]])
    half = evidence.without(image, values, 0.5)
    assert (half[:3, :3] == 200).all()
    assert (half[:, 3:] == 128).all()  # the right half: a map of 2 × 2 on 5 × 5 pixels
    assert (evidence.without(image, values, 0) == image).all()
    assert (evidence.without(image, values, 1) == 128).all()


def test_the_widget_answers_maps_and_hides(chapter):
    model, collator, _ = kept(chapter[0], PARAMETERS)
    box = evidence.widget(model, collator, small.rows(4))
    place, typed, kind, share = box.children[0].children
    place.value, share.value, kind.value, typed.value = 1, 50, "rollout", "No"
    view = box.children[1].value
    assert "what speaks for “No”" in view
    assert "with 50 % hidden, it says" in view
    assert view.count("<img") == 3
