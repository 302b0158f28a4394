"""Splits by patient, and the audit that nothing leaks between them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Image, concatenate_datasets
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import train_test_split

from medmm_lib.data.schema import SPLITS, topic_key


def leakage(dataset: DatasetDict) -> list[str]:
    """What stands in two splits, one line each; an empty list when nothing does.

    Looks at patients, cases, the bytes of images and captions. In a question data set (with the columns `kind` and
    `topic`) it also looks at the topic texts that literature questions were made from; topics that no question uses
    leak nothing. Columns that a data set lacks are passed over.
    """
    lines = []
    for what, keys_of in _AUDITS.items():
        where: dict[str, dict[str, str]] = defaultdict(dict)
        for split, part in dataset.items():
            for key, example in keys_of(part):
                where[key].setdefault(split, example)
        for examples in where.values():
            if len(examples) > 1:
                shown = next(iter(examples.values()))
                lines.append(f"{what} in {' and '.join(examples)}: {_short(shown)}")
    return lines


def leakage_counts(dataset: DatasetDict) -> dict[str, int]:
    """How many patients, cases, images, captions and topic texts stand in two splits."""
    found = Counter(line.partition(" in ")[0] for line in leakage(dataset))
    return {what: found[what] for what in _AUDITS}


def stratified(dataset: DatasetDict, *, validation: int, test: int, seed: int) -> DatasetDict:
    """A new split with `validation` and `test` cases, drawn evenly over modality and region; training has the rest.

    Cases that share a patient, an image's bytes or a caption stay together, in training. Raises `ValueError` when there
    are too few other cases.
    """
    rows = concatenate_datasets([dataset[name] for name in SPLITS])
    groups = _groups(rows)
    kinds = [f"{m} {c}" for m, c in zip(rows["modality"], rows["location_category"], strict=True)]
    kind_of = {group: kinds[place] for place, group in reversed(list(enumerate(groups)))}
    case_of: dict[int, set[str]] = defaultdict(set)
    for group, case in zip(groups, rows["case_id"], strict=True):
        case_of[group].add(case)
    alone = sorted(group for group, cases in case_of.items() if len(cases) == 1)
    if min(validation, test) < 1 or validation + test >= len(alone):
        raise ValueError(
            f"{len(set(rows['case_id']))} cases can't give {validation} for validation and {test} for test: each needs "
            "at least one, and training too"
        )
    rest, chosen_test = _draw(alone, kind_of, test, seed)
    _, chosen_validation = _draw(rest, kind_of, validation, seed)
    train = set(case_of) - set(chosen_test) - set(chosen_validation)
    members = {"train": train, "validation": set(chosen_validation), "test": set(chosen_test)}
    return DatasetDict(
        {
            split: rows.select([i for i, group in enumerate(groups) if group in chosen])
            for split, chosen in members.items()
        }
    )


def unseen_conditions(dataset: DatasetDict) -> tuple[int, int]:
    """How many validation and test cases have a diagnosis that no training case has, and of how many.

    Diagnoses are compared without case, surrounding spaces and full stops.
    """
    diagnoses = {
        split: {
            case: (text or "").casefold().strip(" .")
            for case, text in zip(part["case_id"], part["diagnosis"], strict=True)
        }
        for split, part in dataset.items()
    }
    known = set(diagnoses["train"].values())
    held_out = [text for split in ("validation", "test") for text in diagnoses[split].values() if text]
    return sum(text not in known for text in held_out), len(held_out)


def shared_topics(dataset: DatasetDict) -> set[str]:
    """The keys of the topic texts that stand in two splits; literature questions about them belong to training only."""
    splits_of = defaultdict(set)
    for split, part in dataset.items():
        for topic in part["topic"]:
            if topic:
                splits_of[topic_key(topic)].add(split)
    return {text for text, splits in splits_of.items() if len(splits) > 1}


def image_hashes(part: Dataset) -> list[str]:
    """SHA-256 of each image file's bytes."""
    hashes = []
    for image in part.cast_column("image", Image(decode=False))["image"]:
        content = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
        hashes.append(hashlib.sha256(content).hexdigest())
    return hashes


def _column(name: str) -> Any:  # noqa: ANN401 - a reader of one column
    def keys(part: Dataset) -> Iterable[tuple[str, str]]:
        if name not in part.column_names:
            return []
        return [(value, value) for value in part[name] if value]

    return keys


def _images(part: Dataset) -> Iterable[tuple[str, str]]:
    if "image" not in part.column_names:
        return []
    return zip(image_hashes(part), part["image_id"], strict=True)


def _question_topics(part: Dataset) -> Iterable[tuple[str, str]]:
    if not {"kind", "topic"} <= set(part.column_names):
        return []
    used = [topic for topic, kind in zip(part["topic"], part["kind"], strict=True) if topic and kind == "literature"]
    return [(topic_key(topic), topic) for topic in used]


_AUDITS = {
    "patient": _column("patient_id"),
    "case": _column("case_id"),
    "image": _images,
    "caption": _column("caption"),
    "topic text": _question_topics,
}


def _groups(rows: Dataset) -> list[int]:
    """A number for each row; rows that share a patient, a case, image bytes or a caption have the same one."""
    columns = [rows["patient_id"], rows["case_id"], image_hashes(rows), rows["caption"]]
    keys: dict[tuple[int, str], int] = {}
    edges = [
        (row, keys.setdefault((number, value), len(keys)))
        for number, column in enumerate(columns)
        for row, value in enumerate(column)
        if value
    ]
    row, key = np.array(edges).T
    size = len(rows) + len(keys)
    _, labels = connected_components(coo_matrix((np.ones(len(row)), (row, key + len(rows))), shape=(size, size)))
    return labels[: len(rows)].tolist()


def _draw(names: list[int], kind_of: dict[int, str], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Split `names` into the rest and `count` chosen ones, evenly over their kinds; rare kinds are drawn as one."""
    counts = Counter(kind_of[name] for name in names)
    fewest = max(2, len(names) / min(count, len(names) - count))
    strata = [kind_of[name] if counts[kind_of[name]] >= fewest else "rare" for name in names]
    if strata.count("rare") < fewest:  # too few even together: with the most frequent kind
        strata = [counts.most_common(1)[0][0] if stratum == "rare" else stratum for stratum in strata]
    return train_test_split(names, test_size=count, stratify=strata, random_state=seed)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "…"
