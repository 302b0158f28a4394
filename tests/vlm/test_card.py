import pytest
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from medmm_lib.vlm import card
from medmm_lib.vlm.finetuning import finetune
from medmm_lib.vlm.training import answer_losses
from tests.vlm import small

DATA = {"name": "phantom", "fingerprint": "abc"}


def test_an_adapter_is_saved_with_its_card_and_can_be_used(tmp_path):
    base, tuning = small.base(tmp_path / "base"), small.tuning("fp32")
    tuned = finetune(base, tuning, small.rows(), tmp_path / "runs", key="test")
    card.save(tuned, tuning, "a small base", "MIT", tmp_path / "adapter", data=DATA, figures={"closed accuracy": "0.7"})
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(part.numel() for part in saved.values()) == tuned.trained
    assert not list((tmp_path / "adapter").glob("*.bin"))
    text = ModelCard.load(tmp_path / "adapter" / "README.md")
    assert text.data.library_name == "peft"
    for said in (
        "phantom",
        "`abc`",
        "closed accuracy | 0.7",
        "`rank=8`",
        "answer en {question}",
        "not for clinical use",
    ):
        assert said in text.content
    again = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tmp_path / "adapter")
    rows = small.rows(4)
    assert answer_losses(again, tuned.collator, rows)[0] == pytest.approx(
        answer_losses(tuned.model, tuned.collator, rows)[0]
    )


def test_only_adapters_are_saved(tmp_path):
    base, tuning = small.base(tmp_path / "base", steps=2), small.tuning("fp32", method="bitfit", steps=2)
    tuned = finetune(base, tuning, small.rows(), tmp_path / "runs", key="test")
    with pytest.raises(ValueError, match="only adapters are saved"):
        card.save(tuned, tuning, "a small base", "MIT", tmp_path / "adapter", data=DATA, figures={})
