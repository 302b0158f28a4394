"""The one schema that every source is read into.

A field that a source lacks is null: never an empty string, "N/A" or a placeholder text.
"""

import re
from typing import Any

from datasets import Dataset, Features, Image, List, Value

# The classes of a label map (`mask`): the pixel value is the place in this list.
MASK_CLASSES = [
    "background",
    "body",
    "brain",
    "ventricles",
    "lung",
    "heart",
    "liver",
    "kidney",
    "spleen",
    "bone",
    "lesion",
]

# Irvin et al. 2019, arXiv:1901.07031, table 1. 1 present, 0 absent, -1 uncertain, null not mentioned.
CHEXPERT_LABELS = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]

# What an image shows when it is not one slice or one projection.
NOT_ONE_PLANE = ["montage", "3d reconstruction", "photograph", "pathology", "drawing"]

FEATURES = Features(
    {
        "image": Image(),
        "image_id": Value("string"),
        "patient_id": Value("string"),
        "case_id": Value("string"),
        "modality": Value("string"),  # CT, MR, XR, US, NM (nuclear medicine)
        "sequence": Value("string"),  # MR sequence or CT contrast, such as "T2" or "IV contrast"
        "plane": Value("string"),  # axial, coronal, sagittal, frontal, lateral, or one of NOT_ONE_PLANE
        "location": Value("string"),
        "location_category": Value("string"),
        "caption": Value("string"),
        "history": Value("string"),
        "findings": Value("string"),
        "diagnosis": Value("string"),
        "discussion": Value("string"),
        "topic": Value("string"),  # first line: the topic's title; then, after an empty line, its text
        "age": Value("int32"),  # years
        "sex": Value("string"),  # female, male
        "labels": {name: Value("int8") for name in CHEXPERT_LABELS},
        "boxes": List({"box": List(Value("float32"), length=4), "name": Value("string")}),  # x0, y0, x1, y1 in 0..1
        "mask": Image(),  # label map: one byte a pixel, the place in MASK_CLASSES
        "source": Value("string"),
        "licence": Value("string"),
    }
)

SPLITS = ("train", "validation", "test")


def topic_parts(topic: str) -> tuple[str, str]:
    """The title and the text of a `topic` field."""
    title, _, text = topic.partition("\n\n")
    return title, text


def topic_key(topic: str) -> str:
    """What makes two topic texts the same: their words, without case and punctuation; the title does not count."""
    return " ".join(re.findall(r"\w+", topic_parts(topic)[1].casefold()))


def to_dataset(rows: list[dict[str, Any]], features: Features = FEATURES) -> Dataset:
    """The rows as a data set with `features`, also when there are none."""
    return Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features)
