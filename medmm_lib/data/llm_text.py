"""Reads question/answer pairs from the free text that a language model wrote, such as Llama 3.1's `Q: … A: …`."""

import re
from dataclasses import dataclass, field

_QUESTION = re.compile(r"^(?:\d+[.)]\s*)?Q(?:uestion)?\s*\d*\s*(?::\s*|[.)]\s+|$)(.*)", re.IGNORECASE)
_ANSWER = re.compile(r"^(?:\([^)]*\)\s*)?A(?:nswer)?\s*\d*\s*(?::\s*|[.)]\s+|$)(.*)", re.IGNORECASE)
_DECORATION = re.compile(r"\*\*|__|^\s*[-*#>•]+\s+")
_ONE_LINE = re.compile(r"^(.*\?)\s+(A(?:nswer)?\s*\d*:.*)$")


@dataclass(frozen=True)
class Parsed:
    """The pairs that were found, and the lines that belong to none: the model's filler and halves of pairs."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


def parse(text: str) -> Parsed:
    """Read every question with its answer from `text`.

    Understands `Q:`/`A:`, `Question 1`/`Answer` on lines of their own, numbers and bold marks. A text without any such
    mark is read as lines that end in a question mark, each followed by its answer. An answer may run over several
    lines; it ends at an empty line.

    >>> parse("Here you are:\\n\\n**Q1:** Is it CT?\\nA: Yes\\n\\nLet me know!").pairs
    [('Is it CT?', 'Yes')]
    """
    lines = [_DECORATION.sub("", line).strip() for line in text.splitlines()]
    lines = [part for line in lines for part in _question_and_answer(line)]
    if not any(_QUESTION.match(line) for line in lines):
        lines = _marked(lines)
    parsed = Parsed()
    question, answer = None, None
    for line in [*lines, "Q:"]:  # a last, empty question closes the last pair
        if found := _QUESTION.match(line):
            _close(parsed, question, answer)
            question, answer = found.group(1).strip(), None
        elif question is not None and (found := _ANSWER.match(line)):
            answer = found.group(1).strip()
        elif not line:
            if question and answer:
                _close(parsed, question, answer)
                question, answer = None, None
        elif question is None:
            parsed.left_over.append(line)
        elif answer is None:
            question = f"{question} {line}".strip()
        else:
            answer = f"{answer} {line}".strip()
    return parsed


def _question_and_answer(line: str) -> tuple[str, ...]:
    """The two halves of a line that holds both, else the line."""
    both = _ONE_LINE.match(line)
    return both.groups() if both else (line,)


def _close(parsed: Parsed, question: str | None, answer: str | None) -> None:
    if question and answer:
        parsed.pairs.append((question, answer))
    elif question or answer:
        parsed.left_over.append(" ".join(part for part in (question, answer) if part))


def _marked(lines: list[str]) -> list[str]:
    """Puts the marks into a text that has none: a line that asks, then the lines up to the next that does."""
    marked, asked = [], False
    for line in lines:
        if line.endswith("?"):
            marked += [f"Q: {line}"]
            asked = True
        elif asked and line:
            marked += [f"A: {line}"]
            asked = False
        else:
            marked.append(line)
    return marked
