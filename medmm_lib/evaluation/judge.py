"""A language model as a judge of answers. Optional: it needs a server, and its verdicts are one more model's output."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medmm_lib import chat, paths

PROMPT = paths.REPORT / "prompts" / "judge.txt"
FIELDS = ("question", "reference", "prediction")
HIGHEST = 10  # what the prompt calls the same answer


def judged(
    questions: Sequence[str], references: Sequence[str], predictions: Sequence[str], *, server: str, model: str,
    prompt: Path = PROMPT, kept: Path | None = None,
) -> np.ndarray:  # fmt: skip
    """Scores from 0 (wrong) to 1 (the same as the reference) of every answer: [N], NaN for a verdict without a number,
    and for one that the server does not give.

    `server` is the address of an OpenAI-compatible one, such as http://localhost:11434/v1 (Ollama), `model` the name it
    knows. `prompt` is a text file with the places {question}, {reference} and {prediction}. The answers are sent to
    that server; its verdicts are stored in `kept`. Raises `ChatError`, and ValueError for a
    prompt without a place.
    """
    asked = [
        chat.filled(prompt, dict(zip(FIELDS, given, strict=True)))
        for given in zip(questions, references, predictions, strict=True)
    ]
    replies = chat.ask(asked, chat.Server(server, model, max_tokens=16), kept)
    return np.array([_number(reply.text) if reply.answered else float("nan") for reply in replies])


def _number(verdict: str) -> float:
    """The number of a verdict that is one, such as `8`, `8/10`, `Score: 8.`; NaN for any other text."""
    found = re.fullmatch(r"\s*(?:\w+\s*:)?\s*(10|\d)(?:\s*/\s*10)?\s*\.?\s*", verdict)
    return int(found[1]) / HIGHEST if found else float("nan")
