"""Other views of a training study: moved, scaled, brighter or darker. A few studies would be learned by heart.

Image, label map and boxes move together. Nothing is mirrored: texts say left and right.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from medmm_lib.fourm.modalities import Row

SCALE, SHIFT, GAMMA = 0.15, 0.1, 0.3  # at most: of the size, of the image's sides, of the logarithm of the exponent
LEAST = 0.5  # share of a box that must stay in sight


def views(row: Row, count: int, seed: int) -> Iterator[Row]:
    """The study itself, then `count` − 1 random views of it."""
    yield row
    random = np.random.default_rng([seed, *row["image_id"].encode()])
    for _ in range(count - 1):
        yield _view(row, random)


def _view(row: Row, random: np.random.Generator) -> Row:
    scale = float(np.exp(random.uniform(-SCALE, SCALE)))
    shift = random.uniform(-SHIFT, SHIFT, 2)
    gamma = float(np.exp(random.uniform(-GAMMA, GAMMA)))
    width, height = row["image"].size
    # A place (x, y) of the view, as a share of the sides, shows (x, y) / scale + offset of the study.
    offset = 0.5 - (0.5 + shift) / scale
    affine = (1 / scale, 0, offset[0] * width, 0, 1 / scale, offset[1] * height)

    def moved(image: Image.Image, resample: Image.Resampling) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, affine, resample)

    image = moved(row["image"].convert("L"), Image.Resampling.BILINEAR)
    image = image.point([round(255 * (value / 255) ** gamma) for value in range(256)])
    mask = row["mask"] and moved(row["mask"], Image.Resampling.NEAREST)
    boxes = row["boxes"] and [box for given in row["boxes"] if (box := _moved_box(given, scale, offset))]
    return row | {"image": image, "mask": mask, "boxes": boxes}


def _moved_box(box: dict, scale: float, offset: np.ndarray) -> dict | None:
    """The part of a box that stays in sight, or None when most of it does not."""
    corners = (np.array(box["box"]).reshape(2, 2) - offset) * scale
    seen = corners.clip(0, 1)
    share = np.prod(seen[1] - seen[0]) / max(np.prod(corners[1] - corners[0]), 1e-9)
    return box | {"box": seen.flatten().tolist()} if share >= LEAST else None
