import io

import pandas as pd
import pytest
from PIL import Image

import medmm_lib.data
from medmm_lib.data import questions, roco, splits
from medmm_lib.data.loaded import DataError
from medmm_lib.data.named_kind import named_kind
from medmm_lib.data.schema import FEATURES, SPLITS

CAPTIONS = {
    "train": ["Axial CT of the pelvis with a cyst.", "Ultrasound of the liver.", "Chest radiograph, lateral view."],
    "validation": ["Coronal and sagittal MRI of the knee.", "Coronary angiogram with a stent."],
    "test": ["Sagittal T2-weighted image of the spine.", "A hypoechoic nodule."],
}


def jpeg(path, grey=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path, "JPEG")


def roco_folder(root, article="PMC{}_fig.jpg"):
    number = 0
    for split, captions in CAPTIONS.items():
        part = root / split / "radiology"
        names = [f"ROCO_{number + place:05}" for place in range(len(captions))]
        number += len(captions)
        for name in names:
            jpeg(part / "images" / f"{name}.jpg")
        (part / "captions.txt").write_text("".join(f"{n}\t {c}\n" for n, c in zip(names, captions, strict=True)))
        lines = [f"{name},{article.format(int(name[-5:]))},CC BY" for name in names]
        (part / "licences.txt").write_text("\n".join(["ROCO_ID,PMC_ID,CC", *lines]))
    return root


def rocov2_folder(root):
    licences = []
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        ids = [f"ROCOv2_2023_{name}_{place:06}" for place in range(len(CAPTIONS[split]))]
        pd.DataFrame({"ID": ids, "Caption": CAPTIONS[split]}).to_csv(root / f"{name}_captions.csv", index=False)
        concepts = ["C0024485;C0817096"] + ["C0041618"] * (len(ids) - 1)
        pd.DataFrame({"ID": ids, "CUIs": concepts}).to_csv(root / f"{name}_concepts_manual.csv", index=False)
        licences += [(one, f"PMC{place}{name}", "CC BY [A]", "https://a.example") for place, one in enumerate(ids)]
        for one in ids:
            jpeg(root / f"{name}_images" / name / f"{one}.jpg")
    columns = ["ID", "PMCID", "Attribution", "Link"]
    pd.DataFrame(licences, columns=columns).to_csv(root / "license_information.csv", index=False)
    return root


def hub_folder(root):
    (root / "data").mkdir(parents=True)
    for split, captions in CAPTIONS.items():
        rows = []
        for place, caption in enumerate(captions):
            buffer = io.BytesIO()
            Image.new("L", (8, 8), 10 * place).save(buffer, "JPEG")
            picture = {"bytes": buffer.getvalue(), "path": None}
            rows.append({"image": picture, "image_id": f"ROCOv2_2023_{split}_{place}", "caption": caption, "cui": []})
        pd.DataFrame(rows).to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def rows(loaded):
    return {row["caption"]: row for split in SPLITS for row in loaded.dataset[split]}


@pytest.mark.parametrize("write", [roco_folder, rocov2_folder, hub_folder])
def test_each_layout_becomes_the_schema_without_leaks(tmp_path, write):
    loaded = roco.read(write(tmp_path))
    assert all(loaded.dataset[split].features == FEATURES for split in SPLITS)
    assert splits.leakage(loaded.dataset.remove_columns("image")) == []
    assert loaded.dataset["train"][0]["image"].size == (8, 8)
    assert loaded.report.records == sum(map(len, CAPTIONS.values()))
    assert loaded.report.images + loaded.report.removed.total() == loaded.report.records


def test_rules_leave_out_ultrasound_and_fluoroscopy_and_are_counted(tmp_path):
    loaded = roco.read(roco_folder(tmp_path))
    assert loaded.report.removed == {
        "US: names ultrasound": 1,
        "fluoroscopy: names an angiogram taken through a catheter": 1,
        "US: describes echoes": 1,
    }
    assert "left out: US: names ultrasound 1" in str(loaded.report)
    found = rows(loaded)
    kinds = {text: row["modality"] for text, row in found.items()}
    assert kinds["Axial CT of the pelvis with a cyst."] == "CT"
    assert kinds["Chest radiograph, lateral view."] == "XR"
    assert found["Axial CT of the pelvis with a cyst."]["plane"] == "axial"
    assert found["Chest radiograph, lateral view."]["plane"] == "lateral"
    assert found["Coronal and sagittal MRI of the knee."]["plane"] is None
    assert found["Axial CT of the pelvis with a cyst."]["licence"] == "CC BY"


def test_curated_concepts_decide_where_there_are_some(tmp_path):
    loaded = roco.read(rocov2_folder(tmp_path))
    assert loaded.report.removed == {"US: has the curated concept US": 4}
    assert set(loaded.dataset["train"]["modality"]) == {"MR"}


@pytest.mark.parametrize(
    ("caption", "concept", "kind"),
    [
        ("Barium swallow", "C1306645", "fluoroscopy"),
        ("Chest X-ray", "C1306645", "XR"),
        ("CT angiography", "C0002978", "CT"),
        ("Stenosis of the artery", "C0002978", "fluoroscopy"),
        ("Ultrasound had shown nothing", "C0040405", "CT"),
    ],
)
def test_words_count_beside_a_concept_where_it_does_not_tell(caption, concept, kind):
    assert roco.kind_of(caption, (concept,))[0] == kind


@pytest.mark.parametrize(
    ("caption", "plane"),
    [
        ("Frontal chest radiograph", "frontal"),
        ("Anteroposterior radiograph of the pelvis", "frontal"),
        ("PA view, X-ray", "frontal"),
        ("Frontal and lateral chest radiographs", None),
        ("Panoramic radiograph of the lateral incisor", None),
        ("Radiograph with a PA catheter", None),
        ("CT of the transverse colon", None),
        ("Transverse CT of the colon", "axial"),
        ("MRI of the superior sagittal sinus", None),
        ("Mid-sagittal MRI", "sagittal"),
    ],
)
def test_the_plane_that_a_caption_names(tmp_path, caption, plane):
    root = roco_folder(tmp_path)
    (root / "train" / "radiology" / "captions.txt").write_text(f"ROCO_00000\t{caption}\n")
    assert roco.read(root).dataset["train"]["plane"][:] == [plane]


@pytest.mark.parametrize("below", ["data", "all_data", "roco/data", "roco/all_data"])
def test_layouts_are_found_where_their_places_leave_them(tmp_path, below):
    root = roco_folder(tmp_path / below)
    assert roco.find(tmp_path) == root


def test_a_split_that_is_not_there_is_named(tmp_path):
    root = roco_folder(tmp_path / "a")
    (root / "validation" / "radiology" / "captions.txt").unlink()
    with pytest.raises(DataError, match=r"validation/radiology/captions\.txt is missing"):
        roco.read(root)
    root = hub_folder(tmp_path / "b")
    next((root / "data").glob("validation-*")).unlink()
    with pytest.raises(DataError, match="has no data/validation"):
        roco.read(root)


def test_raw_data_keeps_its_official_split(tmp_path):
    root = roco_folder(tmp_path, article="PMC7_fig{}.jpg")
    assert roco.read(root, raw=True).report.by_split == {"train": 2, "validation": 1, "test": 1}


def test_figures_of_one_article_are_one_case_in_one_split(tmp_path):
    loaded = roco.read(roco_folder(tmp_path, article="PMC7_fig{}.jpg"))
    assert loaded.report.by_split == {"train": 4, "validation": 0, "test": 0}
    assert loaded.report.cases == 1
    assert "2 figures changed their split" in loaded.report.note


def test_where_the_article_is_not_known_a_figure_is_a_case(tmp_path):
    loaded = roco.read(hub_folder(tmp_path))
    assert loaded.report.cases == loaded.report.images
    assert "article is not known" in loaded.report.note


def test_missing_and_broken_pictures_are_told_apart(tmp_path):
    root = roco_folder(tmp_path)
    (root / "train" / "radiology" / "images" / "ROCO_00000.jpg").unlink()
    (root / "test" / "radiology" / "images" / "ROCO_00005.jpg").write_bytes(b"no picture")
    report = roco.read(root, max_skipped=0.2).report
    assert report.removed["no picture in the folder"] == 1
    assert [skip.record for skip in report.skipped] == ["ROCO_00005"]
    with pytest.raises(DataError, match=r"had to be skipped.*ROCO_00005"):
        roco.read(root)


def test_a_folder_without_pictures_or_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no ROCO: expected"):
        roco.read(tmp_path)
    root = roco_folder(tmp_path)
    for picture in root.rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(DataError, match="no picture to any of them"):
        roco.read(root)


def test_a_table_without_its_columns_is_named(tmp_path):
    root = rocov2_folder(tmp_path)
    (root / "valid_captions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"valid_captions.csv has no column Caption, ID; found a, b"):
        roco.read(root)


def test_it_is_found_below_the_data_folder_and_reads_the_same_there(tmp_path):
    root = roco_folder(tmp_path / "roco")
    assert medmm_lib.data.load("roco", tmp_path)["train"].num_rows == 2
    assert medmm_lib.data.fingerprint("roco", tmp_path) == medmm_lib.data.fingerprint("roco", root)
    (root / "README.md").write_text("beside it")
    assert medmm_lib.data.fingerprint("roco", tmp_path) == medmm_lib.data.fingerprint("roco", root)
    before = medmm_lib.data.fingerprint("roco", root)
    jpeg(root / "train" / "radiology" / "images" / "ROCO_00000.jpg", grey=200)
    assert medmm_lib.data.fingerprint("roco", root) != before


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("CT angiography of the aorta", "CT"),
        ("MR cholangiopancreatography (MRCP)", "MR"),
        ("Ultrasound-guided biopsy, CT image", "CT"),
        ("Positron emission tomography", "NM"),
        ("Optical coherence tomography of the macula", None),
        ("Fluorescein angiography of the retina", None),
        ("TEE showing a vegetation", "US"),
        ("The tee of the golfer", None),
        ("Apical four-chamber view of the heart", "US"),
        ("Cardiac MRI, four-chamber view", "MR"),
        ("Voiding cystourethrogram", "fluoroscopy"),
        ("Barium enema", "fluoroscopy"),
        ("Brain MRI. Ultrasound was normal.", "MR"),
        ("Case of Mr Smith, photograph", None),
        ("CMR, axial four-chamber view", "MR"),
        ("Apical lordotic view of the chest", None),
        ("Ultrasonography-guided puncture, CT", "CT"),
        ("Filling defect after contrast in the pulmonary artery", None),
        ("Orthopantomogram", "XR"),
        ("Photograph of the excised mass", None),
    ],
)
def test_the_kind_that_a_caption_names(caption, kind):
    found = named_kind(caption)
    assert (found.kind if found else None) == kind


def test_its_questions_name_every_kind_of_image(tmp_path):
    root = roco_folder(tmp_path)
    captions = root / "train" / "radiology" / "captions.txt"
    captions.write_text("ROCO_00000\tFDG PET of the chest.\nROCO_00002\tX-ray of the chest.\n")
    made = questions.make(roco.read(root).dataset)["train"]
    answers = {row["answer"] for row in made if row["question_id"].endswith("-modality")}
    assert answers == {"nuclear medicine image", "X-ray image"}
