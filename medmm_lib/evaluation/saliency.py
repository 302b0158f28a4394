"""Scores of a saliency map against a known region, and against the model itself."""

from collections.abc import Callable

import numpy as np

# Images [K, H, W] or [K, H, W, channels] → scores [K].
Predict = Callable[[np.ndarray], np.ndarray]


def pointing(saliency: np.ndarray, region: np.ndarray) -> float:
    """The pointing game (Zhang et al. 2016, arXiv:1608.00507): whether the map's highest value lies in the region.

    Both are [H, W]. Where several pixels share the highest value, their share inside the region counts, so a constant
    map scores the region's share of the image.
    """
    region, saliency = _checked(region, saliency)
    if not region.any():
        raise ValueError("the region is empty: there is nothing to point at")
    return float(region.astype(bool)[saliency == saliency.max()].mean())


def deletion(
    image: np.ndarray, saliency: np.ndarray, predict: Predict, *, baseline: float, steps: int = 20
) -> np.ndarray:
    """Scores while the most salient pixels are replaced by `baseline`, first none, last all: [steps + 1].

    The faster the score falls, the better the map (Petsiuk et al. 2018, arXiv:1806.07421, section 4.1).
    """
    image, saliency = _checked(image, saliency)
    return _curve(np.full_like(image, baseline, dtype=float), image, saliency, predict, steps)


def insertion(
    image: np.ndarray, saliency: np.ndarray, predict: Predict, *, baseline: float, steps: int = 20
) -> np.ndarray:
    """Scores while the most salient pixels are put onto a `baseline` image: [steps + 1]. A good map rises fast."""
    image, saliency = _checked(image, saliency)
    return _curve(image, np.full_like(image, baseline, dtype=float), saliency, predict, steps)


def curve_area(scores: np.ndarray) -> float:
    """The area under a deletion or insertion curve over the share of pixels, by the trapezoidal rule."""
    return float(np.trapezoid(scores, dx=1 / (len(scores) - 1)))


def _curve(source: np.ndarray, target: np.ndarray, saliency: np.ndarray, predict: Predict, steps: int) -> np.ndarray:
    """Scores of `target` while its most salient pixels are taken from `source`; equal ones in a fixed random order."""
    shuffled = np.random.default_rng(0).permutation(saliency.size)
    rank = np.empty(saliency.size, dtype=int)
    rank[shuffled[np.argsort(-saliency.ravel()[shuffled], kind="stable")]] = np.arange(saliency.size)
    counts = np.linspace(0, saliency.size, steps + 1).round()
    taken = rank.reshape(saliency.shape) < counts[:, None, None]  # [K, H, W]
    taken = taken.reshape(taken.shape + (1,) * (source.ndim - 2))  # an image may have channels
    return np.asarray(predict(np.where(taken, source, target)), dtype=float)


def _checked(image: np.ndarray, saliency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image or region, and the map as floats: a map of bytes would be ranked wrongly by its negative."""
    image, saliency = np.asarray(image), np.asarray(saliency, dtype=float)
    if saliency.ndim != 2 or image.shape[:2] != saliency.shape:
        raise ValueError(f"the image or region is {image.shape}, the map {saliency.shape}; expected the same [H, W]")
    if not np.isfinite(saliency).all():
        raise ValueError("the saliency map holds values that are not finite")
    return image, saliency
