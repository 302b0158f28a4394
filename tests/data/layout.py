"""Writes small folders in MedPix 2.0's layout, with texts of our own."""

import json

import numpy as np
from PIL import Image


def case(uid, **changes):
    texts = {
        "Title": f"Case {uid}",
        "History": "40-year-old woman with a cough.",
        "Findings": f"A mass in the left lung of {uid}.",
        "Case Diagnosis": f"Diagnosis of {uid}",
        "Discussion": "Please see factoid.",
    }
    topic = {"Title": f"Disease {uid}", "Disease Discussion": f"Disease {uid} is rare in all of the people we know."}
    record = {"U_id": uid, "TAC": [f"{uid}_a"], "MRI": [], "Case": texts, "Topic": topic}
    return record | changes


def image(uid, name="a", description=None, **changes):
    texts = {
        "ACR Codes": "1.1",
        "Age": "40",
        "Caption": f"A mass in the left lung of {uid}, seen in {name}.",
        "Figure Part": None,
        "Modality": "CT - noncontrast",
        "Plane": "Axial",
        "Sex": "female",
    }
    record = {
        "Type": "CT",
        "U_id": uid,
        "image": f"{uid}_{name}",
        "Description": texts | (description or {}),
        "Location": "Chest, Pulmonary",
        "Location Category": "Thorax",
    }
    return record | changes


def write(folder, cases, images, splits=None):
    """A folder with a noise picture for each image record; cases go to train, dev and test in turn."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    uids = [record["U_id"] for record in cases]
    splits = splits or {"train": uids[::3], "dev": uids[1::3], "test": uids[2::3]}
    for name, content in (("Case_topic", cases), ("Descriptions", images), ("uid_list", splits)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=4))
    for number, record in enumerate(images):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{record['image']}.png")
    return folder


def small(folder, count=6, **write_options):
    uids = [f"T{number}" for number in range(count)]
    return write(folder, [case(uid) for uid in uids], [image(uid) for uid in uids], **write_options)
