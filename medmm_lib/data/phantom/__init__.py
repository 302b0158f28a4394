"""The embedded phantom data set: drawn and averaged anatomy with lesions whose truth is known.

It is a test bed. It checks that code works and that a method can find what is surely there. Nothing that is measured
on it is a medical result.

`write` leaves MedPix 2.0's own file layout, with boxes, label maps and CheXpert labels beside it:

| file | content |
|---|---|
| `Case_topic.json` | one case a patient, with the case's texts and its topic |
| `Descriptions.json` | one entry an image: caption, age, sex, plane, modality, location |
| `uid_list.json` | patients of train, dev and test |
| `images/*.png`, `masks/*.png` | grey values, and label maps whose values are places in `schema.MASK_CLASSES` |
| `boxes.json` | lesions of each image: box in 0..1 and name; empty where the image shows none |
| `labels.json` | the 14 CheXpert labels of each chest film: 1, 0, or -1 for uncertain |
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from medmm_lib.data.phantom import texts
from medmm_lib.data.phantom.patients import Patient, draw_patient


def write(root: Path, *, patients: int = 240, size: int = 64, seed: int = 0, films: bool = False) -> None:
    """Write the data set to the new folder `root`, with images of `size` × `size` pixels.

    With `films` all patients are examined with chest films, and only with these.
    The same arguments give the same bytes. A patient depends on `seed`, its number and `size` only, not on how many
    patients there are. `root` appears whole or not at all; a folder that is already there is an error.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it to write the phantom data again")
    root.parent.mkdir(parents=True, exist_ok=True)
    neighbour = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        fill(neighbour, patients, size, seed, films)
        neighbour.chmod(0o755)
        neighbour.rename(root)
    except BaseException:
        shutil.rmtree(neighbour, ignore_errors=True)
        raise


def fill(folder: Path, patients: int, size: int, seed: int, films: bool) -> None:
    """Write all files of the data set into an empty folder."""
    cases, descriptions, boxes, labels = [], [], {}, {}
    split: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    used: set[str] = set()  # captions of earlier patients
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for number in range(patients):
        patient = draw_patient(number, size, seed, films)
        rng = np.random.default_rng([seed, number, 2])
        split[patient.split].append(patient.uid)
        images: dict[str, list[str]] = {"CT": [], "MR": [], "XR": []}
        own = []
        for place, view in enumerate(patient.views, start=1):
            name = f"{patient.uid}_im{place}"
            images[view.type].append(name)
            save(folder / "images" / f"{name}.png", view.picture.pixels)
            save(folder / "masks" / f"{name}.png", view.picture.mask)
            boxes[name] = view.picture.boxes
            if view.type == "XR":
                labels[name] = patient.labels
            caption = texts.caption(patient, view, rng)
            while caption in used:  # no two patients share a caption
                caption = texts.caption(patient, view, rng)
            own.append(caption)
            descriptions.append(description(patient, place - 1, name, caption))
        used.update(own)
        cases.append({
            "U_id": patient.uid, "TAC": images["CT"], "MRI": images["MR"], "XR": images["XR"],
            "Case": texts.case(patient, rng), "Topic": texts.topic(patient),
        })  # fmt: skip
    tables = {"Case_topic": cases, "Descriptions": descriptions, "uid_list": split, "boxes": boxes, "labels": labels}
    for name, content in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save(path: Path, pixels: np.ndarray) -> None:
    """Write 8-bit grey values [size, size] as PNG."""
    Image.fromarray(pixels).save(path, compress_level=6)


def description(patient: Patient, place: int, name: str, caption: str) -> dict:
    """The entry of one image in `Descriptions.json`."""
    view = patient.views[place]
    kidney = patient.place in ("upper pole", "lower pole", "renal pelvis")
    location, category = {
        "brain": ("Brain and Neuro", "Head"),
        "chest": ("Chest, Pulmonary", "Thorax"),
        "abdomen": ("Genitourinary", "Reproductive and Urinary System") if kidney else ("Gastrointestinal", "Abdomen"),
    }[patient.region]
    return {
        "Type": view.type, "U_id": patient.uid, "image": name,
        "Description": {
            "ACR Codes": texts.topic(patient)["ACR Code"], "Age": str(patient.age), "Caption": caption,
            "Figure Part": None, "Modality": view.modality,
            "Plane": view.plane if view.plane == "PA" else view.plane.capitalize(), "Sex": patient.sex,
        },
        "Location": location, "Location Category": category,
    }  # fmt: skip
