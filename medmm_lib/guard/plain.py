"""A text as people read it: without the marks and spellings that hide words from a filter.

`visible` undoes tricks with Unicode and markup (look-alikes: Unicode Technical Standard 39), `plain` also those with
spaces, digits and typing errors.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from confusable_homoglyphs.confusables import confusables_data
from rapidfuzz.distance import OSA
from rapidfuzz.process import extractOne
from spellchecker import SpellChecker

_HIDDEN_ASCII = 0xE0000  # tag characters: invisible copies of ASCII, from this code on
_SHAPELESS = ("Mn", "Me", "Cf", "Co", "Cs", "Cn")  # Unicode categories: accents, zero-width marks, no characters
_LEET = str.maketrans("013457@$!|€", "oieastasiie")
_WITH_LEET = re.compile(r"[^\W_]*[^\W\d_][013457@$!|€]+[^\W\d_][\w@$!|€]*|[013457@$€][^\W\d_]{2,}[\w@$!|€]*")
_SPACED_OUT = re.compile(r"(?<![^\W_])[^\W\d_](?:[\s.\-_*·/|,]{1,2}[^\W\d_](?![^\W_])){3,}")
_CUT_UP = re.compile(r"(?<![^\W_])[^\W\d_]+(?:[.\-_*·+^~][^\W\d_]+)+")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
# Tags that only format, with one attribute that is no sentence; what others say is left in, as a model reads it.
_TAG = r"</?(?:{})(?:\s+[\w-]+=[\"']?[\w:#;.%-]{{0,30}}[\"']?)?\s*/?>"
_INLINE = re.compile(_TAG.format("b|i|u|em|strong|span|font|small|mark"), re.IGNORECASE)
_BLOCK = re.compile(_TAG.format("div|p|br|h[1-6]|ul|ol|li"), re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{5,}")


def visible(text: str) -> str:
    """The text in lower-case letters without accents; look-alikes from other scripts, compatibility forms, entities and
    invisible copies of letters as what they are read as; shapeless marks, tags that only format, and the brackets of
    others left out."""
    text = "".join(
        chr(ord(mark) - _HIDDEN_ASCII) if 0xE0020 <= ord(mark) < 0xE007F else mark for mark in html.unescape(text)
    )
    text = unicodedata.normalize("NFKD", text)
    text = _BLOCK.sub(" ", _INLINE.sub("", text))
    text = "".join(mark for mark in text if unicodedata.category(mark) not in _SHAPELESS)
    text = text.translate(_look_alikes()).casefold()
    return re.sub(r"[<>\x00-\x20\x7f]+", " ", text).strip()


def legible(text: str) -> str:
    """The text without control characters and marks that would show it in another order than it was read in."""
    kept = (mark if mark in "\n\t" or not unicodedata.category(mark).startswith("C") else "" for mark in text)
    return "".join(kept).strip()


def plain(text: str, terms: Sequence[str]) -> str:
    """`visible`, with words that were spaced out, cut up, stretched, written with digits, or misspelt put right where
    that gives one of `terms` or a word of a dictionary."""
    text = _SPACED_OUT.sub(lambda found: re.sub(r"[^\w]|_", "", found[0]), visible(text))
    text = _CUT_UP.sub(lambda found: _if_word(re.sub(r"[^\w]|_", "", found[0]), found[0], terms), text)
    text = _WITH_LEET.sub(lambda found: _if_word(found[0].translate(_LEET), found[0], terms), text)
    text = _STRETCHED.sub(r"\1\1", text)
    return _WORD.sub(lambda found: _spelt(found[0], terms), text)


def _if_word(candidate: str, otherwise: str, terms: Sequence[str]) -> str:
    return candidate if _is_word(candidate, terms) else otherwise


def _spelt(word: str, terms: Sequence[str]) -> str:
    """The term that an unknown word is an error of: one letter of five to seven, two of more."""
    if _is_word(word, terms):
        return word
    near = extractOne(word, terms, scorer=OSA.distance, score_cutoff=1 if len(word) < 8 else 2)
    return near[0] if near and near[0][0] == word[0] else word


def _is_word(word: str, terms: Sequence[str]) -> bool:
    return word in _dictionary() or word in terms


@cache
def _dictionary() -> SpellChecker:
    return SpellChecker(language=["en", "nl"])


@cache
def _look_alikes() -> dict[int, str]:
    """Characters outside ASCII → the ASCII letters that they look like."""
    return {
        ord(mark): like[0]["c"]
        for mark, like in confusables_data.items()
        if len(mark) == 1 and not mark.isascii() and like[0]["c"].isascii()
    }
