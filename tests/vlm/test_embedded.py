import pytest
import torch
from transformers import AutoModelForImageTextToText, PaliGemmaForConditionalGeneration, PaliGemmaProcessor

from medmm_lib.vlm import embedded
from medmm_lib.vlm.collator import CAPTION, Collator
from medmm_lib.vlm.loading import load_processor
from medmm_lib.vlm.training import answer_losses
from tests.vlm import small


def test_the_base_learns_captions_and_is_kept(tmp_path):
    folder = small.base(tmp_path)
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), load_processor(folder)
    assert isinstance(model, PaliGemmaForConditionalGeneration)
    assert isinstance(processor, PaliGemmaProcessor)
    assert processor.image_seq_length == 4
    captions = [row for row in small.rows() if row["question"] == "What do you see?"]
    nats, tokens = answer_losses(model, Collator(processor, CAPTION, 24), captions)
    assert nats.sum() / tokens.sum() < 0.3  # 0.14 for one of two captions at random
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert small.base(tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert small.base(tmp_path, steps=2) != folder


def test_a_base_that_was_being_trained_goes_on(tmp_path, monkeypatch):
    calls = []

    def interrupted(*_, **__):
        calls.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PaliGemmaForConditionalGeneration, "save_pretrained", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small.base(tmp_path, steps=2)
    assert calls
    folder = small.base(tmp_path, steps=2)
    assert (folder / "model.safetensors").is_file()


def test_the_vocabulary_starts_as_gemmas_does():
    processor = small.processor()
    tokeniser = processor.tokenizer
    assert tokeniser.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>", "<unk>"]) == [0, 1, 2, 3]
    config = embedded.make_config(processor, small.SHAPE)
    assert len(tokeniser) <= config.text_config.vocab_size < len(tokeniser) + 64
    text = "answer en Is this bright?\n"
    assert tokeniser.decode(tokeniser(text)["input_ids"]) == text
    assert torch.tensor(tokeniser("\n")["input_ids"]).numel() == 1


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="side is 60; expected a multiple of 8"):
        embedded.EmbeddedShape(side=60)
