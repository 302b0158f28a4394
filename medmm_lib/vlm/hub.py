"""Other models of the hub by name, asked the same questions: vision–language models, and CLIP-like ones that choose."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    PaliGemmaProcessor,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
)

from medmm_lib import device
from medmm_lib.vlm.bases import BASES
from medmm_lib.vlm.collator import ANSWER, Collator
from medmm_lib.vlm.inference import answer
from medmm_lib.vlm.loading import fetch
from medmm_lib.vlm.training import BATCH, Rows

CHOICES = 64  # answers that a CLIP-like model chooses among, at most
Ask = Callable[[Rows], list[str]]


def opened(name: str, training: Dataset, *, longest: int = 32, batch_size: int = BATCH) -> Ask:
    """A model of the hub, or of a folder, as a function from rows to answers.

    - A PaliGemma is asked with its own prompt, any other vision-language model through its chat template, with the
      question as it stands and the likeliest token each time, `longest` tokens at most.
    - A CLIP-like model chooses the answer whose text, behind the question, fits the image best. It chooses among the
      answers that `training` has to the same question, or, where it never asks that, among its most frequent ones.

    Raises `BaseUnavailable` for a model that can't be had, and `ValueError` for one of another kind.
    """
    kind = fetch(AutoConfig, name).model_type
    dtype = device.DTYPES[device.precision()[0]] if torch.cuda.is_available() else torch.float32
    where = "cuda" if torch.cuda.is_available() else "cpu"
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        processor = fetch(AutoProcessor, name)
        model = fetch(AutoModelForImageTextToText, name, dtype=dtype, use_safetensors=True).to(where)
        if isinstance(processor, PaliGemmaProcessor):
            collator = Collator(processor, ANSWER)
            return lambda rows: answer(model, collator, rows, longest=longest, batch_size=batch_size)
        return lambda rows: _chat(model, processor, rows, longest, batch_size)
    if kind in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        processor = fetch(AutoProcessor, name)
        model = fetch(AutoModelForZeroShotImageClassification, name, dtype=dtype, use_safetensors=True).to(where)
        choices = answers_to(training)
        return lambda rows: _choose(model, processor, rows, choices)
    raise ValueError(
        f"{name} is of the type {kind!r}, which transformers has no vision-language model for. Look for a copy of it "
        "that was converted to transformers, and give its name"
    )


def licence(name: str) -> str:
    """The licence that a model's card states; "unknown" where there is none to be read."""
    if name in BASES:
        return f"{BASES[name].licence} ({BASES[name].terms})"
    card = Path(name) / "README.md"
    try:
        return ModelCard.load(card if Path(name).is_dir() else name).data.license or "unknown"
    except (OSError, ValueError, HfHubHTTPError):  # no such model or card, or no network
        return "unknown"


def answers_to(training: Dataset) -> Callable[[str], list[str]]:
    """The most frequent training answers to a question, at most `CHOICES`; to a new one, the most frequent of all.

    Equally frequent ones stand in the order of the alphabet.
    """
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for question, text in zip(training["question"], training["answer"], strict=True):
        by_question[question][text] += 1
        overall[text] += 1

    def choices(question: str) -> list[str]:
        counts = by_question.get(question, overall)
        return sorted(counts, key=lambda text: (-counts[text], text))[:CHOICES]

    return choices


@torch.no_grad()
def _chat(model: PreTrainedModel, processor: ProcessorMixin, rows: Rows, longest: int, batch_size: int) -> list[str]:
    if processor.chat_template is None:
        raise ValueError(f"{model.name_or_path} has no chat template, so nobody can tell how it wants to be asked")
    texts: list[str] = []
    processor.tokenizer.padding_side = "left"
    for start in range(0, len(rows), batch_size):
        part = [rows[k] for k in range(start, min(start + batch_size, len(rows)))]
        batch = processor.apply_chat_template(
            [_message(row["question"], row["image"]) for row in part], add_generation_prompt=True, tokenize=True,
            return_dict=True, return_tensors="pt", processor_kwargs={"padding": True},
        ).to(model.device, dtype=model.dtype)  # fmt: skip
        made = model.generate(**batch, max_new_tokens=longest, do_sample=False)
        texts += processor.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _message(question: str, image: object) -> list[dict[str, object]]:
    content: list[dict[str, object]] = [{"type": "text", "text": question}]
    if image is not None:
        content.insert(0, {"type": "image", "image": image.convert("RGB")})
    return [{"role": "user", "content": content}]


@torch.no_grad()
def _choose(
    model: PreTrainedModel, processor: ProcessorMixin, rows: Rows, choices: Callable[[str], Sequence[str]]
) -> list[str]:
    chosen = []
    for row in rows:
        answers = choices(row["question"])
        if row["image"] is None:
            chosen.append(answers[0])  # without an image all that is left is the most frequent
            continue
        room = model.config.text_config.max_position_embeddings
        batch = processor(
            images=row["image"].convert("RGB"), text=_texts(processor, row["question"], answers, room),
            padding="max_length" if "siglip" in model.config.model_type else True,  # as SigLIP was trained
            truncation=True, max_length=room, return_tensors="pt",
        ).to(model.device, dtype=model.dtype)  # fmt: skip
        chosen.append(answers[int(model(**batch).logits_per_image[0].argmax())])
    return chosen


def _texts(processor: ProcessorMixin, question: str, answers: Sequence[str], room: int) -> list[str]:
    """Each answer behind the question, in `room` tokens; where they are too few the question is cut, not the answer."""
    tokeniser = processor.tokenizer
    longest = max(len(ids) for ids in tokeniser([f" {text}" for text in answers])["input_ids"])
    left = max(1, room - longest)
    cut = tokeniser(question, truncation=True, max_length=left, add_special_tokens=False)["input_ids"]
    asked = question if len(cut) < left else tokeniser.decode(cut)
    return [f"{asked} {text}" for text in answers]
