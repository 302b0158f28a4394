"""The phantom data set: layout, determinism, and texts and boxes that agree with the pixels."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import medmm_lib.data
from medmm_lib import paths
from medmm_lib.data import phantom
from medmm_lib.data.phantom import brain, texts
from medmm_lib.data.phantom.canvas import AXIS, CLASS, WHOLE_ORGAN
from medmm_lib.data.phantom.conditions import PLACES
from medmm_lib.data.phantom.patients import CONDITIONS, LUNG_OPACITIES, chexpert, draw_patient, split_of
from medmm_lib.data.schema import CHEXPERT_LABELS

PATIENTS = 60


class Written:
    """A written data set, read back."""

    def __init__(self, root):
        self.root = root
        self.cases = self.table("Case_topic")
        self.split = {uid: name for name, uids in self.table("uid_list").items() for uid in uids}
        self.images = {entry["image"]: entry for entry in self.table("Descriptions")}
        self.boxes, self.labels = self.table("boxes"), self.table("labels")

    def table(self, name):
        return json.loads((self.root / f"{name}.json").read_text(encoding="utf-8"))

    def pixels(self, folder, image):
        with Image.open(self.root / folder / f"{image}.png") as picture:
            assert picture.mode == "L"
            return np.asarray(picture)

    def caption(self, image):
        return self.images[image]["Description"]["Caption"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom") / "data"
    phantom.write(root, patients=PATIENTS, size=64, seed=3)
    return Written(root)


def test_same_arguments_give_same_bytes_and_patients_do_not_depend_on_their_number(data, tmp_path):
    for place, count in (("a", 6), ("b", 6), ("c", 8)):
        phantom.write(tmp_path / place, patients=count, size=32, seed=5)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in files}
    assert len(first) > 20
    for name, content in first.items():
        assert (tmp_path / "b" / name).read_bytes() == content, name
        if name.suffix == ".png":
            assert (tmp_path / "c" / name).read_bytes() == content, name
    assert Written(tmp_path / "c").cases[:6] == Written(tmp_path / "a").cases
    phantom.write(tmp_path / "d", patients=6, size=32, seed=6)
    assert Written(tmp_path / "d").cases != Written(tmp_path / "a").cases


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(phantom, "description", fail)
    with pytest.raises(OSError, match="disk full"):
        phantom.write(tmp_path / "data", patients=1, size=32)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten(tmp_path):
    with pytest.raises(FileExistsError, match="exists"):
        phantom.write(tmp_path, patients=1)


def test_layout_is_complete(data):
    uids = [case["U_id"] for case in data.cases]
    assert len(uids) == PATIENTS == len(set(uids)) == len(data.split)
    listed = [(image, kind) for case in data.cases for kind, key in (("CT", "TAC"), ("MR", "MRI"), ("XR", "XR"))
              for image in case[key]]  # fmt: skip
    assert sorted(image for image, _ in listed) == sorted(data.images) == sorted(data.boxes)
    assert all(data.images[image]["Type"] == kind for image, kind in listed)
    for folder in ("images", "masks"):
        assert sorted(path.stem for path in (data.root / folder).iterdir()) == sorted(data.images)
    assert {image for image, kind in listed if kind == "XR"} == set(data.labels)
    for image, entry in data.images.items():
        assert image.startswith(f"{entry['U_id']}_im")
        assert data.pixels("images", image).shape == data.pixels("masks", image).shape == (64, 64)
        assert data.pixels("masks", image).max() < len(CLASS)
        assert int(entry["Description"]["Age"]) > 0
        assert entry["Description"]["Sex"] in ("female", "male")
    assert 2.1 < len(data.images) / PATIENTS < 2.9
    assert {"Title", "History", "Findings"} <= set.intersection(*(set(case["Case"]) for case in data.cases))
    assert all(text.strip() for case in data.cases for part in ("Case", "Topic") for text in case[part].values())


def test_splits_keep_their_shares():
    splits = [split_of(number, 0) for number in range(100)]
    assert [splits.count(name) for name in ("train", "dev", "test")] == [80, 10, 10]


def test_held_out_conditions_are_not_in_training(data):
    held_out = {condition.title for group in CONDITIONS.values() for condition in group if condition.held_out}
    found = {(case["Case"]["Title"], data.split[case["U_id"]]) for case in data.cases}
    found = {(title, split) for title, split in found if title in held_out}
    assert len({title for title, _ in found}) >= 2
    assert all(split != "train" for _, split in found)
    shared = {}
    for case in data.cases:
        shared.setdefault(case["Topic"]["Title"], set()).add(data.split[case["U_id"]])
    assert {len(splits) > 1 for splits in shared.values()} == {True, False}


def test_boxes_enclose_the_lesion_pixels(data):
    lesions = 0
    for image, boxes in data.boxes.items():
        lesion = data.pixels("masks", image) == CLASS["lesion"]
        painted = [entry["box"] for entry in boxes if entry["name"] not in WHOLE_ORGAN]
        if not painted:
            assert not lesion.any(), image
            continue
        rows, columns = np.where(lesion)
        corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 64
        painted = np.array(painted)
        union = np.concatenate([painted[:, :2].min(axis=0), painted[:, 2:].max(axis=0)])
        assert np.allclose(union, corners, atol=1e-5), image
        lesions += 1
    assert lesions > 60


def test_about_a_third_of_the_images_shows_no_lesion_and_every_ill_patient_shows_one(data):
    empty = [image for image, boxes in data.boxes.items() if not boxes]
    assert 0.15 < len(empty) / len(data.boxes) < 0.45
    for case in data.cases:
        boxes = [entry for image in case["TAC"] + case["MRI"] + case["XR"] for entry in data.boxes[image]]
        assert bool(boxes) == (case["Case"]["Case Diagnosis"] != "Normal study"), case["U_id"]


def test_side_in_the_caption_is_the_side_in_the_pixels(data):
    checked = 0
    for image, entry in data.images.items():
        boxes = [box for box in data.boxes[image] if not box["name"].startswith("possible")]
        sentence = data.caption(image).split(".")[0]
        sides = set(re.findall(r"\b(right|left)\b", re.sub(r"(right|left) lobe of the liver", "", sentence)))
        if not boxes or len(sides) != 1 or entry["Description"]["Plane"] == "Sagittal":
            continue
        centre = np.mean([(box["box"][0] + box["box"][2]) / 2 for box in boxes])
        assert sides == {"right" if centre < 0.5 else "left"}, (image, sentence)
        checked += 1
    assert checked > 30


def test_denied_findings_are_absent(data):
    denied = 0
    regions = {"Head": "brain", "Thorax": "chest"}
    for image, entry in data.images.items():
        names = " ".join(box["name"] for box in data.boxes[image])
        region = regions.get(entry["Location Category"], "abdomen")
        for sentence in re.findall(r"(?:No|There is no|No evidence of) ([^.]*)\.", data.caption(image)):
            for phrase, forbidden in texts.DENIALS[region].items():
                if re.search(rf"\b{phrase}\b", sentence):
                    assert not any(word in names for word in forbidden), (image, sentence)
                    denied += 1
    assert denied > 40


def test_captions_say_when_a_slice_misses_the_lesion(data):
    for case in data.cases:
        if case["Case"]["Case Diagnosis"] == "Normal study":
            continue
        for image in case["TAC"] + case["MRI"]:
            missed = re.search("does not cut|outside of this slice", data.caption(image)) is not None
            assert missed == (not data.boxes[image]), image


def test_captions_have_a_fitting_length_and_uncertain_ones_hedge(data):
    for image in data.images:
        assert 5 <= len(data.caption(image).split()) <= 60
        if any(entry["name"].startswith("possible") for entry in data.boxes[image]):
            assert re.search("Possible|cannot be excluded", data.caption(image))
            assert -1 in data.labels[image].values()


def test_labels_follow_the_hierarchy(data):
    for labels in data.labels.values():
        assert list(labels) == CHEXPERT_LABELS
        assert all(labels["Lung Opacity"] == 1 for name in LUNG_OPACITIES if labels[name] == 1)
        assert labels["Cardiomegaly"] < 1 or labels["Enlarged Cardiomediastinum"] == 1
        positive = {name for name, value in labels.items() if value == 1} - {"No Finding", "Support Devices"}
        assert labels["No Finding"] == int(not positive)
    assert chexpert({"Edema"}, {"Atelectasis"}, False)["Lung Opacity"] == 1
    assert chexpert({"Fracture"}, {"Atelectasis"}, False)["Lung Opacity"] == -1


def test_no_caption_and_no_image_stands_in_two_patients(data):
    captions, images = {}, {}
    for image, entry in data.images.items():
        uid = entry["U_id"]
        assert captions.setdefault(data.caption(image), uid) == uid
        assert images.setdefault((data.root / "images" / f"{image}.png").read_bytes(), uid) == uid


def test_brain_slices_of_two_splits_are_several_mm_apart():
    places = {(plane, split): [] for plane in AXIS for split in ("train", "dev", "test")}
    for number in range(60):
        rng = np.random.default_rng([number, 9])
        for plane, split in places:
            head = brain.draw_head(rng, "mass" if number % 2 else None, (28, 50), split, [plane])
            position = brain.cut_position(head, plane, split) if head.lesions else None
            if position is None:
                position = brain.clear_position(rng, head, plane, split)
            if position is not None:
                across = brain.to_template(head, plane, position, 24)[..., AXIS[plane]]
                places[plane, split].append(abs(across) if plane == "sagittal" else across)
    for plane in AXIS:
        for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
            a, b = (np.sort(np.ravel(places[plane, split])) for split in (one, other))
            after = np.clip(np.searchsorted(b, a), 1, len(b) - 1)
            gap = np.minimum(abs(a - b[after]), abs(a - b[after - 1])).min()
            assert gap >= 4.9, (plane, one, other, gap)


def test_positions_of_written_brain_slices_lie_in_their_blocks():
    for number in range(40):
        patient = draw_patient(number, 16, 1)
        for view in patient.views:
            if view.type == "MR":
                blocks = brain.BLOCKS[view.plane][patient.split]
                assert any(brain.inside(view.position, block, view.plane) for block in blocks)


def test_boxes_agree_between_sizes():
    for number in range(14):
        small, large = draw_patient(number, 64, 2), draw_patient(number, 128, 2)
        for one, other in zip(small.views, large.views, strict=True):
            assert [box["name"] for box in one.picture.boxes] == [box["name"] for box in other.picture.boxes]
            for box, again in zip(one.picture.boxes, other.picture.boxes, strict=True):
                assert np.abs(np.array(box["box"]) - np.array(again["box"])).max() <= 2.5 / 64


def test_every_condition_has_a_text_for_its_places():
    for group in CONDITIONS.values():
        for condition in group:
            assert set(condition.places) <= set(PLACES)
            assert condition.about
            assert condition.differential


def test_two_processes_may_ask_for_the_data_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path)
    draw = phantom.fill

    def slower(folder, patients, size, seed, films):
        draw(folder, 2, size, seed, films)
        (other,) = tmp_path.glob("data/.phantom*")
        shutil.copytree(other, other.parent / other.name[1:].rpartition(".")[0])  # the other is done in the meantime

    monkeypatch.setattr(phantom, "fill", slower)
    made = medmm_lib.data.folder("phantom")
    assert (made / "uid_list.json").is_file()
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_films_only(tmp_path):
    phantom.write(tmp_path / "films", patients=40, films=True)
    dataset = medmm_lib.data.load("phantom_films", tmp_path / "films")
    rows = [row for part in dataset.values() for row in part]
    assert {row["modality"] for row in rows} == {"XR"}
    assert all(row["labels"]["No Finding"] is not None for row in rows)
    present = {name for row in rows for name, value in row["labels"].items() if value == 1}
    assert len(present) >= 10  # of 14, in forty patients
    assert len({row["patient_id"] for row in rows}) == 40
    assert len({row["caption"] for row in rows}) == len(rows)
