"""How hard a report is to read."""

import textstat
from bs4 import BeautifulSoup

_BLOCKS = ["p", "li", "dd", "dt", "h1", "h2", "figcaption"]  # each ends a sentence


def grade(text: str, language: str) -> float:
    """School years that a text asks for: the Flesch–Kincaid grade (Kincaid et al. 1975), with syllables from the CMU
    dictionary in English and from hyphenation in Dutch, for which the formula was not fitted."""
    textstat.set_lang(language)
    return textstat.flesch_kincaid_grade(text)


def ease(text: str, language: str) -> float:
    """Reading ease, about 0 to 100, higher is easier: Flesch 1948 in English, Douma 1960 in Dutch."""
    textstat.set_lang(language)
    return textstat.flesch_reading_ease(text)


def sentences(page: str) -> str:
    """What a page of HTML says, each of its blocks a sentence at least."""
    body = BeautifulSoup(page, "html.parser").body
    texts = [" ".join(block.get_text().split()) for block in body.find_all(_BLOCKS)] if body else []
    return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in texts if text)
