"""The conditions of the phantom patients: how each is drawn and what is written about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """One condition. Texts may hold {side} and {other} (the patient's sides) where the complaint depends on it."""

    title: str
    region: str  # brain, chest, abdomen
    kind: str  # name of the lesion, as the renderers know it
    nouns: tuple[str, ...]  # phrases for a caption, without article
    mm: tuple[float, float]  # diameter in mm
    places: tuple[str, ...]  # empty for the brain, where the place follows from the drawing
    ages: tuple[int, int]  # years
    complaints: tuple[str, ...]
    differential: tuple[str, ...]
    about: tuple[str, ...]  # sentences of the topic
    looks: dict[str, str]  # MR sequence, CT phase or XR: how the lesion looks
    proof: str  # how the diagnosis is made
    treatment: str
    labels: tuple[str, ...] = ()  # CheXpert labels of a film, without those the hierarchy adds
    shows: tuple[str, ...] = ()  # CT, XR; what chest patients are examined with
    sides: tuple[str, ...] = ("right", "left")
    held_out: bool = False  # never in training patients


# Topic sentences on places.
PLACES = {
    "frontal lobe": "Frontal lesions may change behaviour or cause weakness of the opposite side of the body.",
    "temporal lobe": "Temporal lesions are a frequent source of seizures and may disturb memory or language.",
    "parietal lobe": "Parietal lesions may cause loss of sensation or neglect on the opposite side.",
    "occipital lobe": "Occipital lesions typically cause a visual field defect on the opposite side.",
    "basal ganglia": "The basal ganglia border on the internal capsule, so even small lesions may cause dense "
    "weakness.",
    "cerebellar hemisphere": "Cerebellar lesions cause clumsiness on the same side, and swelling may block the "
    "fourth ventricle.",
    "upper lobe": "In the upper lobes, tuberculosis should be considered when the history fits.",
    "lower lobe": "The lower lobes are dependent, and aspirated material tends to collect there.",
    "pleural space": "Free fluid and free air move with gravity, so the patient's position changes the picture.",
    "heart": "Heart size is judged on a PA film taken in full inspiration; a value above half of the thoracic "
    "width is enlarged.",
    "both lungs": "A process on both sides that is densest around the hila suggests fluid rather than infection.",
    "mediastinum": "Dividing the mediastinum into compartments narrows the differential diagnosis.",
    "lung base": "Lung bases expand poorly in pain, after surgery and in bed-bound patients.",
    "lateral chest wall": "The lateral parts of the middle ribs carry most of the load in blunt injury.",
    "right lobe of the liver": "The right lobe receives most of the portal flow and is involved more often than "
    "the left.",
    "left lobe of the liver": "The left lobe lies close to the stomach and the pericardium, which matters for "
    "drainage.",
    "upper pole": "At the upper pole of the kidney, an adrenal origin has to be excluded.",
    "lower pole": "Lower pole lesions of the kidney are often reached well by a percutaneous approach.",
    "renal pelvis": "Stones in the renal pelvis may obstruct the outflow of urine.",
    "spleen": "The spleen is a rare site of isolated disease, and its lesions are often found by chance.",
}  # fmt: skip
