"""Four ways to put an image and a question together, for questions with short answers.

| name | what it is | after |
|---|---|---|
| two encoders | an image and a text encoder that meet only in their pooled outputs | CLIP (Radford et al. 2021) |
| adapters | a frozen language model with gated cross-attention to an image encoder | Llama 3, Flamingo |
| co-attention | two streams that attend to each other in every layer | ViLBERT (Lu et al. 2019, arXiv:1908.02265) |
| encoder–decoder | one encoder for patches and words together, one query to a decoder | 4M (Mizrahi et al. 2023) |
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from medmm_lib import parallel
from medmm_lib.contrastive.answering import Answerer, Questions
from medmm_lib.contrastive.fitting import Fitted, Schedule, fit
from medmm_lib.contrastive.layers import Layer, Patches, Words

HEADS, DEPTH = 4, 2  # of every stream
STEP = 8  # widths are multiples of it


@dataclass(frozen=True)
class Task:
    """What a model is built for: images of `side`, cut into patches of `patch` pixels, and questions and answers."""

    side: int
    patch: int
    words: int
    longest: int
    answers: int


class TwoEncoders(Answerer):
    """Image and question are encoded apart; a classifier sees both and their product."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.patches, self.words = Patches(task.side, task.patch, width), Words(task.words, task.longest, width)
        self.image, self.text = (nn.ModuleList(Layer(width, HEADS) for _ in range(DEPTH)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.answer = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, task.answers))

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """[B, answers]"""
        image, text, there = self.patches(pixels, kind), self.words(words), words > 0
        for layer in self.image:
            image = layer(image)
        for layer in self.text:
            text = layer(text, there)
        one, other = self.norms[0](image).mean(1), _mean(self.norms[1](text), there)
        return self.answer(torch.cat([one, other, one * other], dim=-1))


class Adapters(Answerer):
    """A causal language model over words and answers that is trained first and then frozen; images come in through
    gated cross-attention, and the answer is the language model's next token."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.first_answer = task.words
        self.patches = Patches(task.side, task.patch, width)
        self.image = nn.ModuleList(Layer(width, HEADS) for _ in range(DEPTH))
        self.image_norm = nn.LayerNorm(width)
        self.words = Words(task.words + task.answers, task.longest + 1, width)
        self.text = nn.ModuleList(Layer(width, HEADS, cross=True, gated=True) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(width)

    def states(self, words: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """[B, T] → [B, T, width]; what stands behind the last word is never looked at."""
        x = self.words(words)
        for layer in self.text:
            x = layer(x, None, context, causal=True)
        return self.norm(x)

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """[B, answers]"""
        image = self.patches(pixels, kind)
        for layer in self.image:
            image = layer(image)
        states = self.states(words, self.image_norm(image))
        last = states[torch.arange(len(words), device=words.device), (words > 0).sum(1) - 1]
        return last @ self.words.embedding.weight[self.first_answer :].T

    def language_parts(self) -> list[nn.Parameter]:
        """The language model's weights: everything of the text stream but the cross-attention."""
        added = [p for layer in self.text for p in (*layer.cross.parameters(), *layer.cross_norm.parameters())]
        added += [layer.gate for layer in self.text]
        known = {id(parameter) for parameter in added}
        streams = (self.words, self.text, self.norm)
        return [p for stream in streams for p in stream.parameters() if id(p) not in known]


class CoAttention(Answerer):
    """Two streams; in every layer each first attends to the other, then to itself."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.patches, self.words = Patches(task.side, task.patch, width), Words(task.words, task.longest, width)
        self.image, self.text = (nn.ModuleList(Layer(width, HEADS, cross=True) for _ in range(DEPTH)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.answer = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, task.answers))

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """[B, answers]. The streams are multiplied at the end, as ViLBERT's are for questions."""
        image, text, there = self.patches(pixels, kind), self.words(words), words > 0
        for look, read in zip(self.image, self.text, strict=True):
            image, text = look(image, None, text, there), read(text, there, image)
        return self.answer(self.norms[0](image).mean(1) * _mean(self.norms[1](text), there))


class EncoderDecoder(Answerer):
    """Patches and words are one sequence to one encoder; a decoder is asked with one query."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.patches, self.words = Patches(task.side, task.patch, width), Words(task.words, task.longest, width)
        self.text_kind, self.query = (nn.Parameter(0.02 * torch.randn(width)) for _ in range(2))
        self.encoder = nn.ModuleList(Layer(width, HEADS) for _ in range(DEPTH))
        self.decoder = nn.ModuleList(Layer(width, HEADS, cross=True) for _ in range(DEPTH - 1))
        self.norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.answer = nn.Linear(width, task.answers)

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """[B, answers]"""
        image, text = self.patches(pixels, kind), self.words(words) + self.text_kind
        given = torch.cat([image, text], dim=1)
        there = torch.cat([torch.ones_like(image[..., 0], dtype=torch.bool), words > 0], dim=1)
        for layer in self.encoder:
            given = layer(given, there)
        asked, given = self.query.expand(len(words), 1, -1), self.norm(given)
        for layer in self.decoder:
            asked = layer(asked, None, given, there)
        return self.answer(self.decoder_norm(asked[:, 0]))


def _mean(states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """The mean over places that hold something: [B, T, width] → [B, width]."""
    return (states * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)


ARCHITECTURES: dict[str, Callable[[Task, int], Answerer]] = {
    "two encoders": TwoEncoders, "adapters": Adapters, "co-attention": CoAttention, "encoder–decoder": EncoderDecoder,
}  # fmt: skip


def weights(model: nn.Module, *, trained: bool = False) -> int:
    """How many weights a model has, or only those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def sized(name: str, task: Task, budget: int) -> Answerer:
    """The architecture at the width that comes closest to `budget` weights, frozen ones counted.

    Raises ValueError for an unknown name and for a budget that even the narrowest one does not fit.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture is {name!r}; expected {', '.join(ARCHITECTURES)}")
    counts: dict[int, int] = {}
    with torch.device("meta"):
        for width in range(STEP, 1025, STEP):
            counts[width] = weights(ARCHITECTURES[name](task, width))
            if counts[width] > budget:
                break
    width = min(counts, key=lambda one: abs(counts[one] - budget))
    if counts[width] > 1.2 * budget:
        raise ValueError(f"{name} with {counts[width]:,} weights is its narrowest; the budget is {budget:,}")
    return ARCHITECTURES[name](task, width)


class _NextWord(nn.Module):
    """The language model of `Adapters`, alone: each next word of a question, then its answer."""

    def __init__(self, model: Adapters) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: torch.Tensor, answer: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nats a token."""
        whole = F.pad(words, (0, 1))
        whole[torch.arange(len(words)), (words > 0).sum(1)] = self.model.first_answer + answer
        logits = self.model.states(whole[:, :-1]) @ self.model.words.embedding.weight.T
        loss = F.cross_entropy(logits.float().transpose(1, 2), whole[:, 1:], ignore_index=0)
        return {"loss": loss * parallel.share((whole[:, 1:] != 0).sum())}


def train_language(model: Adapters, questions: Questions, schedule: Schedule, folder: Path, *, key: str) -> Fitted:
    """Train the language model of `model` on questions and answers without images, then freeze it."""
    own = {id(part) for part in model.language_parts()}
    known = questions.select((questions.answer >= 0).nonzero()[:, 0])
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in own)

    def collate(rows: torch.Tensor, _: int) -> dict[str, torch.Tensor]:
        return {"words": known.words[rows], "answer": known.answer[rows]}

    fitted = fit(_NextWord(model), collate, len(known), schedule, folder, key=f"{key} language")
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in own)
    return fitted
