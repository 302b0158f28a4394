"""Controls: what a score is without the evidence. A model that ignores the image scores the same without it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from datasets import Dataset, Image, concatenate_datasets
from PIL import Image as Picture

from medmm_lib.evaluation.intervals import Estimate, interval, mean, paired_difference
from medmm_lib.evaluation.intervals import patients as patients_of

BLANK = 128  # mid grey


def controls(dataset: Dataset, training: Dataset, *, seed: int = 0) -> dict[str, Dataset]:
    """The same questions under four controls.

    `dataset` and `training` have the columns `image`, `question`, `answer`, `patient_id`. Returned are

    - `blank image`: every image is grey, at its own size;
    - `shuffled image`: every image is one of another patient;
    - `text only`: no image (null);
    - `majority answer`: no model needed; the column `prediction` holds the most frequent training answer to the same
      question, or, for a question that training never asks, the most frequent of all.

    Raises `ValueError` when one patient has more than half of the rows, so that no image of another can be given.
    """
    without = dataset.remove_columns([name for name in ("image", "prediction") if name in dataset.column_names])
    pictures = dataset.select_columns("image")
    exchanged = pictures.select(of_other_patients(dataset["patient_id"], seed)).flatten_indices()
    return {
        "blank image": dataset.map(_blank, features=dataset.features, load_from_cache_file=False),
        "shuffled image": concatenate_datasets([without.flatten_indices(), exchanged], axis=1),
        "text only": without.add_column("image", [None] * len(dataset), feature=Image()),
        "majority answer": without.add_column("prediction", majority_answers(dataset["question"], training)),
    }


def majority_answers(questions: Sequence[str], training: Dataset) -> list[str]:
    """The most frequent training answer to each question; among equally frequent ones, the first in the alphabet."""
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for question, answer in zip(training["question"], training["answer"], strict=True):
        by_question[question][answer] += 1
        overall[answer] += 1
    return [_most_frequent(by_question.get(question, overall)) for question in questions]


def control_table(
    model: Sequence[float], under_control: Mapping[str, Sequence[float]], groups: Sequence
) -> pd.DataFrame:
    """A score with its controls: condition, value and interval, and the model's lead over it with the paired p-value.

    `model` and each control hold one score an example ([N], the same examples); `groups` are the patients.
    """
    value = interval(mean(model), groups)
    rows = [{"condition": "model", **_columns(value)}]
    for name, scores in under_control.items():
        lead = paired_difference(model, scores, groups)
        row = {"condition": name, **_columns(interval(mean(scores), groups))}
        rows.append(row | {"lead": lead.value, "lead_low": lead.low, "lead_high": lead.high, "p": lead.p})
    return pd.DataFrame(rows)


def _columns(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _blank(row: dict) -> dict:
    image = row["image"]
    bands = len(image.getbands())
    return {"image": Picture.new(image.mode, image.size, BLANK if bands == 1 else (BLANK,) * bands)}


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer))


def of_other_patients(patients: Sequence[str], seed: int) -> np.ndarray:
    """For every row the place of a row of another patient; every row serves once.

    Rows stand together by patient, the patients in random order, and are moved on by the size of the largest patient:
    a row then never meets its own patient.
    """
    place, _ = patients_of(patients)
    sizes = np.bincount(place)
    if 2 * sizes.max() > len(place):
        raise ValueError("one patient has more than half of the rows: their images can't be exchanged between patients")
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(place)), rng.permutation(len(sizes))[place]))
    chosen = np.empty(len(place), dtype=int)
    chosen[order] = np.roll(order, sizes.max())
    return chosen
