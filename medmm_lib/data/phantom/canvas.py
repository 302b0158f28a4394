"""From geometry to pixels: planes through the patient, smooth random fields, and the step down to the output size.

Coordinates are millimetres: x to the patient's right, y to the front, z to the head. Images follow the radiological
convention: in axial, coronal and PA images the patient's left is at the image's right. In sagittal images the front of
the patient is at the image's left.

Everything is drawn on a finer working grid and averaged down, so that a structure keeps its place at every size.
"""

from dataclasses import dataclass

import numpy as np

from medmm_lib.data.schema import MASK_CLASSES

CLASS = {name: index for index, name in enumerate(MASK_CLASSES)}
AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
WHOLE_ORGAN = ("cardiomegaly",)  # the box is the organ's, which keeps its own class in the label map
MIN_AREA = 6 / 64**2  # part of the image under which a lesion counts as not seen


@dataclass(frozen=True)
class Drawing:
    """What a renderer leaves on the working grid: grey values 0..1, classes, and lesions by number (0 is none)."""

    grey: np.ndarray  # [n, n] float
    classes: np.ndarray  # [n, n] uint8, places in MASK_CLASSES
    lesions: np.ndarray  # [n, n] uint8, 1 + the place in `names`
    names: list[str]


@dataclass(frozen=True)
class Picture:
    """An image of the data set with its truth."""

    pixels: np.ndarray  # [size, size] uint8
    mask: np.ndarray  # [size, size] uint8, places in MASK_CLASSES
    boxes: list[dict]  # {"box": [x0, y0, x1, y1] in 0..1, "name": kind of the lesion}


@dataclass(frozen=True)
class Waves:
    """A smooth random field with values in about -1..1: a mean of sines in random directions."""

    vectors: np.ndarray  # [waves, 3] radians per mm
    phases: np.ndarray  # [waves]

    @classmethod
    def draw(cls, rng: np.random.Generator, shortest: float, longest: float, waves: int = 4) -> "Waves":
        """Draw a field with wavelengths between `shortest` and `longest` mm."""
        direction = rng.normal(size=(waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = rng.uniform(shortest, longest, size=(waves, 1))
        return cls(2 * np.pi * direction / length, rng.uniform(0, 2 * np.pi, waves))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The field at `points` [..., 3] in mm."""
        field = np.zeros(points.shape[:-1])
        for vector, phase in zip(self.vectors, self.phases, strict=True):
            field += np.sin(points @ vector + phase)
        return field / np.sqrt(len(self.phases))


def working_size(size: int) -> int:
    """Side of the working grid for an output of `size` pixels: a multiple of it, at least twice as fine."""
    return size * max(2, -(-192 // size))


def plane_points(plane: str, position: float, centre: tuple[float, float], field: float, n: int) -> np.ndarray:
    """Points [n, n, 3] in mm of a square slice, `field` mm wide.

    `position` is the coordinate across the plane and `centre` the two in-plane coordinates of the middle, in the order
    of x, y, z.
    """
    steps = ((np.arange(n) + 0.5) / n - 0.5) * field
    across, down = np.meshgrid(-steps, -steps)  # both image axes run against the patient's axes
    first, second = across + centre[0], down + centre[1]
    flat = np.full_like(first, position)
    return np.stack(
        {"axial": (first, second, flat), "coronal": (first, flat, second)}.get(plane, (flat, first, second)), -1
    )


def finish(drawing: Drawing, size: int, rng: np.random.Generator, noise: float) -> Picture:
    """Average a drawing down to `size`, add noise (standard deviation in grey values 0..1), and measure its boxes."""

    def down(values: np.ndarray) -> np.ndarray:
        step = len(values) // size
        return values.reshape(size, step, size, step).mean(axis=(1, 3))

    present = np.unique(drawing.classes)
    mask = present[np.argmax([down(drawing.classes == value) for value in present], axis=0)].astype(np.uint8)
    boxes = []
    for number, name in enumerate(drawing.names, start=1):
        seen = down(drawing.lesions == number) >= 0.5
        if seen.sum() >= MIN_AREA * size**2:
            if name not in WHOLE_ORGAN:
                mask[seen] = CLASS["lesion"]
            boxes.append({"box": bounding_box(seen), "name": name})
    pixels = down(drawing.grey) + rng.normal(0, noise, (size, size))
    return Picture((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), mask, boxes)


def bounding_box(region: np.ndarray) -> list[float]:
    """The box x0, y0, x1, y1 in 0..1 around the true pixels of `region` [size, size]."""
    rows, columns = np.where(region.any(axis=1))[0], np.where(region.any(axis=0))[0]
    height, width = region.shape
    corners = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    return [round(float(value), 6) for value in corners]
