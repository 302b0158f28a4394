"""Classification with several labels an image: linear probes of frozen features, and fine-tuning."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from medmm_lib import parallel
from medmm_lib.contrastive.fitting import Fitted, Schedule, fit
from medmm_lib.contrastive.images import moved
from medmm_lib.contrastive.tower import Tower

REGULARISATION = 0.1  # inverse strength, of probes
LOSSES = ("bce", "printed")


def probe(training: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Probabilities [M, C] of a linear classifier a class on features [N, D], for held-out features [M, D].

    `labels` [N, C]: 1, 0 or NaN for unknown. A class that training has only one outcome of gets its share there.
    """
    made = np.empty((len(held_out), labels.shape[1]))
    for at, column in enumerate(labels.T):
        known = ~np.isnan(column)
        if len(set(column[known])) < 2:
            made[:, at] = column[known].mean() if known.any() else 0.5
            continue
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=REGULARISATION))
        made[:, at] = classifier.fit(training[known], column[known]).predict_proba(held_out)[:, 1]
    return made


def bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over the known labels [B, C]; NaN is unknown."""
    known = ~labels.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


def printed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The poster's "logloss" as it is printed, −y·log(p) alone, over the known labels.

    It lacks (1 − y)·log(1 − p): saying 1 to everything makes it 0.
    """
    known = ~labels.isnan()
    return -(labels[known] * F.logsigmoid(logits[known])).mean()


class Classifier(nn.Module):
    """An image tower and a linear layer; images [B, side, side] uint8 → logits [B, C]."""

    def __init__(self, tower: Tower, classes: int, loss: str = "bce") -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; expected {' or '.join(LOSSES)}")
        self.tower, self.loss = tower, loss
        self.tower.projection.requires_grad_(False)  # not used
        self.norm, self.head = nn.LayerNorm(tower.shape.width), nn.Linear(tower.shape.width, classes)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, C]"""
        return self.head(self.norm(self.tower.pooled(pixels))).float()

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of a batch; `labels` [B, C], NaN: unknown."""
        loss = (bce if self.loss == "bce" else printed)(self.logits(pixels), labels)
        return {"loss": loss * parallel.share((~labels.isnan()).sum())}


def tune(
    tower: Tower, pixels: torch.Tensor, labels: np.ndarray, loss: str, schedule: Schedule, folder: Path, *, key: str,
    **options: float,
) -> tuple[Classifier, Fitted]:  # fmt: skip
    """Fine-tune a whole tower, which is changed, on images [N, side, side] uint8 with labels [N, C].

    Images without any known label are left out; raises ValueError where none is left.
    """
    rows = np.flatnonzero(~np.isnan(labels).all(1))
    if not len(rows):
        raise ValueError(f"none of {len(labels)} images has a known label")
    pixels, known = pixels[torch.from_numpy(rows)], torch.from_numpy(labels[rows]).float()
    torch.manual_seed(schedule.seed)
    model = Classifier(tower, labels.shape[1], loss)

    def collate(rows: torch.Tensor, draw: int) -> dict[str, torch.Tensor]:
        return {"pixels": moved(pixels[rows], schedule.seed * 1_000_003 + draw), "labels": known[rows]}

    fitted = fit(model, collate, len(pixels), schedule, folder, key=f"{key} {loss} {labels.shape}", **options)
    return model, fitted


def share(patients: Sequence[str], part: float, seed: int) -> np.ndarray:
    """The rows of a random share of the patients, at least one: row numbers in order.

    A smaller share of the same seed is part of a larger one.
    """
    if not 0 < part <= 1:
        raise ValueError(f"share is {part}; expected above 0 and at most 1")
    names = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[k] for k in order[: max(1, round(part * len(names)))]}
    return np.array([row for row, patient in enumerate(patients) if patient in chosen])
