"""Where a tower looks, and whether that is where the lesion is."""

from collections.abc import Sequence

import numpy as np
import torch

from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.tower import Tower
from medmm_lib.evaluation.controls import of_other_patients
from medmm_lib.evaluation.saliency import pointing

Box = dict[str, object]  # of the schema: `box` (x0, y0, x1, y1 in 0 to 1) and `name`


def maps(tower: Tower, pixels: torch.Tensor) -> np.ndarray:
    """The pooling's weights as maps [N, side, side], a patch's weight at each of its pixels."""
    weights = asked(tower, tower.looks_at, pixels).numpy()
    return weights.repeat(tower.shape.patch, axis=1).repeat(tower.shape.patch, axis=2)


def region(boxes: Sequence[Box], side: int) -> np.ndarray:
    """The pixels that boxes cover: [side, side] of 1 and 0. A box covers one pixel at least."""
    covered = np.zeros((side, side))
    for box in boxes:
        x0, y0, x1, y1 = (float(share) * side for share in box["box"])
        covered[int(y0) : max(int(y0) + 1, round(y1)), int(x0) : max(int(x0) + 1, round(x1))] = 1
    return covered


def of_others(boxes: Sequence[Sequence[Box] | None], patients: Sequence[str], seed: int) -> list[Sequence[Box] | None]:
    """The control: each image with boxes is given those of another patient. A map that only knows where lesions tend to
    be does as well on these."""
    there = [row for row, own in enumerate(boxes) if own]
    given: list[Sequence[Box] | None] = [None] * len(boxes)
    for row, other in zip(there, of_other_patients([patients[row] for row in there], seed), strict=True):
        given[row] = boxes[there[other]]
    return given


def pointed(looked: np.ndarray, boxes: Sequence[Sequence[Box] | None]) -> tuple[np.ndarray, np.ndarray]:
    """Of each image: whether the map's highest value lies in a box, and the boxes' share of the image, its chance.

    Twice [N], NaN for images without a box.
    """
    hits, chances = (np.full(len(looked), np.nan) for _ in range(2))
    for row, own in enumerate(boxes):
        if own:
            covered = region(own, looked.shape[-1])
            hits[row], chances[row] = pointing(looked[row], covered), covered.mean()
    return hits, chances
