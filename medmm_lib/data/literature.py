"""Questions that a topic text answers: what a disease is, for beginners; imaging, treatment and causes, for experts."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from medmm_lib.data.schema import topic_parts

MAX_WORDS = 60

_BEGINNER = ("What is {}?", "Can you explain what {} is?", "The report mentions {}. What does it mean?")
_EXPERT = {
    "imaging": (
        re.compile(r"\b(CT|MRI?|radiograph\w*|imaging|x-?rays?|signal|attenuation|density|enhanc\w+)\b", re.IGNORECASE),
        ("What are the imaging features of {}?", "How does {} look on imaging?", "What does imaging show in {}?"),
    ),
    "treatment": (
        re.compile(
            r"\b(treat\w*|therap\w+|surg(ery|ical)\w*|resect\w*|managed?|management|antibiotics?)\b", re.IGNORECASE
        ),
        ("How is {} treated?", "What is the treatment of {}?", "How would you manage {}?"),
    ),
    "cause": (
        re.compile(
            r"\b(caused? by|causes?|due to|results? from|risk factors?|mutation|associated with)\b", re.IGNORECASE
        ),
        (
            "What causes {}, or what is it associated with?",
            "What is known about the causes of {}?",
            "Why does {} occur?",
        ),
    ),
}
_STATEMENT = ("Is this said of {}: “{}”", "Does this describe {}: “{}”", "Is it true of {} that: “{}”")
# Citations, pointers, and what is said of one patient instead of the disease.
_NOT_PROSE = re.compile(
    r"^(ref(erence)?s?\b|see\b|http|www|history\b|request\b|\d+[.)]?$)|et al|journal|\bpp?\.\s?\d"
    r"|\b(this|our|the) (patient|case)\b|\b(he|she|his|her|yo|y/o|year[- ]old)\b|\b(template|blank page|clear\])",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^(discussion|introduction|overview|background)\b[^:]{0,30}:\s*", re.IGNORECASE)

Pick = Callable[..., Any]


def questions(topic: str, other: str | None, key: str, pick: Pick) -> Iterator[tuple[str, str, str, str, str]]:
    """The pairs that `topic` answers: (name, level, form, question, answer).

    `other` is a topic whose statements are false of this one; `pick(options, *key)` chooses a phrasing.
    """
    title, text = topic_parts(topic)
    title = title.strip(" .")
    prose = sentences(text)
    if not prose or not _is_a_disease(title):
        return
    if answer := _shorten(prose[:2]):
        yield "what", "beginner", "open", pick(_BEGINNER, key, "what").format(title), answer
    for name, (pattern, phrasings) in _EXPERT.items():
        if answer := _shorten([sentence for sentence in prose if pattern.search(sentence)][:2]):
            yield name, "expert", "open", pick(phrasings, key, name).format(title), answer
    foreign = sentences(topic_parts(other)[1]) if other else []
    foreign = [sentence for sentence in foreign if title.casefold() not in sentence.casefold()]
    true = not foreign or pick([True, False], key, "truth")
    statement = pick(prose if true else foreign, key, "statement")
    if len(statement.split()) <= MAX_WORDS:
        question = pick(_STATEMENT, key, "statement").format(title, statement) + "?"
        yield "statement", "beginner", "closed", question, "Yes" if true else "No"


def _is_a_disease(title: str) -> bool:
    """Whether a topic's title can stand in a question: some are headlines of a case, such as "46 yo female with …"."""
    return bool(title) and not re.search(r"\d|\n|\b(yo|y/o|year[- ]old|male|female)\b", title, re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of `text` with at least five words; citations and remarks on one patient are left out."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z(])|\n+", text)
    cleaned = [_HEADING.sub("", " ".join(part.strip(" •*-\t").split())) for part in parts]
    return [part for part in cleaned if len(part.split()) >= 5 and not _NOT_PROSE.search(part)]


def _shorten(chosen: list[str]) -> str:
    """As many of the first sentences as fit in MAX_WORDS; an empty string when the first one does not."""
    while chosen and len(" ".join(chosen).split()) > MAX_WORDS:
        chosen = chosen[:-1]
    return " ".join(chosen)
