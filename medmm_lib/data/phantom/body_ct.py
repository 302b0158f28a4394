"""Chest and abdomen CT: one schematic torso of ellipsoids and cylinders in mm, cut in any plane.

z is 0 near the top of the diaphragm. Intensities are in Hounsfield units until the display window turns them to grey.
"""

from dataclasses import dataclass

import numpy as np

from medmm_lib.data.phantom.canvas import CLASS, Drawing, Waves, plane_points, working_size

FIELD = 336.0  # mm
WINDOW = {"chest": (-1000.0, 350.0), "abdomen": (-130.0, 230.0)}  # Hounsfield units shown as black and white
PHASES = {"plain": "CT - noncontrast", "contrast": "CT w/contrast (IV)"}
# Hounsfield units without and with contrast.
ORGANS = {
    "liver": (58, 112), "spleen": (48, 125), "kidney": (32, 175), "blood": (42, 170), "muscle": (52, 62),
    "bowel": (30, 45), "fat": (-100, -95), "lung": (-840, -835), "marrow": (190, 195), "cortex": (480, 480),
}  # fmt: skip
SPHERES = ("nodule", "lung abscess", "liver cyst", "metastasis", "haemangioma", "liver abscess", "renal mass",
           "renal cyst", "splenic lesion", "splenic cyst")  # fmt: skip


@dataclass(frozen=True)
class Lesion:
    """A lesion of the torso; `radius` in mm, `organ` the class it lies in, `side` the patient's."""

    kind: str
    organ: str
    side: str
    centre: np.ndarray  # [3] mm
    radius: float
    edge: Waves
    roughness: float

    def level(self, points: np.ndarray) -> np.ndarray:
        """Below 1 inside a round lesion; the distance in radii."""
        distance = np.linalg.norm(points - self.centre, axis=-1) / self.radius
        return distance * (1 + self.roughness * self.edge(points))


@dataclass(frozen=True)
class Torso:
    """One patient's torso: half widths, organ centres and radii in mm, and its lesions."""

    half: np.ndarray  # [2] half width and half depth of the body
    fat: float  # thickness of the fat under the skin
    parts: dict[str, tuple[np.ndarray, np.ndarray]]  # centre [3], radii [3]
    warp: tuple[Waves, Waves, Waves]
    texture: Waves
    vessels: Waves
    bowel: np.ndarray  # [loops, 5] centre, radius, Hounsfield units
    rib_phase: float
    lesions: tuple[Lesion, ...] = ()


PARTS = {
    "right lung": ((72, 2, 50), (62, 84, 128)),
    "left lung": ((-76, -2, 50), (58, 82, 124)),
    "heart": ((-26, 26, 36), (54, 42, 50)),
    "liver": ((66, 4, -48), (76, 80, 78)),
    "left liver": ((6, 42, -34), (64, 32, 36)),
    "spleen": ((-94, -36, -42), (32, 46, 54)),
    "stomach": ((-58, 34, -44), (38, 36, 42)),
    "right kidney": ((60, -44, -96), (31, 30, 54)),
    "left kidney": ((-62, -44, -84), (31, 30, 54)),
}


def draw_torso(rng: np.random.Generator) -> Torso:
    """Draw one patient's anatomy, without lesions."""
    parts = {}
    for name, (centre, radii) in PARTS.items():
        spread = 2.0 if "lung" in name else 4.0
        parts[name] = (np.array(centre) + rng.normal(0, spread, 3), np.array(radii) * rng.uniform(0.93, 1.06, 3))
    loops = 26
    bowel = np.column_stack([
        rng.uniform(-85, 85, loops), rng.uniform(-5, 75, loops), rng.uniform(-175, -85, loops),
        rng.uniform(10, 19, loops), rng.choice([25.0, 35.0, 45.0, -500.0], loops, p=[0.3, 0.3, 0.25, 0.15]),
    ])  # fmt: skip
    return Torso(
        np.array([rng.uniform(144, 158), rng.uniform(102, 114)]), rng.uniform(6, 16), parts,
        tuple(Waves.draw(rng, 110, 220) for _ in range(3)), Waves.draw(rng, 10, 26, 8),
        Waves.draw(rng, 16, 34, 6), bowel, rng.uniform(0, 26),
    )  # fmt: skip


def draw_lesions(
    rng: np.random.Generator, torso: Torso, kind: str, side: str, place: str, mm: float
) -> tuple[Lesion, ...]:
    """Lesions of `kind`, `mm` in diameter, on `side`, in `place` (a lobe of lung or liver, a kidney pole)."""

    def lesion(organ: str, centre: np.ndarray, radius: float, roughness: float = 0.04) -> Lesion:
        return Lesion(kind, organ, side, centre, radius, Waves.draw(rng, 14, 30), roughness)

    radius = mm / 2
    sign = 1.0 if side == "right" else -1.0
    if kind in ("nodule", "lung abscess", "consolidation", "effusion"):
        centre, radii = torso.parts[f"{side} lung"]
        up = 82.0 if place == "upper lobe" else 24.0
        depth = rng.uniform(-8, 28) if place == "upper lobe" else rng.uniform(-46, -34)
        spot = np.array([centre[0] + sign * rng.uniform(-4, 12), depth, up + rng.uniform(-6, 6)])
        if kind == "effusion":
            spot[2] = 20.0
        return (lesion("lung", spot, radius, 0.12 if kind == "nodule" else 0.05),)
    if place in ("right lobe of the liver", "left lobe of the liver"):
        centre, radii = torso.parts["liver" if place.startswith("right") else "left liver"]
        if place.startswith("left"):
            spots = [centre + np.array([rng.uniform(-16, 0), rng.uniform(-2, 6), rng.uniform(-4, 4)])]
        else:
            turns = rng.uniform(0, 2 * np.pi) + np.arange(3) * 2 * np.pi / 3
            spots = [centre + np.array([8 + 34 * np.cos(a), 34 * np.sin(a), rng.uniform(-5, 5)]) for a in turns]
            spots = spots[: 3 if kind == "metastasis" else 1]
        return tuple(lesion("liver", spot, radius) for spot in spots)
    if kind.startswith("splenic"):
        centre, radii = torso.parts["spleen"]
        shift = np.array([-0.5, -0.1, 0]) if kind == "splenic infarct" else np.array([-0.05, 0.15, 0])
        return (lesion("spleen", centre + shift * radii + rng.normal(0, 1.5, 3), radius),)
    centre, radii = torso.parts[f"{side} kidney"]
    if kind == "calculus":
        return (lesion("kidney", centre + np.array([-sign * 6.0, 2.0, 0.0]), radius),)
    along = {"upper pole": 0.45, "lower pole": -0.45}[place]
    outwards = 0.7 * radii[0] if kind == "renal mass" else 0.95 * radii[0]
    turn = rng.uniform(-0.3, 0.9)
    shift = np.array([sign * outwards * np.cos(turn), outwards * np.sin(turn), along * radii[2]])
    return (lesion("kidney", centre + shift, radius, 0.07 if kind == "renal mass" else 0.03),)


def render(torso: Torso, window: str, phase: str, plane: str, position: float, size: int) -> Drawing:
    """Draw one slice; `position` in mm across the plane, `window` chest or abdomen, `phase` plain or contrast."""
    n = working_size(size)
    middle_z = 45.0 if window == "chest" else -70.0
    centre = (0.0, 0.0) if plane == "axial" else (0.0, middle_z)
    seen = plane_points(plane, position, centre, FIELD, n)
    points = seen + 3.0 * np.stack([wave(seen) for wave in torso.warp], -1)
    hu, classes = anatomy(torso, points, phase == "contrast")
    lesions = np.zeros((n, n), np.uint8)
    for number, lesion in enumerate(torso.lesions, start=1):
        hu, region = draw_lesion(torso, lesion, points, hu, classes, phase == "contrast")
        lesions[region] = number
    low, high = WINDOW[window]
    return Drawing(np.clip((hu - low) / (high - low), 0, 1), classes, lesions, [item.kind for item in torso.lesions])


def anatomy(torso: Torso, points: np.ndarray, contrast: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and classes [n, n] of the healthy torso at `points`."""
    value = {name: pair[int(contrast)] for name, pair in ORGANS.items()}
    x, y, z = np.moveaxis(points, -1, 0)
    a, b = torso.half
    hu = np.full(x.shape, -1000.0)
    classes = np.zeros(x.shape, np.uint8)
    skin = np.abs(x / a) ** 2.4 + np.abs(y / b) ** 2.4 < 1

    def shell(inset: float) -> np.ndarray:
        return np.abs(x / (a - inset)) ** 2.3 + np.abs(y / (b - inset)) ** 2.3 < 1

    def paint(region: np.ndarray, units: float | np.ndarray, name: str = "body") -> None:
        hu[region] = units[region] if isinstance(units, np.ndarray) else units
        classes[region] = CLASS[name]

    def ball(name: str) -> np.ndarray:
        middle, radii = torso.parts[name]
        return (((points - middle) / radii) ** 2).sum(-1)

    grain = torso.texture(points)
    wall, ribs, cavity = shell(torso.fat), shell(torso.fat + 9), shell(torso.fat + 17)
    paint(skin, value["fat"])
    paint(wall, value["muscle"] + 4 * grain)
    paint(cavity & (z < 30), value["fat"] + 6 * grain)
    paint(cavity & (z >= 30), value["muscle"] - 10)

    # Lungs end at the domes of the diaphragm and at the mediastinum.
    dome = {"right lung": 22.0, "left lung": 12.0}
    for name, top in dome.items():
        cx, cy = torso.parts[name][0][:2]
        floor = top - ((x - cx) / 60) ** 2 * 26 - ((y - cy - 14) / 80) ** 2 * 48
        lung = (ball(name) < 1) & cavity & (z > floor) & (np.abs(x) > 19 + 6 * (y < -20))
        veins = np.clip(torso.vessels(points) - 1.0, 0, 1) * np.exp(-((np.abs(x) - 20) ** 2) / 60**2)
        paint(lung, value["lung"] + 30 * grain + 1100 * veins, "lung")
    paint(ball("heart") < 1, value["blood"] * 0.9 + 3 * grain, "heart")
    paint((ball("heart") < 0.45) & (x > -60), value["blood"], "heart")

    # Below the diaphragm.
    for cx, cy, cz, radius, units in torso.bowel:
        distance = (x - cx) ** 2 + (y - cy) ** 2 + ((z - cz) / 1.6) ** 2
        paint((distance < radius**2) & cavity, value["bowel"])
        paint((distance < (radius - 3) ** 2) & cavity, units)
    stomach = ball("stomach")
    paint((stomach < 1) & cavity, value["bowel"] + 15)
    paint((stomach < 0.75) & cavity, np.where(y > torso.parts["stomach"][0][1] + 12, -900.0, 12.0))
    belly = cavity & (classes != CLASS["lung"]) & (classes != CLASS["heart"])
    portal = 22 * (np.clip(torso.vessels(points * 0.8) - 1.0, 0, 1) > 0.1) * (1 if contrast else -0.5)
    liver = ((ball("liver") < 1) | (ball("left liver") < 1)) & belly & ~((np.abs(x) < 26) & (y < -24))
    paint(
        ball("spleen") + 0.9 * np.exp(-((x + 66) ** 2 + (y + 24) ** 2) / 500) < 1, value["spleen"] + 3 * grain, "spleen"
    )
    classes[(classes == CLASS["spleen"]) & ~belly] = CLASS["body"]
    paint(liver, value["liver"] + 3 * grain + portal, "liver")
    for name in ("right kidney", "left kidney"):
        middle = torso.parts[name][0]
        sign = np.sign(middle[0])
        kidney = ball(name)
        paint((kidney < 1.35) & belly & (y < -8), value["fat"])  # the fat around the kidney
        inner = ((x - middle[0] + sign * 16) / 17) ** 2 + ((y - middle[1] - 4) / 9) ** 2 + ((z - middle[2]) / 22) ** 2
        cortex = value["kidney"] + (20 * (kidney > 0.5) if contrast else 0) + 3 * grain
        paint(kidney < 1, cortex, "kidney")
        paint((inner < 1) & (kidney < 1.3), value["fat"] + 40)
    for sign in (-1, 1):
        paint(((x - sign * 34) ** 2 + ((y + 62) * 1.1) ** 2 < 17**2) & (z < -60), value["muscle"])  # psoas
        paint(((x - sign * 34) / 26) ** 2 + ((y + 90) / 15) ** 2 < 1, value["muscle"])  # back muscles
    paint((x + 16) ** 2 + (y + 34) ** 2 < 12**2, value["blood"])  # descending aorta
    paint(((x - 18) ** 2 + (y + 26) ** 2 < 12**2) & (z < 25), value["blood"] * 0.8)  # inferior vena cava
    paint((x**2 + (y + 8) ** 2 < 8**2) & (z > 66), -950.0)  # trachea

    # Bones.
    paint(((x / 21) ** 2 + ((y + 58) / 16) ** 2 < 1), value["cortex"], "bone")
    disc = np.mod(z + torso.rib_phase, 32) < 6
    paint(((x / 18) ** 2 + ((y + 58) / 13) ** 2 < 1), np.where(disc, 90.0, value["marrow"]), "bone")
    arch = (x**2 + (y + 82) ** 2 < 15**2) | ((np.abs(x) < 4) & (y > -104) & (y < -90)) | (
        (np.abs(y + 80) < 4) & (np.abs(x) < 32) & (np.mod(z + torso.rib_phase, 32) > 12)
    )  # fmt: skip
    paint(arch & (y > -b + 5), value["cortex"] * 0.8, "bone")
    paint(x**2 + (y + 81) ** 2 < 9**2, 35.0)  # spinal canal
    cage = ribs & ~cavity & (np.abs(x) > 16) & (z > -95 - 0.5 * y)
    paint(cage & (np.mod(z + 0.6 * y + torso.rib_phase, 27) < 11), value["cortex"] * 0.75, "bone")
    paint((np.abs(x) < 17) & ribs & ~cavity & (y > 0) & (z > 20), value["marrow"] + 60, "bone")  # sternum
    hu[~skin], classes[~skin] = -1000.0, CLASS["background"]
    return hu, classes


def draw_lesion(
    torso: Torso, lesion: Lesion, points: np.ndarray, hu: np.ndarray, classes: np.ndarray, contrast: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units with the lesion, and the lesion's region [n, n]."""
    x, y, z = np.moveaxis(points, -1, 0)
    on_side = x > 0 if lesion.side == "right" else x < 0
    organ = (classes == CLASS[lesion.organ]) & on_side if lesion.organ != "liver" else classes == CLASS["liver"]
    level = lesion.level(points)
    grain = torso.texture(points)
    kind = lesion.kind
    if kind == "effusion":
        centre, radii = torso.parts[f"{lesion.side} lung"]
        # Fluid gathers at the back and at the base; its surface is hollow.
        height = y + 0.6 * (z - lesion.centre[2]) - 10 * ((x - centre[0]) / 40) ** 2
        region = organ & (height < -72 + lesion.radius)
        return np.where(region, 8.0 + 2 * grain, hu), region
    if kind == "consolidation":
        region = organ & (level < 1)
        bronchi = np.abs(torso.vessels(points * 1.2)) < 0.10
        return np.where(region, np.where(bronchi, -600.0, 38 + 6 * grain), hu), region
    if kind == "lung abscess":
        region = organ & (level < 1)
        inner = np.where(y > lesion.centre[1] + 0.1 * lesion.radius, -950.0, 15.0)  # air above fluid
        return np.where(region, np.where(level < 0.68, inner, 50.0), hu), region
    if kind == "calculus":
        offset = (points - lesion.centre) / lesion.radius
        branch = (np.abs(offset[..., 0]) < 1) & (np.abs(offset[..., 1]) < 0.55 + 0.2 * lesion.edge(points))
        region = branch & (np.abs(offset[..., 2]) < 1.1) & (np.abs(x) > 34)
        return np.where(region, 700.0, hu), region
    if kind == "splenic infarct":
        # A wedge whose base lies on the capsule.
        centre, radii = torso.parts["spleen"]
        apex = centre + np.array([0.35 * radii[0], 0.0, 0.0])
        aside = np.hypot(y - apex[1], z - apex[2])
        region = organ & (aside < 0.62 * (apex[0] - x) * lesion.radius / 17)
        return np.where(region, 42.0 + 3 * grain, hu), region
    beyond = classes == CLASS["body"] if kind in ("renal mass", "renal cyst") else np.zeros_like(organ)
    room = organ | (beyond & on_side & (hu > -1000))
    region = room & (level < 1)
    core = {
        "nodule": 48 + (25 if contrast else 0) + 8 * grain,
        "liver cyst": 4 + 1.5 * grain,
        "splenic cyst": 4 + 1.5 * grain,
        "renal cyst": 4 + 1.5 * grain,
        "metastasis": (62 if contrast else 36) + 5 * grain,
        "splenic lesion": (78 if contrast else 30) + 5 * grain,
        "renal mass": (95 if contrast else 42) + (38 if contrast else 12) * grain,
        "haemangioma": np.where((level > 0.62) & contrast & (np.sin(3 * np.arctan2(y - lesion.centre[1],
                                x - lesion.centre[0]) + lesion.centre[2]) > -0.1), 185.0, 52.0 if contrast else 34.0),
        "liver abscess": np.where(level > 0.74, 165.0 if contrast else 50.0, 18.0 + 4 * grain),
    }[kind]  # fmt: skip
    hu = np.where(region, core, hu)
    if kind == "liver abscess" and contrast:  # a dark halo of oedema around the bright rim
        hu = np.where(organ & (level >= 1) & (level < 1.25), 80.0, hu)
    return hu, region
