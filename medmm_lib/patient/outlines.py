"""A label map drawn over a scan, as outlines and a light tint; or why it can't be."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from medmm_lib.data.schema import MASK_CLASSES

# Okabe and Ito 2008: told apart by people who see few colours. In the order of MASK_CLASSES from `body` on.
COLOURS = ("#999999", "#56b4e9", "#0072b2", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#8c6bb1", "#f0e442", "#ffffff")
TINT = 0.25
SHOWN_FROM = 0.0005  # of the picture; fewer pixels are no part that a reader could find


class NoOutlines(ValueError):
    """A label map that can't be drawn over a scan. `why`: the reason's name in words.yml, with its `blanks`."""

    def __init__(self, why: str, **blanks: str) -> None:
        super().__init__(f"{why}: {blanks}" if blanks else why)
        self.why, self.blanks = why, blanks


@dataclass(frozen=True)
class Outlined:
    """The picture in colour, and its parts: names of schema.MASK_CLASSES with their colours."""

    image: Image.Image
    legend: tuple[tuple[str, str], ...]


def outlined(scan: Image.Image, labels: Image.Image) -> Outlined:
    """`labels` (one byte a pixel, the place in MASK_CLASSES) over `scan`, both of one size.

    Raises NoOutlines where the sizes differ or a value names no class.
    """
    if labels.size != scan.size:
        got, expected = (f"{one.width} × {one.height}" for one in (labels, scan))
        raise NoOutlines("why_size", got=got, expected=expected)
    places = np.asarray(labels)
    if places.ndim != 2 or places.max() >= len(MASK_CLASSES):
        raise NoOutlines("why_classes")
    picture = np.asarray(scan.convert("RGB"), dtype=float)
    legend = []
    for place, (name, colour) in enumerate(zip(MASK_CLASSES[1:], COLOURS, strict=True), start=1):
        region = places == place
        if name == "body" or region.mean() < SHOWN_FROM:
            continue
        ink = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=float)
        picture[region] = (1 - TINT) * picture[region] + TINT * ink
        picture[find_boundaries(region, mode="inner")] = ink
        legend.append((name, colour))
    return Outlined(Image.fromarray(np.round(picture).astype(np.uint8)), tuple(legend))
