"""Texts that are no answer, whatever they are compared with: empty, repetitive, cut off, in another language."""

import re
import unicodedata
from functools import cache
from itertools import pairwise

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from medmm_lib.evaluation.text import tokens

KINDS = ("empty", "repetition", "cut_off", "wrong_language")
LONGEST_RUN = 2  # the same token or phrase more often than this in a row is a repetition
LANGUAGES = ("en", "nl", "de", "fr", "es", "it", "pt", "pl", "sv")  # what a text is told to be, besides Latin
WORDS_TO_TELL = 6  # a language is told from at least this many words

# A sentence does not end with these.
_OPEN_ENDS = frozenset(
    """
    a an and as at between by for from in into its of on or than the their there to which with without within
    """.split()
)
_OPEN_MARKS = re.compile(r"[,;:(\[–—-]\s*$")


def degenerate(text: str | None, *, language: str = "en") -> set[str]:
    """What is wrong with `text` as a text: a subset of `KINDS`.

    - `empty`: no token at all.
    - `repetition`: one to four words three times or more in a row, or, from twelve words on, fewer than half of the
      word pairs distinct.
    - `cut_off`: ends in a word or mark that calls for more, or in an open bracket. English words only.
    - `wrong_language`: mostly letters of another script, or told to be another language than `language` with a
      probability over 0.999. Latin passes in every language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r} can't be told. There are: {', '.join(LANGUAGES)}")
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
            run = {phrases[start + size * turn] for turn in range(LONGEST_RUN + 1)}
            if len(run) == 1 and not _may_repeat(phrases[start]):
                return True
    pairs = list(pairwise(words))
    return len(words) >= 12 and len(set(pairs)) < len(pairs) / 2


def _may_repeat(phrase: tuple[str, ...]) -> bool:
    """Numbers repeat in ranges and dates ("5-5.5", "11/11/11"), findings in lists ("normal, normal, normal")."""
    return len(phrase) == 1 and (phrase[0].isdecimal() or phrase[0] in ("no", "yes", "normal"))


def _is_open(text: str, last: str) -> bool:
    if _OPEN_MARKS.search(text):
        return True
    # A capital letter names something, as in "Stanford type A" or "taken to the OR".
    is_name = text.rstrip(" .)").endswith(last.upper())
    return last in _OPEN_ENDS and not is_name and not text.rstrip().endswith((".", "?", "!"))


def _foreign(text: str, words: list[str], language: str) -> bool:
    letters = [mark for mark in text if mark.isalpha()]
    if not letters:
        return False
    # Greek letters are names and units in every language.
    latin = sum(unicodedata.name(mark, "").startswith(("LATIN", "GREEK", "MICRO")) for mark in letters) / len(letters)
    if latin < 0.5:
        return True
    if len(words) < WORDS_TO_TELL:
        return False
    told, probability = _identifier().classify(text)
    return told not in (language, "la") and probability > 0.999


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES, "la"])
    return identifier
