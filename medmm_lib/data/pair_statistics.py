"""How long and how varied question/answer pairs are, and how often a question holds its answer."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

_WORD = re.compile(r"[^\W_]+")


def pair_statistics(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Of pairs of question and answer [N ≥ 1].

    - `question_words`, `answer_words`: medians.
    - `distinct_questions`: the share of questions that are the first of their words.
    - `distinct_2`: distinct among all pairs of neighbouring words in questions (Li et al. 2016, arXiv:1510.03055).
    - `openings`: how many different first three words a hundred questions have. Like `distinct_2` and
      `distinct_questions` it falls with the number of questions, so compare equally many.
    - `answer_in_question`: the share whose answer, word for word and not a bare yes or no, stands in the question.
    """
    questions, answers = ([_words(text) for text in texts] for texts in zip(*pairs, strict=True))
    neighbours = [pair for words in questions for pair in pairwise(words)]
    openings = {tuple(words[:3]) for words in questions}
    inside = (
        f" {' '.join(a)} " in f" {' '.join(q)} " and a not in (["yes"], ["no"], [])
        for q, a in zip(questions, answers, strict=True)
    )
    return {
        "question_words": median(map(len, questions)),
        "answer_words": median(map(len, answers)),
        "distinct_questions": len(set(map(tuple, questions))) / len(questions),
        "distinct_2": len(set(neighbours)) / max(len(neighbours), 1),
        "openings": 100 * len(openings) / len(questions),
        "answer_in_question": sum(inside) / len(questions),
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
