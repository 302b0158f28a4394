"""Brain MR: slices of the ICBM 152 average brain (shipped by nilearn) with drawn lesions and a drawn skull.

All brains come from one volume. Neighbouring slices are near copies of each other, so each split takes its slices from
its own blocks of the volume (`BLOCKS`). Blocks of different splits are at least 8 mm apart; the warp moves a slice by
at most `DRIFT` mm, so at least 5 mm stay between any two splits. The template is symmetric, so sagittal blocks count
the distance from the midline.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from scipy import ndimage

from medmm_lib.data.phantom.canvas import AXIS, CLASS, Drawing, Waves, plane_points, working_size

# Template coordinates in mm (MNI) across the plane.
BLOCKS = {
    "axial": {"train": [(-30, -8), (20, 30), (50, 60)], "dev": [(38, 42)], "test": [(2, 10)]},
    "coronal": {"train": [(-80, -58), (-32, -16), (10, 34)], "dev": [(-8, 0)], "test": [(-48, -40)]},
    "sagittal": {"train": [(0, 8), (40, 48)], "dev": [(28, 32)], "test": [(16, 20)]},
}
DRIFT = 1.5
FIELD = 224.0  # mm
MIDDLE = {"axial": (0.0, -17.0), "coronal": (0.0, 4.0), "sagittal": (-17.0, 4.0)}
SEQUENCES = {"T1": "MR - T1W - noncontrast", "T2": "MR - T2 weighted", "FLAIR": "MR - FLAIR"}
TISSUE = {"T1": (0.52, 0.80, 0.12), "T2": (0.58, 0.40, 0.95), "FLAIR": (0.60, 0.46, 0.08)}  # grey, white, CSF
SCALP = {"T1": 0.80, "T2": 0.55, "FLAIR": 0.45}
# Grey values of a lesion's body, its core (part of the radius, value) and the oedema around it.
LOOKS: dict[str, dict[str, tuple[float, float | None, float | None]]] = {
    "mass": {"T1": (0.56, 0.28, 0.55), "T2": (0.66, 0.95, 0.80), "FLAIR": (0.86, 0.40, 0.76)},
    "meningioma": {"T1": (0.50, None, None), "T2": (0.68, None, None), "FLAIR": (0.76, None, None)},
    "infarct": {"T1": (0.34, None, None), "T2": (0.86, None, None), "FLAIR": (0.93, None, None)},
    "haemorrhage": {"T1": (0.98, None, 0.55), "T2": (0.14, None, 0.80), "FLAIR": (0.18, None, 0.84)},
    "plaque": {"T1": (0.38, None, None), "T2": (0.90, None, None), "FLAIR": (0.97, None, None)},
    "cyst": {"T1": (0.12, None, None), "T2": (0.95, None, None), "FLAIR": (0.08, None, None)},
    "abscess": {"T1": (0.92, 0.22, 0.55), "T2": (0.20, 0.90, 0.82), "FLAIR": (0.35, 0.70, 0.88)},
}
CORE = {"mass": 0.55, "abscess": 0.72}  # radius of the core as part of the lesion's


@dataclass(frozen=True)
class Template:
    """The volumes [x, y, z] on a grid of 1 mm, values 0..1, and a coarse list of points inside the brain."""

    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    ventricles: np.ndarray
    detail: np.ndarray  # what the T1 template has beyond its tissue maps
    origin: np.ndarray  # mm of voxel 0, 0, 0
    points: np.ndarray  # [count, 3] mm
    depth: np.ndarray  # [count] mm below the brain's surface
    whiteness: np.ndarray  # [count]


@lru_cache(maxsize=1)
def template() -> Template:
    """Load the ICBM 152 volumes and find the ventricles in them."""
    image = load_mni152_template(resolution=1)
    t1 = image.get_fdata(dtype=np.float32)
    grey = load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32)
    white = load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32)
    origin = image.affine[:3, 3]
    brain = (t1 > 0).astype(np.float32)
    fluid = np.clip(brain - grey - white, 0, 1)
    x, y, z = np.ogrid[tuple(slice(0, n) for n in t1.shape)]
    x, y, z = abs(x + origin[0]), y + origin[1], z + origin[2]
    lateral = (x > 3) & (x < np.where(y > -22, 26, 40)) & (y > -54) & (y < 38) & (z > -12) & (z < 32)
    # The cistern behind the midbrain and the fissure above the corpus callosum are fluid but not ventricle.
    lateral = lateral & ~((x < 12) & (y < -24) & (z < 10)) & ~((x < 6) & (y > 22))
    third = (x <= 3) & (y > -26) & (y < 18) & (z > -8) & (z < 20)
    fourth = (x < 10) & (y > -50) & (y < -36) & (z > -44) & (z < -22)
    ventricles = np.where(lateral | third | fourth, fluid, 0).astype(np.float32)
    predicted = 0.62 * grey + 0.80 * white + 0.32 * fluid
    step = 3
    coarse = (slice(None, None, step),) * 3
    depth = ndimage.distance_transform_edt(brain[coarse] > 0) * step
    solid = (grey + white)[coarse] > 0.8
    return Template(
        grey, white, brain, ventricles, (t1 - predicted) * brain, origin,
        np.argwhere(solid) * step + origin, depth[solid], white[coarse][solid],
    )  # fmt: skip


@dataclass(frozen=True)
class Lesion:
    """A lesion in template coordinates: an ellipsoid with a wavy edge, or a cone that opens to the cortex."""

    kind: str
    centre: np.ndarray  # [3] mm
    radii: np.ndarray  # [3] mm
    edge: Waves
    roughness: float

    @property
    def side(self) -> str:
        """The patient's side."""
        return "right" if self.centre[0] > 0 else "left"

    def level(self, points: np.ndarray) -> np.ndarray:
        """Below 1 inside the lesion; grows outwards with the distance in radii."""
        offset = points - self.centre
        wave = 1 + self.roughness * self.edge(points)
        if self.kind != "infarct":
            return np.sqrt((offset**2 / self.radii**2).sum(-1)) * wave
        outwards = self.centre - np.array([0.0, -18.0, 8.0])
        outwards /= np.linalg.norm(outwards)
        along = offset @ outwards + 1.3 * self.radii[0]  # the apex lies deep to the centre
        aside = np.linalg.norm(offset - (offset @ outwards)[..., None] * outwards, axis=-1)
        return np.where(along > 0, aside / np.maximum(0.75 * along, 1e-6), 9.0) * wave


@dataclass(frozen=True)
class Head:
    """One patient's head: how it differs from the template, and its lesions."""

    scale: np.ndarray  # [3]
    tilt: dict[str, float]  # in-plane rotation in radians, by plane
    warp: tuple[Waves, Waves, Waves]
    texture: Waves
    lesions: tuple[Lesion, ...]


def draw_head(
    rng: np.random.Generator, kind: str | None, mm: tuple[float, float], split: str, planes: list[str]
) -> Head:
    """Draw a patient's head with lesions of `kind`, `mm` in diameter, that the split's slices in `planes` can cut."""
    scale = rng.uniform(0.94, 1.06, 3)
    tilt = {plane: rng.normal(0, 0.05) for plane in AXIS}
    warp = tuple(Waves.draw(rng, 60, 120) for _ in range(3))
    texture = Waves.draw(rng, 9, 22, 8)
    lesions = () if kind is None else draw_lesions(rng, kind, mm, split, planes)
    return Head(scale, tilt, warp, texture, lesions)


def draw_lesions(
    rng: np.random.Generator, kind: str, mm: tuple[float, float], split: str, planes: list[str]
) -> tuple[Lesion, ...]:
    """Draw the lesions of one patient; plaques come in groups of three to five, all other kinds alone."""
    t = template()
    radius = rng.uniform(*mm) / 2
    allowed = (abs(t.points[:, 0]) > max(13, 0.7 * radius)) & (abs(t.points[:, 0]) < 62) & (t.points[:, 2] > -40)
    for plane in planes:
        place = t.points[:, AXIS[plane]]
        allowed &= np.any([inside(place, block, plane) for block in BLOCKS[plane][split]], axis=0)
    low, high = {"meningioma": (0.3, 0.7), "cyst": (0.3, 0.8), "infarct": (0.6, 1.3), "plaque": (1.2, 9)}.get(
        kind, (1, 9)
    )
    wanted = allowed & (t.depth > low * radius) & (t.depth < high * radius)
    if kind == "plaque":  # plaques favour the white matter beside the ventricles
        wanted &= (t.whiteness > 0.7) & (abs(t.points[:, 0]) < 46) & (t.points[:, 2] > -20)
    if not wanted.any() and len(planes) == 1:
        wanted = allowed & (t.depth > 0.5 * radius)
    if not wanted.any():  # the planes do not meet in a fitting spot, so only the first one will cut the lesion
        return draw_lesions(rng, kind, mm, split, planes[:1])
    spots = t.points[wanted]
    first = spots[rng.integers(len(spots))]
    centres = [first]
    if kind == "plaque":
        axis = AXIS[planes[0]]
        beside = spots[abs(spots[:, axis] - first[axis]) < 4]
        for spot in beside[rng.permutation(len(beside))][:60]:
            if len(centres) < 5 and min(np.linalg.norm(spot - other) for other in centres) > 4 * radius:
                centres.append(spot)
        centres = centres[: rng.integers(3, 6)]
    roughness = {"mass": 0.12, "haemorrhage": 0.10, "infarct": 0.08}.get(kind, 0.03)
    return tuple(
        Lesion(kind, centre.astype(float), radius * rng.uniform(0.92, 1.12, 3), Waves.draw(rng, 20, 40), roughness)
        for centre in centres
    )


def inside(place: np.ndarray, block: tuple[float, float], plane: str) -> np.ndarray:
    """Which coordinates across the plane lie in a block; sagittal blocks hold distances from the midline."""
    place = abs(place) if plane == "sagittal" else place
    return (place >= block[0]) & (place <= block[1])


def cut_position(head: Head, plane: str, split: str) -> float | None:
    """The slice position (template mm) through the first lesion, or None where the split has no slice there."""
    place = head.lesions[0].centre[AXIS[plane]]
    return float(place) if any(inside(place, block, plane) for block in BLOCKS[plane][split]) else None


def clear_position(rng: np.random.Generator, head: Head, plane: str, split: str) -> float | None:
    """A slice position (template mm) in the split's blocks that meets no lesion, or None if 50 draws find none."""
    axis = AXIS[plane]
    for _ in range(50):
        low, high = BLOCKS[plane][split][rng.integers(len(BLOCKS[plane][split]))]
        position = rng.uniform(low, high) * (rng.choice([-1, 1]) if plane == "sagittal" else 1)
        # An infarct's cone is longer than its radius.
        if all(abs(position - lesion.centre[axis]) > 2 * lesion.radii[axis] + 8 for lesion in head.lesions):
            return float(position)
    return None


def to_template(head: Head, plane: str, position: float, n: int) -> np.ndarray:
    """Template coordinates [n, n, 3] in mm of the pixels of one slice of this patient."""
    axis = AXIS[plane]
    points = plane_points(plane, position * head.scale[axis], MIDDLE[plane], FIELD, n)
    first, second = (other for other in range(3) if other != axis)
    a, b = points[..., first] - MIDDLE[plane][0], points[..., second] - MIDDLE[plane][1]
    cos, sin = np.cos(head.tilt[plane]), np.sin(head.tilt[plane])
    points[..., first] = cos * a - sin * b + MIDDLE[plane][0]
    points[..., second] = sin * a + cos * b + MIDDLE[plane][1]
    moved = points / head.scale
    for k in range(3):
        shift = 2.5 * head.warp[k](points)
        moved[..., k] += np.clip(shift, -DRIFT, DRIFT) if k == axis else shift
    return moved


def render(head: Head, sequence: str, plane: str, position: float, size: int, rng: np.random.Generator) -> Drawing:
    """Draw one slice at `position` (template mm) in the given sequence; `rng` draws gain and bias field."""
    t = template()
    n = working_size(size)
    points = to_template(head, plane, position, n)
    index = np.moveaxis(points - t.origin, -1, 0)
    grey, white, brain, ventricles, detail = (
        ndimage.map_coordinates(volume, index, order=1) for volume in (t.grey, t.white, t.brain, t.ventricles, t.detail)
    )
    fluid = np.clip(brain - grey - white, 0, 1)
    weights = TISSUE[sequence]
    image = weights[0] * grey + weights[1] * white + weights[2] * fluid
    image += {"T1": 0.5, "T2": -0.25, "FLAIR": 0.25}[sequence] * detail * (1 - fluid)

    hull, outside = closed_hull(brain > 0.5, FIELD / n)
    classes = np.where(hull, CLASS["brain"], CLASS["background"]).astype(np.uint8)
    classes[ventricles > 0.5] = CLASS["ventricles"]
    skull, scalp = (outside > 2) & (outside <= 7), (outside > 7) & (outside <= 13)
    image = np.where(hull & (brain < 0.5), TISSUE[sequence][2], image)
    image = np.where((outside > 0) & (outside <= 2), TISSUE[sequence][2], image)
    image = np.where(
        skull, 0.08 + 0.25 * SCALP[sequence] * (abs(outside - 4.5) < 1), image
    )  # marrow between the tables
    image = np.where(scalp, SCALP[sequence], image)
    classes[(outside > 0) & (outside <= 13)] = CLASS["body"]
    classes[skull] = CLASS["bone"]

    lesions = np.zeros((n, n), np.uint8)
    for number, lesion in enumerate(head.lesions, start=1):
        extra_axial = lesion.kind in ("meningioma", "cyst")
        room = hull & (extra_axial | (ventricles < 0.5)) & (extra_axial | (brain > 0.5))
        level = lesion.level(points)
        body, core, oedema = LOOKS[lesion.kind][sequence]
        if oedema is not None:
            halo = room & (level >= 1) & (level < 1.45) & (white > 0.3)
            image = np.where(halo, oedema + 0.5 * (image - oedema) * np.clip((level - 1) / 0.45, 0, 1), image)
        region = room & (level < 1)
        value = body + (0.05 if lesion.kind in ("mass", "infarct") else 0.015) * head.texture(points)
        if lesion.kind == "infarct":
            value = value + 0.25 * (image - body)  # the gyral pattern still shows
        image = np.where(region, value, image)
        if core is not None:
            image = np.where(region & (level < CORE[lesion.kind]), core, image)
        if lesion.kind == "meningioma":  # a cleft of CSF parts it from the brain
            image = np.where(region & (level > 0.88), TISSUE[sequence][2] * 0.7 + 0.3 * body, image)
        lesions[region] = number
    bias = 1 + 0.10 * Waves.draw(rng, 250, 500, 2)(points)
    gain = rng.uniform(0.88, 1.05)
    return Drawing(image * bias * gain, classes, lesions, [lesion.kind for lesion in head.lesions])


def closed_hull(brain: np.ndarray, mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The brain with its sulci filled, and the distance in mm outside of it (0 within); `mm` is the pixel size."""
    if not brain.any():
        return brain, np.zeros(brain.shape)
    reach = 14.0
    near = ndimage.distance_transform_edt(~brain) * mm < reach
    hull = (ndimage.distance_transform_edt(near) * mm > reach) | brain
    return hull, ndimage.distance_transform_edt(~hull) * mm


def place_of(centre: np.ndarray) -> str:
    """The lobe or deep region at a point of the template (mm); boundaries are rough planes."""
    x, y, z = abs(centre[0]), centre[1], centre[2]
    if z < -18 and y < -42:
        return "cerebellar hemisphere"
    if x < 34 and -26 < y < 22 and -8 < z < 22:
        return "basal ganglia"
    if y < -70:
        return "occipital lobe"
    if z < 8 and y < 12 and x > 20:
        return "temporal lobe"
    if y < -22:
        return "parietal lobe"
    return "frontal lobe"
