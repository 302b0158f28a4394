"""Closed questions: accuracy of the majority of several sampled answers, and how often the samples disagree."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medmm_lib.evaluation.text import tokens


def is_closed(reference: str | None) -> bool:
    """Whether a reference answers a closed question: its first word is yes or no."""
    return tokens(reference)[:1] in (["yes"], ["no"])


def answer(text: str | None) -> str:
    """What a text answers: `yes` or `no` when that is its first word, else its normalised text."""
    words = tokens(text)
    return words[0] if words[:1] in (["yes"], ["no"]) else " ".join(words)


def majority_right(samples: Sequence[Sequence[str | None]], references: Sequence[str | None]) -> np.ndarray:
    """Whether the answer that most samples of a question give is right: [N] of 0 and 1.

    A tie for the most frequent answer is no majority and counts as wrong. Raises `ValueError` for a question without
    samples.
    """
    right = []
    for texts, reference in zip(samples, references, strict=True):
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"a closed question (reference {reference!r}) has no list of sampled answers")
        ranked = Counter(answer(text) for text in texts).most_common(2)
        tied = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
        right.append(not tied and ranked[0][0] == answer(reference))
    return np.array(right, dtype=float)


def disagreement(samples: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Whether the samples of a question do not all give the same answer: [N] of 0 and 1."""
    return np.array([len({answer(text) for text in texts}) > 1 for texts in samples], dtype=float)
