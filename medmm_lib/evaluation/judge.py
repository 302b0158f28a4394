"""A language model as a judge of answers. Optional: it needs a server, and its verdicts are one more model's output."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medmm_lib import paths

PROMPT = paths.REPORT / "judge_prompt.txt"
FIELDS = ("question", "reference", "prediction")
HIGHEST = 10  # what the prompt calls the same answer


class JudgeError(RuntimeError):
    """A judge that can't be asked; the message says what to do."""


def judged(
    questions: Sequence[str], references: Sequence[str], predictions: Sequence[str], *, server: str, model: str,
    prompt: Path = PROMPT,
) -> np.ndarray:  # fmt: skip
    """Scores from 0 (wrong) to 1 (the same as the reference) of every answer: [N], NaN for a verdict without a number.

    `server` is the address of an OpenAI-compatible one, such as http://localhost:11434/v1 (Ollama), `model` the name it
    knows. `prompt` is a text file with the places {question}, {reference} and {prediction}. The answers are sent to
    that server. A key, where one is needed, is in OPENAI_API_KEY. Raises `JudgeError`.
    """
    try:
        import openai
    except ImportError as error:
        raise JudgeError("a judge needs the package openai: pip install --editable '.[judge]'") from error
    text = prompt.read_text(encoding="utf-8")
    if missing := [name for name in FIELDS if f"{{{name}}}" not in text]:
        raise JudgeError(f"{prompt} has no place for {', '.join(missing)}; expected {{{missing[0]}}} in it")
    client = openai.OpenAI(base_url=server, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    verdicts = []
    for given in zip(questions, references, predictions, strict=True):
        values = dict(zip(FIELDS, given, strict=True))
        filled = re.sub(r"\{(question|reference|prediction)\}", lambda place, known=values: known[place[1]], text)
        try:
            made = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": filled}], temperature=0, max_tokens=16, seed=0
            )
        except openai.OpenAIError as error:
            raise JudgeError(f"{server}, model {model!r}: {error}. Is the server up, and does it know it?") from error
        verdicts.append(_number(made.choices[0].message.content or ""))
    return np.array(verdicts)


def _number(verdict: str) -> float:
    """The number of a verdict that is one, such as `8`, `8/10`, `Score: 8.`; NaN for any other text."""
    found = re.fullmatch(r"\s*(?:\w+\s*:)?\s*(10|\d)(?:\s*/\s*10)?\s*\.?\s*", verdict)
    return int(found[1]) / HIGHEST if found else float("nan")
