"""What the text of a caption names: the plane, the side, what is seen; and whether another text names the same."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Fact = Callable[[str], str | None]
Patterns = dict[str, re.Pattern[str]]


def _patterns(words: dict[str, str]) -> Patterns:
    return {name: re.compile(rf"(?<!-)\b({pattern})\b", re.IGNORECASE) for name, pattern in words.items()}


_PLANES = _patterns({
    "axial": r"(trans)?axial|transverse", "coronal": r"coronal", "sagittal": r"sagittal",
    "frontal": r"PA|AP|posteroanterior|anteroposterior|frontal (?!lobe)\w+|radiograph|X-ray|film",
})  # fmt: skip
_SIDES = _patterns({"left": r"left", "right": r"right"})
# Synonyms of what a reader would call the same thing.
_SEEN = _patterns({
    "abscess": r"abscess(es)?|(encapsulated|\w+-(enhancing|walled)) (collection|cavity)|ring-shaped \w+|cavitating \w+",
    "atelectasis": r"atelectasis|(plate-like|band-shaped) opacity",
    "calculus": r"calcul(us|i)|stones?",
    "cardiomegaly": r"cardiomegaly|(enlarged|widened) (cardiac|heart) \w+|enlarged heart",
    "consolidation": r"consolidations?|airspace opacit(y|ies)",
    "cyst": r"cysts?",
    "effusion": r"effusions?|pleural fluid",
    "extra-axial tumour": r"extra-axial (tumou?r|lesion)|dural-based \w+|meningiomas?",
    "focal lesion": r"(hypodense|low-density|lobulated|focal)( \w+)? lesions?",
    "fracture": r"fractures?|fractured",
    "haemorrhage": r"ha?emorrhages?|ha?ematomas?",
    "infarct": r"infarct(s|ion)?|(peripheral )?wedge(-shaped)? \w+",
    "mass": r"mass(es)?|(?<!extra-axial )tumou?rs?|neoplasms?",
    "metastasis": r"metasta(sis|ses)|secondary deposits?",
    "nodule": r"nodules?|(pulmonary|soft-tissue) (lesion|opacity)",
    "oedema": r"pulmonary o?edema|perihilar \w+",
    "plaque": r"plaques?|demyelinating \w+|white matter lesions?",
    "pleural thickening": r"pleural (thickening|band)",
    "pneumothorax": r"pneumothorax|pleural air collection",
    "wide mediastinum": r"(widened|broad) (upper )?mediastin(um|al \w+)|mediastinal widening",
})  # fmt: skip
_NOTHING = re.compile(
    r"\b(normal|unremarkable|clear lungs|no abnormality|outside of this slice|not cut the known lesion)\b",
    re.IGNORECASE,
)
# A denial reaches to the end of its clause; "CT without contrast" denies nothing.
_DENIED = re.compile(
    r"\b(no|without(?! (iv |intravenous )?(contrast|enhancement)))\b.*?(?=\bbut\b|[.;]|$)", re.IGNORECASE
)


def _the_one(patterns: Patterns) -> Fact:
    """The name whose words a text holds; None where it holds those of none or of several."""

    def fact(text: str) -> str | None:
        found = [name for name, pattern in patterns.items() if pattern.search(text)]
        return found[0] if len(found) == 1 else None

    return fact


def seen(text: str) -> str | None:
    """What a text says is there, in alphabetical order, what it denies left out; "nothing" where it says so."""
    kept = _DENIED.sub("", text)
    found = [name for name, pattern in _SEEN.items() if pattern.search(kept)]
    if found:
        return ", ".join(found)
    return "nothing" if _NOTHING.search(text) else None


FACTS: dict[str, Fact] = {"plane": _the_one(_PLANES), "side": _the_one(_SIDES), "finding": seen}


def named_right(predictions: Sequence[str], references: Sequence[str], fact: Fact) -> np.ndarray:
    """For each text whether it names the fact as its reference does: [N] of 1 and 0; NaN where the reference has none.

    A text that names nothing, or several, is wrong.
    """
    pairs = zip(map(fact, predictions), map(fact, references), strict=True)
    return np.array([np.nan if wanted is None else float(given == wanted) for given, wanted in pairs])


def commonest(texts: Sequence[str], fact: Fact) -> str | None:
    """What most of the texts that settle a fact say; among equals the first in the alphabet."""
    counts = Counter(value for text in texts if (value := fact(text)) is not None)
    return min(counts, key=lambda value: (-counts[value], value), default=None)


def commonest_right(training: Sequence[str], references: Sequence[str], fact: Fact) -> np.ndarray:
    """`named_right` of an answer that always names what most training texts name."""
    value = commonest(training, fact)
    return np.array([np.nan if (wanted := fact(text)) is None else float(value == wanted) for text in references])
