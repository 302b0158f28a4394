import pytest
import torch
from PIL import Image

from medmm_lib.vlm.collator import Collator
from tests.vlm import small

IMAGE = Image.new("RGB", (16, 16), "white")


@pytest.fixture(scope="module")
def processor():
    return small.processor()


def row(question="Is this bright?", answer="Yes", image=IMAGE):
    return {"image": image, "question": question, "answer": answer}


def tokens(processor, ids):
    return processor.tokenizer.convert_ids_to_tokens(ids)


def test_a_batch_is_what_paligemma_was_pretrained_with(processor):
    batch = Collator(processor, context=24)([row(), row("What do you see?", "a dark image")])
    first, second = (tokens(processor, ids) for ids in batch["input_ids"])
    asked = ["<bos>", "answer", "▁en", "▁Is", "▁this", "▁bright", "?", "\n"]
    assert first == ["<image>"] * 4 + asked + ["Yes", "<eos>"] + ["<pad>"] * 3
    seen = ["<bos>", "answer", "▁en", "▁What", "▁do", "▁you", "▁see", "?", "\n"]
    assert second == ["<image>"] * 4 + seen + ["a", "▁dark", "▁image", "<eos>"]
    assert batch["token_type_ids"].tolist() == [[0] * 12 + [1] * 2 + [0] * 3, [0] * 13 + [1] * 4]
    assert batch["attention_mask"].tolist() == [[1] * 14 + [0] * 3, [1] * 17]
    wanted = batch["input_ids"].clone()
    wanted[0, :12] = wanted[0, 14:] = wanted[1, :13] = -100
    assert torch.equal(batch["labels"], wanted)
    assert batch["pixel_values"].shape == (2, 3, 16, 16)
    assert batch["pixel_values"].amax() == pytest.approx(1.0)  # white, and black is -1


def test_the_prompts_form_is_a_parameter(processor):
    batch = Collator(processor, "answer {question}", context=24)([row()])
    assert "▁en" not in tokens(processor, batch["input_ids"][0])


def test_a_cut_answer_has_no_end(processor):
    whole = Collator(processor, context=13)([row("What do you see?", "a dark image")])
    assert tokens(processor, whole["input_ids"][0])[-1] == "<eos>"
    cut = Collator(processor, context=11)([row("What do you see?", "a dark image")])
    assert tokens(processor, cut["input_ids"][0])[-3:] == ["\n", "a", "▁dark"]
    assert (cut["labels"] != -100).sum() == 2
    assert (cut["input_ids"] == processor.image_token_id).sum() == 4


def test_questions_are_padded_left_and_hold_no_answers(processor):
    batch = Collator(processor, context=24).questions([row(), row("What do you see?", None)])
    first, second = (tokens(processor, ids) for ids in batch["input_ids"])
    assert first[0] == "<pad>"
    assert first[-1] == second[-1] == "\n"
    assert "labels" not in batch
    assert not batch["token_type_ids"].any()


def test_questions_without_an_image_are_the_same_text(processor):
    collator = Collator(processor, context=24)
    with_image, without = collator.questions([row()]), collator.questions([row(image=None)])
    assert with_image["input_ids"][0, 4:].tolist() == without["input_ids"][0].tolist()
    assert "pixel_values" not in without


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([row(image=None)], "has no image"),
        ([row(answer=None)], "has no answer"),
        ([row("Is <image> bright?")], "which stands for the image"),
        ([row("What do you see? " * 9)], "nothing is left for an answer"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(processor, rows, named):
    with pytest.raises(ValueError, match=named):
        Collator(processor, context=24)(rows)


def test_images_and_none_are_not_mixed(processor):
    with pytest.raises(ValueError, match="some have none"):
        Collator(processor, context=24).questions([row(), row(image=None)])
