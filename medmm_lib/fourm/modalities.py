"""The registry: what a modality is and how it is read from a study. Adding a modality is one entry.

Texts follow 4M: boxes are four coordinate tokens, then the name; metadata is the part of a health record that a study
carries, as text. A modality marked as pseudo is computed from the image by a classical method, not known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.fourm import boxes, pseudo

Row = dict[str, Any]  # a study in the schema of medmm_lib.data.schema
METADATA = ("modality", "sequence", "plane", "location", "age", "sex")


@dataclass(frozen=True)
class Modality:
    """One kind of data.

    `vocabulary` names the tokeniser: `pixels` (none: patches are read as they are), `text` (the WordPiece), or a VQ
    tokeniser of its own. `read` takes a study and the side of an image in pixels and gives a grey image [side, side]
    uint8, a label map [side, side] of `classes` classes, or a text; None where the study has no such thing.
    """

    vocabulary: str
    read: Callable[[Row, int], np.ndarray | str | None]
    classes: int = 0  # of a label map; 0: grey values
    pseudo: bool = False

    @property
    def kind(self) -> Literal["patches", "dense", "sequence"]:
        """How the model treats it."""
        return {"pixels": "patches", "text": "sequence"}.get(self.vocabulary, "dense")


def grey(row: Row, side: int) -> np.ndarray:
    """The image in grey [side, side] uint8. The sides are scaled apart: boxes, which are shares of them, hold."""
    return np.asarray(row["image"].convert("L").resize((side, side), Image.Resampling.BOX))


def label_map(row: Row, side: int) -> np.ndarray | None:
    """The label map [side, side], by the nearest pixel."""
    mask = row["mask"]
    return None if mask is None else np.asarray(mask.resize((side, side), Image.Resampling.NEAREST))


def write_boxes(row: Row, _: int) -> str | None:
    """The study's boxes as text; empty where it is known that there are none."""
    if row["boxes"] is None:
        return None
    return boxes.write([boxes.Box(tuple(box["box"]), box["name"]) for box in row["boxes"]])


def write_metadata(row: Row, _: int) -> str:
    """What the record says beside the image: `plane axial, sex female, …`. What it does not say is left out."""
    age = row["age"]
    said = {name: row[name] for name in METADATA} | {"age": None if age is None else age_group(age)}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


def age_group(years: int) -> str:
    """The decade of an age in years, such as "60s"; below twenty "child" (up to 12) or "teens"."""
    return "child" if years < 13 else "teens" if years < 20 else f"{years // 10 * 10}s"


REGISTRY: dict[str, Modality] = {
    "patches": Modality("pixels", grey),
    "image": Modality("image", grey),
    "label map": Modality("label map", label_map, classes=len(MASK_CLASSES)),
    "tissue": Modality(
        "tissue", lambda row, side: pseudo.tissue(grey(row, side)), classes=len(pseudo.TISSUES), pseudo=True
    ),
    "edges": Modality("edges", lambda row, side: pseudo.edges(grey(row, side)), classes=2, pseudo=True),
    "caption": Modality("text", lambda row, _: row["caption"]),
    "findings": Modality("text", lambda row, _: row["findings"]),
    "boxes": Modality("text", write_boxes),
    "metadata": Modality("text", write_metadata),
}
