import numpy as np
import pytest

from medmm_lib.vlm import inference, saliency
from medmm_lib.vlm.finetuning import finetune
from medmm_lib.vlm.loading import load
from tests.vlm import small


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small.base(tmp_path_factory.mktemp("base"), steps=20)


@pytest.mark.parametrize("precision", ["fp32", "4-bit"])
def test_a_tuned_model_has_maps_of_its_answers(base, precision, tmp_path):
    tuned = finetune(base, small.tuning(precision, steps=4), small.rows(), tmp_path, key="test")
    rows = small.rows()[:5]
    before = inference.answer(tuned.model, tuned.collator, rows, longest=5)
    found = saliency.maps(tuned.model, tuned.collator, rows, ["Yes", "No", "a bright image", "Yes", "No"])
    for kind, values in found.items():
        assert values.shape == (5, 2, 2), kind  # 16 pixels, patches of 8
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert (found["rollout"].sum((1, 2)) < 1).all()  # the rest is the question's
    assert inference.answer(tuned.model, tuned.collator, rows, longest=5) == before


def test_a_base_without_trained_weights_has_them_too(base):
    model, rows = load(base, "fp32").requires_grad_(False), small.rows()[:2]
    found = saliency.maps(model, small.collator(), rows, ["Yes", "No"])
    assert found["gradient × attention"].shape == (2, 2, 2)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_other_answers_have_other_maps_and_batches_do_not_matter(base, monkeypatch):
    model, rows = load(base, "fp32"), small.rows()[:3]
    one = saliency.maps(model, small.collator(), rows, ["Yes"] * 3)
    other = saliency.maps(model, small.collator(), rows, ["No"] * 3)
    assert not np.allclose(one["gradient × attention"], other["gradient × attention"])
    monkeypatch.setattr(saliency, "BATCH", 2)
    for kind, values in saliency.maps(model, small.collator(), rows, ["Yes"] * 3).items():
        np.testing.assert_allclose(values, one[kind], rtol=0.05, atol=1e-3)  # padding to another length, in bf16
