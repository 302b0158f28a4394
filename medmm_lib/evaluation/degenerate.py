"""Texts that are no answer, whatever they are compared with: empty, repetitive, cut off, in another language."""

import re
import unicodedata
from functools import cache
from itertools import pairwise

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from medmm_lib.evaluation.text import tokens

KINDS = ("empty", "repetition", "cut_off", "wrong_language")
LONGEST_RUN = 2  # the same token or phrase more often than this in a row is a repetition
WORDS_TO_TELL = 6  # a language is told from at least this many words

# A sentence does not end with these.
_OPEN_ENDS = frozenset(
    """
    a an and are as at between by for from has have in into is its of on or than that the their there this to was were
    which with without within de een en het met van voor
    """.split()
)
_OPEN_MARKS = re.compile(r"[,;:(\[–—-]\s*$")


def degenerate(text: str | None, *, language: str = "en") -> set[str]:
    """What is wrong with `text` as a text: a subset of `KINDS`.

    - `empty`: no token at all.
    - `repetition`: one to four words three times or more in a row, or, from twelve words on, fewer than half of the
      word pairs distinct.
    - `cut_off`: ends in a word or mark that calls for more, or in an open bracket.
    - `wrong_language`: mostly letters of another script, or told to be another language than `language` with a
      probability over 0.999. Latin and Greek terms alone are too short to tell.
    """
    words = tokens(text)
    if not text or not words:
        return {"empty"}
    found = {
        "repetition": _repeats(words),
        "cut_off": _is_open(text, words[-1]),
        "wrong_language": _foreign(text, words, language),
    }
    return {kind for kind, is_so in found.items() if is_so}


def _repeats(words: list[str]) -> bool:
    for size in range(1, 5):
        phrases = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
        for start in range(len(phrases) - size * LONGEST_RUN):
            if len({phrases[start + size * turn] for turn in range(LONGEST_RUN + 1)}) == 1:
                return True
    pairs = list(pairwise(words))
    return len(words) >= 12 and len(set(pairs)) < len(pairs) / 2


def _is_open(text: str, last: str) -> bool:
    if _OPEN_MARKS.search(text):
        return True
    # A capital letter names something, as in "Stanford type A".
    return last in _OPEN_ENDS and not text.rstrip().endswith((".", "A"))


def _foreign(text: str, words: list[str], language: str) -> bool:
    letters = [mark for mark in text if mark.isalpha()]
    if not letters:
        return False
    latin = sum("LATIN" in unicodedata.name(mark, "") for mark in letters) / len(letters)
    if latin < 0.5:
        return True
    if len(words) < WORDS_TO_TELL:
        return False
    told, probability = _identifier().classify(text)
    return told != language and probability > 0.999


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(["en", "nl", "de", "fr", "es", "it", "pt", "la"])
    return identifier
