"""Saliency maps put to the test: do they point at lesions, does what they mark matter, are they of what was learned?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from medmm_lib.evaluation.controls import control_table, of_other_patients
from medmm_lib.evaluation.intervals import paired_difference
from medmm_lib.evaluation.saliency import curve_area, deletion, insertion, pointing

BLANK = 128  # mid grey, which stands for nothing
RANDOM = 20201  # the seed of random weights: none that a model was trained from, whose maps would be akin
ORDERS = 3
CURVES = {"deletion": deletion, "insertion": insertion}


@dataclass(frozen=True)
class Explained:
    """Maps of one model's N images, and of the same model with random weights.

    `images` [N, side, side] or [N, side, side, 3] uint8; `maps` and `randomised`: kind → [N, rows, columns], a value a
    patch. `about` says what is explained. `score(n, images)` is that of other images [K, …] in the place of image n:
    [K], the higher the surer.
    """

    about: str
    images: np.ndarray
    patients: list[str]
    maps: Mapping[str, np.ndarray]
    randomised: Mapping[str, np.ndarray]
    score: Callable[[int, np.ndarray], np.ndarray]


def enlarged(values: np.ndarray, side: int) -> np.ndarray:
    """A map of patches [rows, columns] in pixels: [side, side], a patch's value at each of its pixels."""
    rows, columns = values.shape
    if side % rows or side % columns:
        raise ValueError(f"a map of {rows} × {columns} patches does not go into {side} × {side} pixels")
    return values.repeat(side // rows, axis=0).repeat(side // columns, axis=1)


def pointed(one: Explained, regions: np.ndarray, seed: int = 0) -> dict[str, pd.DataFrame]:
    """The pointing game of every kind of map beside its controls, as of `controls.control_table`.

    `regions` [N, side, side] of 1 and 0 are known lesions. Controls: the same maps and the lesions of another patient,
    what knowing where lesions tend to be is worth; the model with random weights; and the lesions' share of the image.
    """
    others = regions[of_other_patients(one.patients, seed)]
    chance = regions.mean((1, 2))
    side = regions.shape[1]
    tables = {}
    for kind, maps in one.maps.items():
        large, random = ([enlarged(each, side) for each in part] for part in (maps, one.randomised[kind]))
        hits = [_hits(large, regions), _hits(large, others), _hits(random, regions)]
        controls = {"another patient's lesion": hits[1], "random weights": hits[2], "chance": chance}
        tables[kind] = control_table(hits[0], controls, one.patients)
    return tables


def ceiling(one: Explained, regions: np.ndarray) -> float:
    """The pointing score of a map that always marks the best patch: a large patch is never all lesion."""
    rows, columns = next(iter(one.maps.values())).shape[1:]
    count, side, _ = regions.shape
    shares = regions.reshape(count, rows, side // rows, columns, side // columns).mean((2, 4))
    return float(shares.reshape(count, -1).max(1).mean())


def likeness(one: Explained) -> dict[str, np.ndarray]:
    """The sanity check: how alike are a model's maps and those with random weights, by kind [N].

    The absolute value of Spearman's rank correlation over the places of a map (Adebayo et al. 2018, arXiv:1810.03292,
    section 4). At 1 a map says nothing of what was learned. NaN where one of both maps is constant.
    """
    found = {}
    for kind, maps in one.maps.items():
        pairs = zip(maps, one.randomised[kind], strict=True)
        found[kind] = np.array([_rank_correlation(a.ravel(), b.ravel()) for a, b in pairs])
    return found


def faithful(one: Explained, *, most: int, steps: int = 8, seed: int = 0) -> pd.DataFrame:
    """Deletion and insertion: what happens to the score when the places that a map marks are blanked or shown alone.

    One row a kind of map and curve, over `most` images drawn at random: the mean area under the curve (`value`), that
    of two controls, and the paired lead over each with interval over patients. Controls: the map of another patient's
    image (`others`), what knowing where images differ is worth; and `ORDERS` random orders of patches (`random`). A
    good map has a lower area under deletion and a higher one under insertion.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(one.images))[:most])
    patients, others = [one.patients[n] for n in rows], of_other_patients(one.patients, seed)
    shape = next(iter(one.maps.values())).shape[1:]
    orders = rng.random((len(rows), ORDERS, *shape))
    table = []
    for curve in CURVES:
        random = np.array([
            np.mean([_area(one, n, order, curve, steps) for order in drawn])
            for n, drawn in zip(rows, orders, strict=True)
        ])  # fmt: skip
        for kind, maps in one.maps.items():
            areas, elsewhere = (
                np.array([_area(one, n, maps[given], curve, steps) for n, given in zip(rows, order, strict=True)])
                for order in (rows, others[rows])
            )
            row = {"map": kind, "curve": curve, "value": float(areas.mean())}
            for name, control in (("random", random), ("others", elsewhere)):
                lead = paired_difference(areas, control, patients)
                row |= {name: float(control.mean()), f"to_{name}": lead.value}
                row |= {f"to_{name}_low": lead.low, f"to_{name}_high": lead.high}
            table.append(row)
    return pd.DataFrame(table)


def _hits(maps: list[np.ndarray], regions: np.ndarray) -> np.ndarray:
    return np.array([pointing(each, region) for each, region in zip(maps, regions, strict=True)])


def _area(one: Explained, n: int, values: np.ndarray, curve: str, steps: int) -> float:
    image = one.images[n]

    def predict(images: np.ndarray) -> np.ndarray:
        return one.score(n, images.round().astype(np.uint8))

    return curve_area(CURVES[curve](image, enlarged(values, image.shape[0]), predict, baseline=BLANK, steps=steps))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return abs(float(spearmanr(first, second).statistic))
