"""A label map drawn over a scan, as outlines and a light tint; or why it can't be."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from medmm_lib.data.loaded import DataError
from medmm_lib.data.pictures import UNREADABLE, opened
from medmm_lib.data.schema import MASK_CLASSES

# Okabe and Ito 2008: told apart by people who see few colours. In the order of MASK_CLASSES from `body` on.
COLOURS = ("#999999", "#56b4e9", "#0072b2", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#8c6bb1", "#f0e442", "#ffffff")
NOT_SHOWN = ("body", "lesion")  # what stands out is shown to a patient by a person, as the guard's policy has it
TRAINED_ON = "trained_on"  # the PNG text in which a label map says what its model learnt from
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


def read(path: str | Path) -> tuple[Image.Image, bool]:
    """A label map from a PNG, and whether its model learnt from drawings (its text `trained_on` begins with "phantom").
    Raises DataError for anything else than a picture of one channel."""
    try:
        with opened(Path(path)) as picture:
            picture.load()
    except FileNotFoundError as error:
        raise DataError(f"there is no label map at {path}") from error
    except DataError as error:
        raise DataError(f"{path} is no label map: {error}") from error
    except UNREADABLE as error:
        raise DataError(f"{path} is no picture; expected a label map as PNG, one byte a pixel") from error
    if picture.mode not in ("L", "P"):
        raise DataError(f"{path} has the mode {picture.mode}; expected a label map, one byte a pixel")
    return picture, str(picture.info.get(TRAINED_ON, "")).startswith("phantom")


def outlined(scan: Image.Image, labels: Image.Image) -> Outlined:
    """`labels` (one byte a pixel, the place in MASK_CLASSES) over `scan`, both of one size.

    Raises NoOutlines where the sizes differ, a value names no class, or no class is left to show.
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
        if name in NOT_SHOWN or region.mean() < SHOWN_FROM:
            continue
        ink = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=float)
        picture[region] = (1 - TINT) * picture[region] + TINT * ink
        picture[find_boundaries(region, mode="inner")] = ink
        legend.append((name, colour))
    if not legend:
        raise NoOutlines("why_empty")
    return Outlined(Image.fromarray(np.round(picture).astype(np.uint8)), tuple(legend))
