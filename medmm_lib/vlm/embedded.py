"""The embedded base: a tiny PaliGemma of the real classes, pretrained in a minute; no download."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor, PreTrainedTokenizerFast
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from medmm_lib import checkpoints, parallel, sources
from medmm_lib.data.asked import with_images
from medmm_lib.evaluation.controls import BLANK
from medmm_lib.vlm.collator import ANSWER, CAPTION, Collator
from medmm_lib.vlm.training import Rows, Schedule, fit

PAD, END, START, UNKNOWN = "<pad>", "<eos>", "<bos>", "<unk>"  # numbered as Gemma's
_SPACE = "▁"
SAVED = 500  # steps between checkpoints
KEYWORDS = "keywords en"  # a prompt of our own, next to PaliGemma's `CAPTION`
NAMED = ("modality", "sequence", "plane", "location_category", "diagnosis")  # what keywords say, in this order


@dataclass(frozen=True)
class EmbeddedShape:
    """Sizes of the embedded base: `side` and `patch` in pixels, `vocabulary` text tokens at most."""

    side: int = 64
    patch: int = 16
    vision_width: int = 128
    vision_layers: int = 1
    text_width: int = 192
    text_layers: int = 2
    heads: int = 4
    vocabulary: int = 1024

    def __post_init__(self) -> None:
        """Raise `ValueError` for sizes that do not go into each other."""
        for name, size, by in (("side", self.side, self.patch), ("vision_width", self.vision_width, self.heads)):
            if size % by:
                raise ValueError(f"{name} is {size}; expected a multiple of {by}")


def pretrained(
    rows: Rows, processor: PaliGemmaProcessor, folder: Path, shape: EmbeddedShape, schedule: Schedule, *, key: str
) -> Path:
    """The folder of an embedded base that has learned `rows` (as of `lessons`); it is trained when it is not there yet.

    `processor`: as of `make_processor`, of the same shape. `key` tells these data from others.
    """
    own = folder / sources.json_hash([asdict(shape), asdict(schedule), key])
    done = own / "base"
    if not checkpoints.damage(done):
        return done
    torch.manual_seed(schedule.seed)
    model = PaliGemmaForConditionalGeneration(make_config(processor, shape))
    fit(
        model,
        Collator(processor, "{question}", schedule.context),
        rows,
        schedule,
        own / "pretraining",
        save_strategy="steps",
        save_steps=SAVED,
    )
    if parallel.MAIN:
        processor.save_pretrained(done)
        model.save_pretrained(done)
        checkpoints.mark(done)
    parallel.wait()
    return done


def lessons(images: Dataset, questions: Dataset, side: int) -> list[dict[str, object]]:
    """What the embedded base learns: captions and keywords of images, and literature questions on a grey image.

    PaliGemma has seen captions and its language model has read much; neither was asked about a hospital's images.
    Keywords are the answers to an image's open questions (`NAMED`), without the questions. `images` and `questions`
    are of one split, as of `asked.with_images`. Rows have `question`, which is the whole prompt, `answer` and `image`,
    of `side` × `side` pixels.
    """
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for row in with_images(images, questions).select_columns(["image_id", "type", "answer"]):
        answers[row["image_id"]][row["type"]] = row["answer"]
    rows = []
    for name, image in zip(images["image_id"], images["image"], strict=True):
        seen = {"image": image.convert("RGB").resize((side, side))}
        if caption := answers[name].get("caption"):
            rows.append(seen | {"question": CAPTION, "answer": caption})
        if keywords := [answers[name][kind] for kind in NAMED if kind in answers[name]]:
            rows.append(seen | {"question": KEYWORDS, "answer": ", ".join(keywords)})
    grey = Image.new("RGB", (side, side), (BLANK,) * 3)
    read = questions.filter(lambda kind: kind == "literature", input_columns="kind", load_from_cache_file=False)
    asked = zip(read["question"], read["answer"], strict=True)
    return rows + [
        {"image": grey, "question": ANSWER.format(question=text), "answer": answer} for text, answer in asked
    ]


def fitting(rows: Rows, processor: PaliGemmaProcessor, context: int) -> list[Mapping[str, Any]]:
    """Those lessons whose prompt leaves room for an answer of at least one token, and its end, in `context` tokens."""
    asked = processor.tokenizer([row["question"] + "\n" for row in rows])["input_ids"]
    return [row for row, tokens in zip(rows, asked, strict=True) if len(tokens) + 3 <= context]


def make_processor(texts: Iterable[str], shape: EmbeddedShape) -> PaliGemmaProcessor:
    """PaliGemma's processor around a byte-pair tokeniser of these texts; it adds 1,152 tokens of its own."""
    tokeniser = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokeniser.normalizer = normalizers.Replace(" ", _SPACE)
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SPACE, "merged_with_next"),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Split("\n", "isolated"),  # ends the prompt
        ]
    )
    tokeniser.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary, special_tokens=[PAD, END, START, UNKNOWN], initial_alphabet=["\n"],
        show_progress=False,
    )  # fmt: skip
    tokeniser.train_from_iterator(texts, trainer)
    images = SiglipImageProcessorPil(size={"height": shape.side, "width": shape.side})
    images.image_seq_length = (shape.side // shape.patch) ** 2
    named = {"pad_token": PAD, "eos_token": END, "bos_token": START, "unk_token": UNKNOWN}
    return PaliGemmaProcessor(images, PreTrainedTokenizerFast(tokenizer_object=tokeniser, **named))


def make_config(processor: PaliGemmaProcessor, shape: EmbeddedShape) -> PaliGemmaConfig:
    """The configuration that fits a processor."""
    size = -(-len(processor.tokenizer) // 64) * 64
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": shape.vision_width, "image_size": shape.side,
        "intermediate_size": 4 * shape.vision_width, "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": shape.heads, "patch_size": shape.patch, "vision_use_head": False,
    }  # fmt: skip
    text = {
        "model_type": "gemma", "hidden_size": shape.text_width, "intermediate_size": 4 * shape.text_width,
        "num_hidden_layers": shape.text_layers, "num_attention_heads": shape.heads, "num_key_value_heads": 1,
        "head_dim": shape.text_width // shape.heads, "vocab_size": size,
    }  # fmt: skip
    return PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=shape.text_width, hidden_size=shape.text_width,
        vocab_size=size, image_token_index=processor.image_token_id,
    )  # fmt: skip
