"""One phantom patient: condition, anatomy, and the images that show it."""

from dataclasses import dataclass, replace

import numpy as np

from medmm_lib.data.phantom import body_ct, brain, chest_xray
from medmm_lib.data.phantom.canvas import Picture, finish
from medmm_lib.data.phantom.conditions import Condition
from medmm_lib.data.phantom.conditions_abdomen import ABDOMEN
from medmm_lib.data.phantom.conditions_brain import BRAIN
from medmm_lib.data.phantom.conditions_chest import CHEST
from medmm_lib.data.schema import CHEXPERT_LABELS

CONDITIONS: dict[str, tuple[Condition, ...]] = {"brain": BRAIN, "chest": CHEST, "abdomen": ABDOMEN}
# A deck holds each brain condition twice, frequent chest conditions twice, all others once, and these healthy regions.
HEALTHY_CARDS = ("brain", "brain", "brain", "chest", "chest", "chest", "abdomen", "abdomen")
FILM_CARDS = ("chest", "chest", "chest")  # of a deck for films only, beside the conditions that films show
FREQUENT = ("nodule", "consolidation", "effusion")
BOX_NAMES = {
    "mass": "brain mass", "plaque": "demyelinating plaque", "cyst": "arachnoid cyst", "abscess": "brain abscess",
    "infarct": "brain infarct", "haemorrhage": "brain haemorrhage", "nodule": "pulmonary nodule or mass",
    "effusion": "pleural effusion", "edema": "pulmonary oedema", "fracture": "rib fracture",
    "metastasis": "liver metastasis", "haemangioma": "hepatic haemangioma", "calculus": "renal calculus",
}  # fmt: skip
LUNG_OPACITIES = ("Consolidation", "Edema", "Atelectasis", "Lung Lesion", "Pneumonia")


@dataclass(frozen=True)
class View:
    """One image of a patient. `sequence` is T1, T2, FLAIR (MR), plain, contrast (CT) or XR."""

    type: str  # MR, CT, XR
    modality: str  # in MedPix's words
    plane: str
    sequence: str
    picture: Picture
    position: float  # mm across the plane; template mm for the brain
    repeat: bool = False  # a second film of the same finding


@dataclass(frozen=True)
class Patient:
    """One patient with the truth about the images."""

    uid: str
    split: str
    region: str
    age: int
    sex: str
    condition: Condition | None
    place: str
    side: str
    device: str | None
    possible: chest_xray.Finding | None  # an uncertain second finding on the films
    views: list[View]

    @property
    def labels(self) -> dict[str, int]:
        """CheXpert labels of this patient's films."""
        positive = set(self.condition.labels) if self.condition else set()
        return chexpert(positive, {self.possible.label} if self.possible else set(), self.device is not None)


def chexpert(positive: set[str], uncertain: set[str], device: bool) -> dict[str, int]:
    """All 14 labels from the findings, after CheXpert's hierarchy: a child that is present makes its parent present."""
    labels = dict.fromkeys(CHEXPERT_LABELS, 0)
    for found, value in ((uncertain, -1), (positive, 1)):
        for label in found:
            labels[label] = value
            if label in LUNG_OPACITIES:
                labels["Lung Opacity"] = value
            if label == "Cardiomegaly":
                labels["Enlarged Cardiomediastinum"] = value
    labels["No Finding"] = int(not positive)
    labels["Support Devices"] = int(device)
    return labels


def split_of(number: int, seed: int) -> str:
    """The split of patient `number` (from 0): one in ten is dev, one in ten is test, at random places of each ten."""
    order = np.random.default_rng([seed, 10**6 + number // 10]).permutation(10)
    return {0: "dev", 1: "test"}.get(int(np.argwhere(order == number % 10)[0, 0]), "train")


def draw_patient(number: int, size: int, seed: int, films: bool = False) -> Patient:
    """Draw patient `number` (from 0) with images of `size` pixels; depends on nothing but the arguments.

    With `films` it is one with chest films only. An ill patient has at least one image that shows the lesion;
    ValueError if ten drawings have none.
    """
    for attempt in range(10):
        patient = draw_attempt(number, size, seed, attempt, films)
        names = [entry["name"] for view in patient.views for entry in view.picture.boxes]
        if patient.condition is None or any(not name.startswith("possible") for name in names):
            return patient
    raise ValueError(f"the lesion of {patient.uid} cannot be seen in images of {size} × {size} pixels")


def draw_attempt(number: int, size: int, seed: int, attempt: int, films: bool) -> Patient:
    """One drawing of a patient, whether or not an image cuts the lesion."""
    rng = np.random.default_rng([seed, number, 0, attempt])
    split = split_of(number, seed)
    region, condition = draw_condition(number, split, seed, films)
    low, high = condition.ages if condition else (18, 80)
    age, sex = int(rng.integers(low, high + 1)), str(rng.choice(["female", "male"]))
    side = str(rng.choice(condition.sides)) if condition else ""
    place = str(rng.choice(condition.places)) if condition and condition.places else ""
    device, possible = None, None
    noise = np.random.default_rng([seed, number, 1, attempt])  # its own stream: its length depends on the size
    if region == "brain":
        place, side, views = draw_brain(rng, noise, condition, split, size, side)
    elif region == "abdomen":
        views = draw_ct(rng, noise, condition, side, place, size, int(rng.choice([2, 3])), draw_mm(rng, condition))
    else:
        shows = condition.shows if condition else (("CT",), ("XR",), ("CT", "XR"))[rng.integers(3)]
        shows = ("XR",) if films else shows
        mm = draw_mm(rng, condition)
        views = []
        if "XR" in shows:
            count = 1 if "CT" in shows else int(rng.choice([1, 2], p=[0.2, 0.8]))
            device, possible, views = draw_films(rng, noise, condition, side, place, size, count, mm)
        if "CT" in shows:
            slices = int(rng.choice([1, 2])) if "XR" in shows else int(rng.choice([2, 3]))
            views = views + draw_ct(rng, noise, condition, side, place, size, slices, mm)
    uid = f"PHA{number + 1:04d}"
    return Patient(uid, split, region, age, sex, condition, place, side, device, possible, views)


def draw_condition(number: int, split: str, seed: int, films: bool) -> tuple[str, Condition | None]:
    """The examined region and the condition (None is healthy); with `films` one that chest films show.

    Patients are dealt from shuffled decks, so that every condition is there. Some conditions are held out: one dev or
    test patient in four has such a condition, and no training patient has.
    """
    ten = number // 10
    everything = [c for group in CONDITIONS.values() for c in group if not films or "XR" in c.shows]
    if not films and ((split == "dev" and ten % 4 == 0) or (split == "test" and ten % 4 == 2)):
        held_out = [condition for condition in everything if condition.held_out]
        condition = held_out[(ten // 2) % len(held_out)]
        return condition.region, condition
    deck: list[tuple[str, Condition | None]] = [(region, None) for region in (FILM_CARDS if films else HEALTHY_CARDS)]
    for condition in everything:
        twice = condition.region == "brain" or condition.kind in FREQUENT
        deck += [(condition.region, condition)] * (0 if condition.held_out else 2 if twice else 1)
    order = np.random.default_rng([seed, 2 * 10**6 + number // len(deck)]).permutation(len(deck))
    return deck[order[number % len(deck)]]


def draw_mm(rng: np.random.Generator, condition: Condition | None) -> float:
    """The lesion's diameter in mm."""
    return float(rng.uniform(*condition.mm)) if condition else 0.0


def named(picture: Picture) -> Picture:
    """The picture with boxes under the names that readers see."""
    return replace(picture, boxes=[{**box, "name": BOX_NAMES.get(box["name"], box["name"])} for box in picture.boxes])


def draw_brain(
    rng: np.random.Generator, noise: np.random.Generator, condition: Condition | None, split: str, size: int, side: str
) -> tuple[str, str, list[View]]:
    """Place, side and two or three images: sequences of one slice, two planes, or a slice beside the lesion."""
    planes = [str(plane) for plane in rng.permutation(["axial", "coronal", "sagittal"])]
    if rng.uniform() < 0.4:
        planes.sort()  # axial, coronal, sagittal
    layout = str(rng.choice(["sequences", "planes", "beside"], p=[0.5, 0.3, 0.2]))
    sequences = [str(sequence) for sequence in rng.permutation(list(brain.SEQUENCES))]
    count = int(rng.choice([2, 3]))
    wanted = planes[:2] if layout == "planes" else planes[:1]
    kind, mm = (condition.kind, condition.mm) if condition else (None, (0.0, 0.0))
    head = brain.draw_head(rng, kind, mm, split, wanted)
    first = brain.cut_position(head, planes[0], split) if kind else brain.clear_position(rng, head, planes[0], split)
    shots = [(planes[0], first, sequence) for sequence in sequences[:count]]
    if layout == "planes":
        second = (
            brain.cut_position(head, planes[1], split) if kind else brain.clear_position(rng, head, planes[1], split)
        )
        shots[-1] = shots[-1] if second is None else (planes[1], second, shots[-1][2])
    elif layout == "beside":
        for plane in planes:
            clear = brain.clear_position(rng, head, plane, split)
            if clear is not None:
                shots[-1] = (plane, clear, shots[-1][2])
                break
    views = []
    for plane, position, sequence in shots:
        picture = finish(brain.render(head, sequence, plane, position, size, rng), size, noise, 0.02)
        views.append(View("MR", brain.SEQUENCES[sequence], plane, sequence, named(picture), position))
    if not head.lesions:
        return "", "", views
    place = "" if kind == "plaque" else brain.place_of(head.lesions[0].centre)
    return place, side if kind == "plaque" else head.lesions[0].side, views


def draw_ct(
    rng: np.random.Generator, noise: np.random.Generator, condition: Condition | None,
    side: str, place: str, size: int, count: int, mm: float,
) -> list[View]:  # fmt: skip
    """`count` CT slices: through the lesion without and with contrast, in a second plane, or at another level."""
    torso = body_ct.draw_torso(rng)
    chest = condition.region == "chest" if condition else bool(rng.uniform() < 0.5)
    window = "chest" if chest else "abdomen"
    if condition:
        torso = replace(torso, lesions=body_ct.draw_lesions(rng, torso, condition.kind, side, place, mm))
    level = float(torso.lesions[0].centre[2]) if condition else rng.uniform(15, 95) if chest else rng.uniform(-100, -30)
    level += rng.uniform(-2, 2)
    depth = float(torso.lesions[0].centre[1]) if condition else rng.uniform(-10, 25)
    away = level + (1 if level < (50 if chest else -70) else -1) * (mm / 2 + rng.uniform(16, 26))
    phases = [phase for phase in rng.permutation(list(body_ct.PHASES)) if not condition or phase in condition.looks]
    coronal = not condition or condition.kind not in ("effusion", "splenic infarct", "splenic lesion", "splenic cyst")
    shots = [("axial", level, phase) for phase in phases]
    rest = [("axial", away, phases[0])] + ([("coronal", depth, phases[0])] if coronal else [])
    shots = [shots[0], *(shots[1:] + rest)[:: int(rng.choice([1, -1]))]][:count]
    views = []
    for plane, position, phase in shots:
        picture = finish(body_ct.render(torso, window, str(phase), plane, position, size), size, noise, 0.018)
        views.append(View("CT", body_ct.PHASES[phase], plane, str(phase), named(picture), position))
    return views


def draw_films(
    rng: np.random.Generator, noise: np.random.Generator, condition: Condition | None,
    side: str, place: str, size: int, count: int, mm: float,
) -> tuple[str | None, chest_xray.Finding | None, list[View]]:  # fmt: skip
    """The support device, the uncertain finding, and `count` PA films."""
    zone = "lower" if place in ("lower lobe", "lung base") else "upper"
    labels = [label for label in condition.labels if label != "Consolidation"] if condition else []
    names = {"Edema": "edema", "Cardiomegaly": "cardiomegaly"}
    findings = [
        chest_xray.Finding(label, names.get(label, condition.kind if condition else ""), side, zone, mm)
        for label in labels
    ]
    possible = None
    if condition and rng.uniform() < 0.25 and not {"Pleural Effusion", "Atelectasis"} & set(labels):
        other = {"right": "left", "left": "right"}.get(side, str(rng.choice(["right", "left"])))
        label = str(rng.choice(["Pleural Effusion", "Atelectasis"]))
        possible = chest_xray.Finding(label, f"possible {label.lower()}", other, "lower", 36.0, 0.55)
        findings.append(possible)
    thorax = chest_xray.draw_thorax(rng, set(labels), bool(rng.uniform() < 0.2))
    views = []
    for film in range(count):
        picture = finish(chest_xray.render(thorax, findings, size, rng), size, noise, 0.015)
        views.append(View("XR", chest_xray.MODALITY, "PA", "XR", named(picture), 0.0, repeat=film > 0))
    return thorax.device, possible, views
