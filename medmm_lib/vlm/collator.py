"""Questions, images and answers as PaliGemma reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import BatchFeature, PaliGemmaProcessor

ANSWER = "answer en {question}"  # what PaliGemma was pretrained with; the notes used "answer {question}"
CAPTION = "caption en"
IGNORED = -100


@dataclass(frozen=True)
class Collator:
    """Turns rows with `image` (PIL; None: no image), `question` and `answer` into a batch for PaliGemma.

    A row reads `<image>…<image><bos>prompt\\n answer<eos>`: attention goes both ways within image and prompt (token
    type 0), only backwards in the answer (type 1), and only the answer and its end are to be predicted; labels of all
    else, and of padding, are −100 (Beyer et al. 2024, arXiv:2407.07726, figure 2). `context`: text tokens at most,
    prompt and answer, without the image's. An answer that goes beyond loses its end, and with it the end token.
    """

    processor: PaliGemmaProcessor
    prompt: str = ANSWER
    context: int = 256

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> BatchFeature:
        """A batch to train on: input_ids, token_type_ids, attention_mask, labels [B, T], padded right, pixel_values.

        Raises `ValueError` for a row without an image or an answer, and for a prompt that leaves no room for an answer.
        """
        for row in rows:
            if row["image"] is None or row["answer"] is None:
                lacking = "image" if row["image"] is None else "answer"
                raise ValueError(f"question {row['question']!r} has no {lacking} to train on: leave it out")
        prompts = self._prompts(rows)
        return self.processor(
            images=[row["image"] for row in rows],
            text=[self.processor.image_token + prompt for prompt in prompts],
            suffix=[row["answer"] for row in rows],
            padding="longest",
            padding_side="right",
            truncation="only_second",
            max_length=self.processor.image_seq_length + self.context,
            return_tensors="pt",
        )

    def questions(self, rows: Sequence[Mapping[str, Any]]) -> BatchFeature:
        """A batch to answer: the same without answers and labels, padded left, so that all answers begin together.

        Rows without an image are asked without one; either all rows have one or none has.
        """
        images = [row["image"] for row in rows]
        prompts = self._prompts(rows)
        options = {"padding": "longest", "padding_side": "left", "return_tensors": "pt"}
        if any(image is None for image in images):
            if any(image is not None for image in images):
                raise ValueError("some rows have an image and some have none; ask them in different batches")
            tokeniser = self.processor.tokenizer
            return tokeniser(
                [f"{tokeniser.bos_token}{prompt}\n" for prompt in prompts], return_token_type_ids=True, **options
            )
        batch = self.processor(
            images=images, text=[self.processor.image_token + prompt for prompt in prompts], **options
        )
        del batch["labels"]
        return batch

    def _prompts(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The prompts. Raises `ValueError` for one that leaves no token for an answer."""
        prompts = [self.prompt.format(question=row["question"]) for row in rows]
        tokeniser = self.processor.tokenizer
        if marked := [prompt for prompt in prompts if self.processor.image_token in prompt]:
            raise ValueError(
                f"the prompt {marked[0]!r} has {self.processor.image_token} in it, which stands for the image"
            )
        for prompt, ids in zip(prompts, tokeniser([f"{prompt}\n" for prompt in prompts])["input_ids"], strict=True):
            if len(ids) + 1 >= self.context:  # the start token's place
                raise ValueError(
                    f"the prompt {prompt!r} has {len(ids) + 1} tokens, the context {self.context}: nothing is left for "
                    "an answer. Raise `context` or shorten the question"
                )
        return prompts
