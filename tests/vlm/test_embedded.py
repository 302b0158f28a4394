import pytest
import torch
from transformers import AutoModelForImageTextToText, PaliGemmaForConditionalGeneration, PaliGemmaProcessor

from medmm_lib import data
from medmm_lib.data.questions import make
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
    (folder / "config.json").unlink()  # as where a copy of it was cut short
    assert small.base(tmp_path) == folder
    assert (folder / "config.json").is_file()


def test_lessons_are_captions_keywords_and_literature_and_no_question_about_an_image():
    images, questions = data.load("phantom")["validation"], make(data.load("phantom"))["validation"]
    lessons = embedded.lessons(images, questions, 32)
    captioned = [row for row in lessons if row["question"] == CAPTION]
    assert [row["answer"] for row in captioned] == [caption for caption in images["caption"] if caption]
    keywords = [row["answer"] for row in lessons if row["question"] == embedded.KEYWORDS]
    assert len(keywords) == len(images)
    assert keywords[0].startswith("CT scan, ") or keywords[0].startswith(("MR image, ", "X-ray image, "))
    about_images = {
        text for text, kind in zip(questions["question"], questions["kind"], strict=True) if kind == "image"
    }
    rest = [row for row in lessons if row["question"] not in (CAPTION, embedded.KEYWORDS)]
    assert len(rest) == list(questions["kind"]).count("literature")
    assert not {row["question"].removeprefix("answer en ") for row in rest} & about_images
    assert all(row["image"].getextrema() == ((128, 128),) * 3 for row in rest)
    assert {row["image"].size for row in lessons} == {(32, 32)}


def test_lessons_that_leave_no_room_for_an_answer_are_left_out():
    processor, rows = (
        small.processor(),
        [{"question": "answer en Is this bright?" * k, "answer": "Yes"} for k in (1, 3)],
    )
    long = len(processor.tokenizer(rows[1]["question"] + "\n")["input_ids"])
    assert embedded.fitting(rows, processor, long + 3) == rows
    assert embedded.fitting(rows, processor, long + 2) == rows[:1]
    image = small.rows()[0]["image"]
    batch = Collator(processor, "{question}", long + 3)([rows[1] | {"image": image}])
    assert batch["labels"][0, -2:].tolist() == processor.tokenizer("Yes<eos>")["input_ids"][-2:]


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
    with pytest.raises(ValueError, match="side is 60; expected a multiple of 16"):
        embedded.EmbeddedShape(side=60)
