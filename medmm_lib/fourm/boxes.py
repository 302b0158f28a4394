"""Boxes as text, 4M's way (Mizrahi et al. 2023, section 2.1): four coordinate tokens, then the name.

A coordinate is the number of one of `BINS` equal parts of the image's side; x0, y0, x1, y1 have tokens of their own.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

BINS = 32
KINDS = ("x0", "y0", "x1", "y1")
TOKENS = [f"[{kind}={number}]" for kind in KINDS for number in range(BINS)]
_BOX = re.compile(r"\s*".join(rf"\[{kind}=(\d+)\]" for kind in KINDS) + r"([^\[]*)")


class Box(NamedTuple):
    """A named box: x0, y0, x1, y1 as shares of the image's sides."""

    place: tuple[float, float, float, float]
    name: str


def write(boxes: Sequence[Box]) -> str:
    """The text of some boxes; no box gives an empty text.

    >>> write([Box((0.0, 0.25, 0.5, 1.0), "cyst")])
    '[x0=0][y0=8][x1=15][y1=31] cyst'
    """
    return " ".join(
        "".join(_token(kind, at) for kind, at in zip(KINDS, box.place, strict=True)) + f" {box.name}" for box in boxes
    )


def read(text: str) -> list[Box]:
    """The boxes that a text holds, at the outer edges of their bins; what is no whole box is passed over.

    >>> read("[x0=0] [y0=8] [x1=15] [y1=31] cyst [x0=3] and")
    [Box(place=(0.0, 0.25, 0.5, 1.0), name='cyst')]
    """
    boxes = []
    for found in _BOX.finditer(text):
        first, second = (int(n) for n in found.groups()[:2]), (int(n) + 1 for n in found.groups()[2:4])
        x0, y0, x1, y1 = (n / BINS for n in (*first, *second))
        if x0 < x1 and y0 < y1:
            boxes.append(Box((x0, y0, x1, y1), found.group(5).strip()))
    return boxes


def _token(kind: str, share: float) -> str:
    """The token of a coordinate. An end at the edge of two bins belongs to the first, a beginning to the second."""
    bin_of = math.ceil(share * BINS) - 1 if kind in ("x1", "y1") else math.floor(share * BINS)
    return f"[{kind}={min(max(bin_of, 0), BINS - 1)}]"
