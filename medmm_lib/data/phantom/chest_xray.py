"""PA chest X-ray: a schematic projection, with one drawing for each of the CheXpert labels.

u is millimetres to the image's right (the patient's left), v millimetres down from the middle of the chest.
Grey is bright where much is absorbed.
"""

from dataclasses import dataclass

import numpy as np

from medmm_lib.data.phantom.canvas import CLASS, Drawing, Waves, working_size

FIELD = 350.0  # mm
FRACTURE = 80.0  # mm from the midline
MODALITY = "XR - Plain Film"


@dataclass(frozen=True)
class Finding:
    """One finding of a film. `side` is the patient's, or "both"; `zone` upper or lower; `strength` 1 is definite."""

    label: str  # a CheXpert label
    name: str  # name of the box
    side: str
    zone: str
    mm: float
    strength: float = 1.0


@dataclass(frozen=True)
class Thorax:
    """One patient's thorax in mm."""

    lung_width: float
    lung_height: float
    heart: float  # half width of the heart
    widening: float  # how much the mediastinum is too wide on each side
    domes: dict[str, float]  # v of the diaphragm's top
    ribs: tuple[float, float, float]  # first rib's v, distance, bend
    shoulders: float
    texture: Waves
    vessels: Waves
    spot: tuple[float, float]  # small shift of a focal finding
    device: str | None  # pacemaker, central line or tube


def draw_thorax(rng: np.random.Generator, labels: set[str], device: bool) -> Thorax:
    """Draw one patient's thorax; heart and mediastinum are wide where the labels say so."""
    big = "Cardiomegaly" in labels
    wide = "Enlarged Cardiomediastinum" in labels and not big
    return Thorax(
        rng.uniform(94, 106), rng.uniform(112, 124), rng.uniform(80, 94) if big else rng.uniform(56, 64),
        rng.uniform(24, 34) if wide else rng.uniform(-2, 3),
        {"right": rng.uniform(70, 80), "left": rng.uniform(82, 92)},
        (rng.uniform(-122, -112), rng.uniform(21, 24), rng.uniform(14, 22)), rng.uniform(138, 155),
        Waves.draw(rng, 8, 22, 8), Waves.draw(rng, 12, 26, 6), (rng.uniform(-8, 8), rng.uniform(-8, 8)),
        str(rng.choice(["pacemaker", "central line", "tube"])) if device else None,
    )  # fmt: skip


def render(thorax: Thorax, findings: list[Finding], size: int, rng: np.random.Generator) -> Drawing:
    """Draw one film; `rng` draws exposure and a slight shift of the patient."""
    n = working_size(size)
    steps = ((np.arange(n) + 0.5) / n - 0.5) * FIELD
    u, v = np.meshgrid(steps - rng.uniform(-5, 5), steps - rng.uniform(-5, 5))
    points = np.stack([u, v, np.zeros_like(u)], -1)
    grain, tangle = thorax.texture(points), thorax.vessels(points)
    t = thorax

    torso = (
        np.abs(u)
        < t.shoulders - 14 + 30 * np.exp(-(((v + 95) / 45) ** 2)) - 105 * np.clip((-118 - v) / 45, 0, 1) ** 1.6
    )
    grey = np.where(torso, 0.50 - 0.0006 * np.abs(u), 0.02)
    classes = np.where(torso, CLASS["body"], CLASS["background"]).astype(np.uint8)
    lungs = {side: lung_field(t, side, u, v) for side in ("right", "left")}
    field = lungs["right"] | lungs["left"]
    heart = ((u - 0.28 * t.heart) / t.heart) ** 2 + ((v - 42 - 0.25 * (u - 16)) / 52) ** 2 < 1
    heart &= v < t.domes["left"] + 12
    width = 22 + t.widening * np.exp(-(((v + 45) / 42) ** 4)) * (1 + 0.10 * np.sin(v / 13))
    trunk = np.abs(u - 3) < width + 8 * np.clip((-88 - v) / 30, 0, 1)
    knob = (u - 22 - t.widening) ** 2 + (v + 48) ** 2 < 15**2  # the aortic knob
    middle = (trunk | knob) & torso
    clear = field & ~heart & ~middle

    grey = np.where(field, 0.17 + 0.02 * grain, grey)
    hilum = np.exp(-(((np.abs(u) - 30) / 34) ** 2) - ((v - 2) / 46) ** 2)
    grey = np.where(field, grey + 0.20 * np.clip(tangle, 0, 1) * (0.25 + hilum) + 0.10 * hilum, grey)
    below = torso & (v > 40) & ~field & (np.abs(u) < t.lung_width)
    grey = np.where(torso & ~field, grey + 0.16 / (1 + np.exp((70 - v - 0.3 * np.abs(u)) / 14)), grey)
    grey = np.where(below, 0.66, grey)
    gas = ((u - 62) / 24) ** 2 + ((v - t.domes["left"] - 24) / 11) ** 2 < 1
    grey = np.where(gas & below, 0.35, grey)
    grey = np.where(middle, 0.60, grey)
    grey = np.where(heart, 0.68, grey)
    grey = np.where((np.abs(u) < 7) & (v < -20) & torso, grey - 0.12, grey)  # the trachea
    grey = np.where((np.abs(u) < 14) & torso, grey + 0.06 + 0.05 * (np.mod(v, 20) < 14), grey)  # the spine
    classes[field] = CLASS["lung"]
    classes[middle & (v < 70)] = CLASS["body"]
    classes[heart] = CLASS["heart"]
    bones = np.zeros_like(u)
    gap = next((item for item in findings if item.label == "Fracture"), None)
    for number in range(9):
        bones = np.maximum(bones, rib(t, number, u, v, gap))
    clavicle = np.abs(v + 104 + 0.22 * (np.abs(u) - 20)) < 5
    bones = np.maximum(bones, 1.3 * (clavicle & (np.abs(u) > 14) & (np.abs(u) < 125)))
    grey = grey + 0.13 * bones * torso * ~(middle | heart | below)

    lesions = np.zeros((n, n), np.uint8)
    for number, finding in enumerate(findings, start=1):
        grey, region = draw_finding(t, finding, points, grey, clear, lungs, {"heart": heart, "trunk": middle}, grain)
        lesions[region] = number
    if t.device:
        grey = draw_device(t, u, v, grey)
    exposure = rng.uniform(0.92, 1.08)
    return Drawing(grey * exposure, classes, lesions, [finding.name for finding in findings])


def lung_field(t: Thorax, side: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The outline [n, n] of one lung, from the apex to the dome of the diaphragm."""
    x = np.abs(u)
    on_side = u < 0 if side == "right" else u > 0
    outer = t.lung_width * np.sqrt(np.clip(1 - (np.clip(10 - v, 0, None) / (t.lung_height + 10)) ** 2.6, 0, 1))
    dome = t.domes[side] + 26 * (np.clip(x - 50, 0, None) / 50) ** 2 + 8 * (np.clip(50 - x, 0, None) / 50) ** 2
    return on_side & (x < outer) & (x > 8) & (v < dome) & (v > -t.lung_height)


def rib(t: Thorax, number: int, u: np.ndarray, v: np.ndarray, gap: Finding | None) -> np.ndarray:
    """Brightness 0..1 [n, n] of a pair of ribs; a fracture leaves a gap and a step in rib 5."""
    first, distance, bend = t.ribs
    x = np.abs(u)
    reach = min(60 + 14 * number, 112)
    line = first + distance * number + bend * (x / 60) ** 2 - 0.25 * x
    if gap is not None and number == 5:
        broken = (u < 0) if gap.side == "right" else (u > 0)
        line = line + np.where(broken & (x > FRACTURE), 11.0, 0.0)
        cut = broken & (np.abs(x - FRACTURE) < 4)
    else:
        cut = np.zeros_like(x, bool)
    return ((np.abs(v - line) < 4.5) & (x > 12) & (x < reach) & ~cut) * (0.7 + 0.5 * (x > reach - 14))


def draw_finding(
    t: Thorax, finding: Finding, points: np.ndarray, grey: np.ndarray, clear: np.ndarray,
    lungs: dict[str, np.ndarray], middle: dict[str, np.ndarray], grain: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Grey values with the finding, and its region [n, n]."""
    u, v = points[..., 0], points[..., 1]
    sign = {"right": -1.0, "left": 1.0, "both": 0.0}[finding.side]
    own = clear & (lungs[finding.side] if finding.side in lungs else lungs["right"] | lungs["left"])
    x = u * sign if sign else np.abs(u)
    du, dv = t.spot
    upper = finding.zone == "upper"
    row = -62 + dv if upper else 30 + dv
    column = du + (82 if sign > 0 and not upper else 60)  # beside the heart, not behind it
    label, strength, r = finding.label, finding.strength, finding.mm / 2
    if label == "Cardiomegaly":
        return grey, middle["heart"]
    if label == "Enlarged Cardiomediastinum":
        return grey, middle["trunk"] & (v < 0) & (v > -92)
    if label in ("Pneumonia", "Consolidation"):
        level = np.hypot((x - column) / r, (v - row) / (0.85 * r)) * (1 + 0.10 * grain)
        region = own & (level < 1)
        bronchi = np.abs(t.vessels(points * 0.8)) < 0.12
        value = 0.58 + 0.05 * grain - 0.22 * bronchi
        return np.where(region, grey + strength * (value - grey) * np.clip(3 * (1.1 - level), 0, 1), grey), region
    if label == "Lung Lesion":
        level = np.hypot(x - column, v - row) / r * (1 + 0.04 * grain)
        region = own & (level < 1)
        return np.where(region, grey + strength * (0.62 - grey), grey), region
    if label == "Edema":
        level = np.hypot((x - 36) / 44, (v - 4) / 62)
        haze = np.clip(1.5 - level, 0, 1) * own
        lines = (np.mod(v, 13) < 4) & own & (x > 66) & (v > 15)  # Kerley B lines at the bases
        return grey + 0.30 * haze * (1 + 0.25 * grain) + 0.16 * lines, own & (level < 1)
    if label == "Atelectasis":
        region = lungs[finding.side] & (np.abs(v - 36 - dv + 0.28 * (x - 55)) < 8) & (x > 34) & (x < 96)
        return np.where(region, grey + strength * np.maximum(0.56 - grey, 0.10), grey), region
    if label == "Pneumothorax":
        edge = (x / (t.lung_width * 1.0)) ** 2 + ((v - 30) / (t.lung_height + 30)) ** 2 * 1.05
        region = own & (edge > 1 - finding.mm / 90) & (v < 55)
        line = own & (np.abs(edge - (1 - finding.mm / 90)) < 0.035) & (v < 55)
        return np.where(line, 0.50, np.where(region, 0.04, grey)), region
    if label == "Pleural Effusion":
        top = t.domes[finding.side] + 16 - finding.mm * (0.65 + 0.5 * (x / t.lung_width) ** 3)
        region = own & (v > top)
        return np.where(region, grey + strength * (0.66 - grey), grey), region
    if label == "Pleural Other":
        field = lungs[finding.side]
        outer = np.where(field, x, 0).max(axis=1, keepdims=True)
        region = own & (x > outer - 15 - 3 * grain) & (np.abs(v - row) < 48)
        return np.where(region, 0.60 + 0.03 * grain, grey), region
    if label == "Fracture":
        first, distance, bend = t.ribs
        level = first + distance * 5 + bend * (FRACTURE / 60) ** 2 - 0.25 * FRACTURE + 5
        region = (x - FRACTURE) ** 2 + (v - level) ** 2 < 17**2
        fragment = region & (rib(t, 5, u, v, finding) > 0)
        return np.where(fragment, 0.75, np.where(region & (np.abs(x - FRACTURE) < 4), 0.10, grey)), region
    raise ValueError(f"no drawing for the label {label!r}")


def draw_device(t: Thorax, u: np.ndarray, v: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Grey values with a pacemaker and its lead, a central venous line, or a tube in the trachea."""
    if t.device == "pacemaker":
        box = (np.abs(u - 84) < 17) & (np.abs(v + 84) < 14)
        lead = (
            (np.hypot((u - 34) / 42, (v + 74) / 12) < 1.12)
            & (np.hypot((u - 34) / 42, (v + 74) / 12) > 0.88)
            & (v < -74)
        )
        down = (np.abs(u + 8 - 0.0035 * np.clip(v + 74, 0, None) ** 2) < 2.5) & (v >= -74) & (v < 58)
        return np.where(box | lead | down, 1.0, grey)
    if t.device == "central line":
        line = (np.abs(u + 12 + 12 * np.clip((-90 - v) / 40, 0, 1)) < 2.5) & (v < 0)
        return np.where(line, 1.0, grey)
    tube = (np.abs(np.abs(u) - 4) < 1.8) & (v < -35)
    return np.where(tube, 1.0, grey)
