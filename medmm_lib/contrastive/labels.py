"""What images are classified by: CheXpert's 14 labels, or what a record says of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from medmm_lib.data.schema import CHEXPERT_LABELS

LEAST = 10  # training images that a value of a record needs to become a class
RECORD_FIELDS = ("modality", "plane", "location_category")
_WORDS = {"CT": "a CT scan", "MR": "an MR image", "XR": "an X-ray image", "US": "an ultrasound image"}


@dataclass(frozen=True)
class Labels:
    """Classes, and for zero-shot classification what a caption would say of an image that has each, and that lacks it.

    `sentences`: class → (one that has it, some that lack it).
    """

    names: list[str]
    sentences: dict[str, tuple[str, list[str]]]
    fields: tuple[str, ...]  # of records; empty: CheXpert's

    def values(self, rows: Dataset) -> np.ndarray:
        """1 present, 0 absent, NaN unknown or uncertain: [N, classes]. Raises ValueError where nothing is known."""
        if not self.fields:
            labelled = [row or {} for row in rows["labels"]]
            table = np.array([[row.get(name) for name in self.names] for row in labelled], dtype=float)
            if not np.isfinite(table).any():
                raise ValueError("these data have no CheXpert labels; set labels to records")
            return np.where((table == 0) | (table == 1), table, np.nan)
        columns = []
        for name in self.names:
            field, _, wanted = name.partition(": ")
            columns.append([np.nan if value is None else float(value == wanted) for value in rows[field]])
        return np.array(columns).T


def chexpert() -> Labels:
    """The 14 labels of CheXpert (Irvin et al. 2019, arXiv:1901.07031)."""
    sentences = {
        name: (f"There is {name.lower()}.", [f"There is no {name.lower()}."])
        for name in CHEXPERT_LABELS
        if name != "No Finding"
    }
    sentences["No Finding"] = ("A normal chest.", [own for own, _ in sentences.values()])
    return Labels(list(CHEXPERT_LABELS), sentences, ())


def of_records(training: Dataset, fields: Sequence[str] = RECORD_FIELDS) -> Labels:
    """The values of `fields` that at least `LEAST` training images have, one class each.

    Raises ValueError when no field has two such values.
    """
    names, sentences = [], {}
    for field in fields:
        values = [value for value in training[field] if value is not None]
        frequent = sorted(value for value in set(values) if values.count(value) >= LEAST)
        if len(frequent) < 2:
            continue
        said = {value: _sentence(field, value) for value in frequent}
        for value in frequent:
            names.append(f"{field}: {value}")
            sentences[names[-1]] = (said[value], [text for other, text in said.items() if other != value])
    if not names:
        raise ValueError(f"none of {', '.join(fields)} has two values in {LEAST} training images each")
    return Labels(names, sentences, tuple(fields))


def _sentence(field: str, value: str) -> str:
    if field == "modality":
        return f"This is {_WORDS.get(value, value)}."
    if field == "plane":
        return f"{value.capitalize()} view."
    return f"An image of the {value.lower()}."
