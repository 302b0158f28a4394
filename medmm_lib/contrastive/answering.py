"""Questions with short answers, as tensors: answering is choosing one of the answers that training has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import nn

from medmm_lib.contrastive.fitting import Fitted, Schedule, asked, fit
from medmm_lib.contrastive.images import moved
from medmm_lib.evaluation.controls import majority_answers, of_other_patients

UNKNOWN = -1  # the answer of a question whose answer training does not have
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Questions:
    """N questions. `image` [N]: rows of the images; `words` [N, T], 0 behind the last; `answer` [N] or `UNKNOWN`.

    `kind` [N] is 1 for images of a kind that was added later, else 0.
    """

    image: torch.Tensor
    words: torch.Tensor
    answer: torch.Tensor
    kind: torch.Tensor
    patients: list[str]
    types: list[str]

    def __len__(self) -> int:
        """How many questions."""
        return len(self.image)

    def select(self, rows: Sequence[int] | np.ndarray) -> "Questions":
        """Some of the questions, by number."""
        at = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        tensors = {name: getattr(self, name)[at] for name in ("image", "words", "answer", "kind")}
        lists = {name: [getattr(self, name)[k] for k in at.tolist()] for name in ("patients", "types")}
        return Questions(**tensors, **lists)

    def with_others_images(self, seed: int) -> "Questions":
        """The control: each question on an image of another patient."""
        return replace(self, image=self.image[torch.from_numpy(of_other_patients(self.patients, seed))])


class Language:
    """The words and answers of training questions, numbered. 0 is no word, 1 a word that training does not have."""

    def __init__(self, training: Dataset) -> None:
        words = [_words(question) for question in training["question"]]
        known = sorted({word for question in words for word in question})
        self.numbers = {word: number for number, word in enumerate(known, start=2)}
        self.answers = sorted(set(training["answer"]))
        self.longest = max(map(len, words))

    @property
    def size(self) -> int:
        """How many word numbers there are."""
        return len(self.numbers) + 2

    def encode(self, rows: Dataset, images: Sequence[str], new_kind: Sequence[bool] | None = None) -> Questions:
        """Questions as of `medmm_lib.data.asked`; `images` are the `image_id`s in the order of the pixels."""
        place = {name: row for row, name in enumerate(images)}
        answer = {text: number for number, text in enumerate(self.answers)}
        words = torch.zeros(len(rows), self.longest, dtype=torch.int64)
        for row, question in enumerate(rows["question"]):
            known = [self.numbers.get(word, 1) for word in _words(question)][: self.longest]
            words[row, : len(known)] = torch.tensor(known)
        at = torch.tensor([place[name] for name in rows["image_id"]])
        return Questions(
            at, words, torch.tensor([answer.get(text, UNKNOWN) for text in rows["answer"]]),
            torch.zeros_like(at) if new_kind is None else torch.tensor(new_kind)[at].long(),
            list(rows["patient_id"]), list(rows["type"]),
        )  # fmt: skip


def _words(question: str) -> list[str]:
    return _WORD.findall(question.lower())


class Answerer(nn.Module):
    """What every model here is: `scores` of the answers, trained with cross-entropy."""

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """Images [B, side, side] uint8, words [B, T] and kinds [B] → [B, answers]."""
        raise NotImplementedError

    def forward(
        self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor, answer: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch; `answer` [B]."""
        return {"loss": F.cross_entropy(self.scores(pixels, words, kind).float(), answer)}


def train(
    model: Answerer, pixels: torch.Tensor, questions: Questions, schedule: Schedule, folder: Path, *, key: str,
    **options: float,
) -> Fitted:  # fmt: skip
    """Train on questions about `pixels` [images, side, side] uint8; those without a known answer are left out."""
    questions = questions.select(np.flatnonzero(questions.answer.numpy() != UNKNOWN))

    def collate(rows: torch.Tensor, draw: int) -> Mapping[str, torch.Tensor]:
        views = moved(pixels[questions.image[rows]], schedule.seed * 1_000_003 + draw)
        own = {name: getattr(questions, name)[rows] for name in ("words", "kind", "answer")}
        return {"pixels": views, **own}

    return fit(model, collate, len(questions), schedule, folder, key=key, **options)


def chosen(model: Answerer, pixels: torch.Tensor, questions: Questions) -> np.ndarray:
    """The number of the answer that is given to each question: [N]."""

    def choose(image: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        return model.scores(pixels[image.cpu()].to(words.device), words, kind).argmax(1)

    return asked(model, choose, questions.image, questions.words, questions.kind).long().numpy()


def right(model: Answerer, pixels: torch.Tensor, questions: Questions) -> np.ndarray:
    """Whether each question is answered right: [N] of 1 and 0; an answer that training does not have can't be."""
    return (chosen(model, pixels, questions) == questions.answer.numpy()).astype(float)


def majority_right(training: Dataset, rows: Dataset) -> np.ndarray:
    """The control without a model: whether the most frequent training answer to the same question is right, [N]."""
    said = majority_answers(rows["question"], training)
    return np.array([text == known for text, known in zip(said, rows["answer"], strict=True)], dtype=float)
