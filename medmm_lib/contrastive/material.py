"""What the models of this chapter learn from and are tested on: images with their texts and labels, by split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import DatasetDict

from medmm_lib import sources
from medmm_lib.contrastive import text_targets
from medmm_lib.contrastive.images import pictures
from medmm_lib.contrastive.labels import Labels

TEXTS = ("findings", "caption")
BAG_OF_WORDS = "bag of words"


@dataclass(frozen=True)
class Part:
    """N images of one split: `pixels` [N, side, side] uint8, `values` [N, classes] (NaN: unknown), texts or None."""

    pixels: torch.Tensor
    values: np.ndarray
    texts: list[str | None]
    patients: list[str]

    @property
    def told(self) -> np.ndarray:
        """The rows that have a text."""
        return np.flatnonzero([text is not None for text in self.texts])

    @property
    def said(self) -> list[str]:
        """The texts of those rows."""
        return [text for text in self.texts if text is not None]


@dataclass(frozen=True)
class Material:
    """Training and test images. `key` tells these data from others."""

    train: Part
    test: Part
    labels: Labels
    key: str

    @classmethod
    def of(cls, dataset: DatasetDict, labels: Labels, side: int, text: str, fingerprint: str) -> "Material":
        """From a data set in the schema; `text` is the field that is learned from. Raises ValueError for another."""
        if text not in TEXTS:
            raise ValueError(f"text is {text!r}; expected {' or '.join(TEXTS)}")
        parts = {
            split: Part(pictures(rows, side), labels.values(rows), list(rows[text]), list(rows["patient_id"]))
            for split, rows in ((split, dataset[split]) for split in ("train", "test"))
        }
        return cls(**parts, labels=labels, key=sources.json_hash([fingerprint, side, text, labels.names]))

    def targets(self, model: str, pooling: str, folder: Path) -> list[torch.Tensor]:
        """What training and test texts (`Part.said`) are embedded as, twice [N, width]: centred, of length 1.

        `model` as of `text_targets.embed`, or `BAG_OF_WORDS`, which has no pooling.
        """
        if model == BAG_OF_WORDS:
            made = text_targets.bag_of_words(self.train.said, self.test.said)
        else:
            made = [text_targets.embed(part.said, model, pooling, folder) for part in (self.train, self.test)]
        return [torch.from_numpy(part) for part in text_targets.centred(*made)]
