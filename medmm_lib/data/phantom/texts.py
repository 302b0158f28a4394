"""What is written about a phantom patient: a grammar with synonyms and negations that agrees with the pixels."""

import numpy as np

from medmm_lib.data.phantom import body_ct, brain, chest_xray
from medmm_lib.data.phantom.conditions import PLACES
from medmm_lib.data.phantom.patients import Patient, View

# What may be denied in a region, and the box names (or parts of them) that forbid the denial.
DENIALS: dict[str, dict[str, tuple[str, ...]]] = {
    "brain": {
        "haemorrhage": ("haemorrhage",), "infarct": ("infarct",), "midline shift": (), "hydrocephalus": (),
        "mass": ("mass", "meningioma", "abscess", "cyst"), "extra-axial collection": ("cyst", "meningioma"),
    },
    "chest": {
        "pleural effusion": ("effusion",), "consolidation": ("consolidation", "atelectasis"),
        "pneumothorax": ("pneumothorax",),
        "pulmonary nodule": ("nodule", "abscess"), "pleural thickening": ("thickening",), "rib fracture": ("fracture",),
    },
    "abdomen": {
        "focal liver lesion": ("liver", "hepatic", "cyst"), "renal mass": ("renal",), "splenic lesion": ("splenic",),
        "free fluid": (), "hydronephrosis": (), "renal calculus": ("calculus",),
    },
}  # fmt: skip
SEQUENCE_WORDS = {
    "T1": ("T1-weighted", "T1W"), "T2": ("T2-weighted", "T2W"), "FLAIR": ("FLAIR",),
    "plain": ("non-contrast CT", "unenhanced CT"), "contrast": ("contrast-enhanced CT", "post-contrast CT"),
    "XR": ("chest radiograph", "chest X-ray", "plain film of the chest"),
}  # fmt: skip
NORMAL = {
    "brain": ("a normal brain", "no abnormality of the brain", "unremarkable brain parenchyma and ventricles"),
    "chest": ("a normal chest", "clear lungs and a heart of normal size", "no abnormality of heart and lungs"),
    "abdomen": (
        "normal upper abdominal organs",
        "unremarkable liver, kidneys and spleen",
        "no abnormality of the abdomen",
    ),
}
HEALTHY_COMPLAINTS = {
    "brain": ("tension-type headache", "brief dizziness", "a minor head injury last week", "ringing in the ears"),
    "chest": ("a check before elective surgery", "a dry cough that has settled", "a pre-employment examination"),
    "abdomen": ("non-specific abdominal discomfort", "a check after a minor fall", "bloating after meals"),
}
HEALTHY_TOPICS = {
    "brain": "A normal MRI does not exclude every disease of the brain. Grey matter, white matter and cerebrospinal "
    "fluid are told apart by their signal on each sequence. Small asymmetries of the ventricles are common.",
    "chest": "On a normal study both lungs are clear and the diaphragm is sharply outlined. The heart takes up less "
    "than half of the thoracic width. Vessels taper towards the edge of the lung.",
    "abdomen": "On a normal CT the liver is slightly denser than the spleen before contrast. Both kidneys enhance "
    "equally. Bowel loops may hold gas or fluid.",
}
NUMBERS = ("no", "one", "two", "three", "four", "five")


def pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    """One of the options."""
    return str(options[rng.integers(len(options))])


def article(phrase: str) -> str:
    """The phrase with "a" or "an"; mass nouns stay bare."""
    if phrase.split()[0] in ("free", "airspace") or phrase.endswith(
        ("oedema", "lines", "opacities", "widening", "thickening", "cardiomegaly")
    ):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def person(patient: Patient) -> str:
    """Age and sex, such as "53-year-old man"."""
    adult = patient.age >= 18
    word = {"male": "man" if adult else "boy", "female": "woman" if adult else "girl"}[patient.sex]
    return f"{patient.age}-year-old {word}"


def where(patient: Patient) -> str:
    """The place of the condition in words, with the side."""
    side, place = patient.side, patient.place
    if place in ("heart", "mediastinum", ""):
        return ""
    if place in ("upper pole", "lower pole"):
        return f"at the {place} of the {side} kidney"
    if place == "spleen" or place.endswith("liver"):
        return f"in the {place}"
    fixed = {"both lungs": "in both lungs", "pleural space": f"on the {side}"}
    at = "at" if place in ("lung base", "lateral chest wall") else "in"
    return fixed.get(place, f"{at} the {side} {place}")


def size_mm(patient: Patient) -> float:
    """Longest side in mm of the condition's largest box over all images."""
    fields = {"MR": brain.FIELD, "CT": body_ct.FIELD, "XR": chest_xray.FIELD}
    sides = [
        max(b[2] - b[0], b[3] - b[1]) * fields[view.type]
        for view in patient.views for entry in view.picture.boxes if not entry["name"].startswith("possible")
        for b in [entry["box"]]
    ]  # fmt: skip
    return max(sides, default=0.0)


def size_word(patient: Patient, rng: np.random.Generator) -> str:
    """Small, medium-sized or large (or a synonym), for the region."""
    small, large = (34, 46) if patient.region == "brain" else (40, 54)
    mm = size_mm(patient)
    words = ("small",) if mm < small else ("large", "sizeable") if mm > large else ("medium-sized", "moderately sized")
    return pick(rng, words)


def sides_of(view: View, name: str) -> str:
    """Right, left or both: where the boxes called `name` lie in an image; the patient's left is at its right."""
    if view.plane == "sagittal":
        return "right" if view.position > 0 else "left"
    centres = [(entry["box"][0] + entry["box"][2]) / 2 for entry in view.picture.boxes if entry["name"] == name]
    found = {"right" if centre < 0.5 else "left" for centre in centres}
    return found.pop() if len(found) == 1 else "both"


def finding(patient: Patient, view: View, rng: np.random.Generator) -> str:
    """The condition as this image shows it: size, kind, place and look."""
    condition = patient.condition
    names = [entry["name"] for entry in view.picture.boxes if not entry["name"].startswith("possible")]
    noun = pick(rng, condition.nouns)
    look = condition.looks[view.sequence]
    if condition.kind in ("plaque", "metastasis"):
        place = where(patient)
        if condition.kind == "plaque":
            side = sides_of(view, names[0])
            place = "in both hemispheres" if side == "both" else f"in the {side} hemisphere"
        group = f"{NUMBERS[len(names)]} {noun}s" if len(names) > 1 else article(noun)
        return f"{group} {place}, {look}"
    sized = (
        condition.kind in brain.LOOKS
        or condition.kind in body_ct.SPHERES
        or condition.kind in ("effusion", "consolidation")
    )
    phrase = f"{size_word(patient, rng)} {noun}" if sized and rng.uniform() < 0.8 else noun
    return " ".join(part for part in (article(phrase), where(patient)) if part) + f", {look}"


def denial(patient: Patient, rng: np.random.Generator, count: int, film: bool) -> str:
    """A sentence that denies up to `count` findings that no image of the patient shows; fractures only on films."""
    names = " ".join(entry["name"] for view in patient.views for entry in view.picture.boxes)
    own = patient.condition.kind if patient.condition else ""
    free = [
        text for text, words in DENIALS[patient.region].items()
        if not any(word in names or word in own for word in words) and (film or text != "rib fracture")
    ]  # fmt: skip
    chosen = [str(text) for text in rng.permutation(free)[:count]]
    if not chosen:
        return ""
    joined = " or ".join([", ".join(chosen[:-1]), chosen[-1]] if len(chosen) > 1 else chosen)
    return pick(rng, (f"No {joined}.", f"There is no {joined}.", f"No evidence of {joined}."))


def caption(patient: Patient, view: View, rng: np.random.Generator) -> str:
    """One caption (5 to 60 words) that agrees with the image."""
    words = pick(rng, SEQUENCE_WORDS[view.sequence])
    thing = "" if view.type == "XR" else pick(rng, (" image", " slice", " section"))
    modality = pick(rng, ("", " MR")) if view.type == "MR" else ""
    body = f" of the {patient.region}" if view.type != "XR" and rng.uniform() < 0.5 else ""
    kind = {True: "Repeat PA", False: "PA"}[view.repeat] if view.type == "XR" else view.plane.capitalize()
    opening = f"{kind} {words}{modality}{thing}{body}"
    if rng.uniform() < 0.75:
        vowel = patient.age in (8, 11, 18) or 80 <= patient.age < 90
        opening += f" {pick(rng, ('of', 'in'))} {'an' if vowel else 'a'} {person(patient)}"
    verb = pick(rng, ("shows", "demonstrates", "reveals", "depicts"))
    seen = [entry for entry in view.picture.boxes if not entry["name"].startswith("possible")]
    sentences = []
    if patient.condition is None:
        sentences.append(f"{opening} {verb} {pick(rng, NORMAL[patient.region])}.")
    elif not seen:
        missed = ("this slice does not cut the known lesion", "the lesion lies outside of this slice")
        sentences.append(f"{opening}: {pick(rng, missed)}.")
    else:
        sentences.append(f"{opening} {verb} {finding(patient, view, rng)}.")
        if (
            view.type == "XR"
            and "Cardiomegaly" in patient.condition.labels
            and patient.condition.kind != "cardiomegaly"
        ):
            sentences.append(pick(rng, ("The heart is enlarged.", "There is cardiomegaly.")))
    if view.type == "XR":
        sentences += film_sentences(patient, rng)
    if rng.uniform() < 0.7:
        sentences.append(denial(patient, rng, int(rng.integers(1, 3)), view.type == "XR"))
    return " ".join(sentence for sentence in sentences if sentence)


def film_sentences(patient: Patient, rng: np.random.Generator) -> list[str]:
    """Sentences on a support device and on an uncertain finding."""
    sentences = []
    if patient.possible:
        sign, side = patient.possible.label.lower(), patient.possible.side
        sentences.append(
            pick(rng, (f"Possible small {sign} on the {side}.", f"A small {side} {sign} cannot be excluded."))
        )
    if patient.device:
        place = {
            "pacemaker": "pacemaker on the left",
            "central line": "central venous line",
            "tube": "endotracheal tube",
        }
        sentences.append(
            f"{article(place[patient.device]).capitalize()} is {pick(rng, ('in place', 'seen', 'noted'))}."
        )
    return sentences


def topic(patient: Patient) -> dict:
    """The topic of a case: general text on the condition and its place."""
    if patient.condition is None:
        title, text = f"Normal imaging, {patient.region}", HEALTHY_TOPICS[patient.region]
        return {"Title": title, "Disease Discussion": text, "ACR Code": "1.1", "Category": "Normal variant"}
    condition, place = patient.condition, patient.place
    title = condition.title + (f", {place}" if place else "")
    text = " ".join(condition.about) + (f"\n\n{PLACES[place]}" if place else "")
    return {
        "Title": title, "Disease Discussion": text,
        "ACR Code": {"brain": "1.3", "chest": "6.3", "abdomen": "7.3"}[patient.region],
        "Category": {"brain": "Neuro", "chest": "Chest", "abdomen": "Abdomen"}[patient.region],
        "Keywords": ", ".join([condition.title.lower(), *([place] if place else [])]),
    }  # fmt: skip


def case(patient: Patient, rng: np.random.Generator) -> dict:
    """The case's texts; keys that have nothing to say are absent, as in MedPix."""
    condition = patient.condition
    other = {"right": "left", "left": "right"}.get(patient.side, "")
    if condition is None:
        complaint = pick(rng, HEALTHY_COMPLAINTS[patient.region])
        title, diagnosis = f"Normal study of the {patient.region}", "Normal study"
        findings = [pick(rng, NORMAL[patient.region]).capitalize() + "."]
    else:
        complaint = pick(rng, condition.complaints).format(side=patient.side, other=other)
        title = diagnosis = condition.title
        shown = next(v for v in patient.views if any(not b["name"].startswith("possible") for b in v.picture.boxes))
        text = finding(patient, shown, rng)
        findings = [f"{text[0].upper()}{text[1:]}."]
        if condition.kind in brain.LOOKS or condition.kind in body_ct.SPHERES:
            alone = len(shown.picture.boxes) == 1
            findings.append(f"It measures about {size_mm(patient) / 10:.1f} cm." if alone else "")
    if patient.views[0].type == "XR":
        findings += film_sentences(patient, rng)
    findings.append(denial(patient, rng, 3, patient.views[0].type == "XR"))
    event = complaint.startswith(("a check", "a finding", "a follow-up", "a lesion", "a pre-"))  # not a symptom
    lead = "{}, {}." if event else pick(rng, ("{} with {}.", "{} presents with {}.", "{} referred because of {}."))
    texts = {"Title": title, "History": lead.format(person(patient), complaint)}
    if rng.uniform() < 0.7:
        heat = rng.uniform(38.2, 39.4) if "fever" in complaint else rng.uniform(36.3, 37.1)
        texts["Exam"] = f"Temperature {heat:.1f} °C, pulse {rng.integers(62, 98)} per minute."
    texts["Findings"] = " ".join(sentence for sentence in findings if sentence)
    if condition:
        if rng.uniform() < 0.9:
            texts["Differential Diagnosis"] = "\n".join(condition.differential)
        texts["Case Diagnosis"] = diagnosis
        if rng.uniform() < 0.6:
            texts["Diagnosis By"] = condition.proof
        if rng.uniform() < 0.6:
            texts["Treatment & Follow Up"] = condition.treatment
        if rng.uniform() < 0.8:
            start = pick(rng, ("The picture is in keeping with", "Imaging and history fit", "The findings favour"))
            texts["Discussion"] = f"{start} {diagnosis[0].lower()}{diagnosis[1:]}. {pick(rng, condition.about)}"
    else:
        texts["Case Diagnosis"] = diagnosis
    return texts
