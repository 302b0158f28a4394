"""Boxes and label maps: overlap with known regions."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import f1_score


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `first` with every box of `second`: [N, 4], [M, 4] → [N, M].

    Boxes are x0, y0, x1, y1. A box without area overlaps nothing. Raises `ValueError` for a box that ends before it
    begins.
    """
    first, second = (np.asarray(boxes, dtype=float) for boxes in (first, second))
    for boxes in (first, second):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes are {boxes.shape}; expected [N, 4]")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(1)][0]
            raise ValueError(f"box {wrong.tolist()} ends before it begins; expected x0, y0, x1, y1")
    corner0 = np.maximum(first[:, None, :2], second[None, :, :2])
    corner1 = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(corner1 - corner0, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_hits(predicted: Sequence[np.ndarray], known: Sequence[np.ndarray], *, iou: float = 0.5) -> np.ndarray:
    """For every known box of every image, whether a predicted box of that image reaches `iou` with it: [boxes].

    A predicted box serves one known box: pairs are made greedily, best overlap first.
    """
    hits = []
    for given, wanted in zip(predicted, known, strict=True):
        overlaps = box_iou(wanted, given)
        hit = np.zeros(len(overlaps))
        while overlaps.size and overlaps.max() >= iou:
            row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
            hit[row] = 1
            overlaps[row, :] = overlaps[:, column] = -1
        hits.append(hit)
    return np.concatenate(hits) if hits else np.zeros(0)


def dice(predicted: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    """Dice coefficient of each class of two label maps of the same shape: [classes].

    NaN for a class that neither map has: there is nothing to find, and it must not count as found.
    """
    predicted, known = np.asarray(predicted), np.asarray(known)
    if predicted.shape != known.shape:
        raise ValueError(f"label maps of shape {predicted.shape} and {known.shape}; expected the same")
    if min(predicted.min(), known.min()) < 0 or max(predicted.max(), known.max()) >= classes:
        raise ValueError(f"a label map holds labels outside 0 to {classes - 1}")
    labels = np.arange(classes)
    # Dice is the F1 score of pixels.
    return f1_score(known.ravel(), predicted.ravel(), labels=labels, average=None, zero_division=np.nan)
