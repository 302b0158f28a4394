import gzip

import pandas as pd
import pytest
from PIL import Image

import medmm_lib.data
from medmm_lib.data import mimic_cxr, splits
from medmm_lib.data.loaded import DataError
from medmm_lib.data.report_sections import sections
from medmm_lib.data.schema import CHEXPERT_LABELS, FEATURES, SPLITS

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  Cough for a week.

 TECHNIQUE:  Two views.

 FINDINGS:

 The lungs are clear.  The heart is
 not enlarged.

 IMPRESSION:

 No acute process.
"""


def folder(root, packed=True):
    """Four invented images of three patients; the second study has no report."""
    rows = [("a1", "50", "10000001", "train", "PA"), ("a2", "50", "10000001", "train", "LATERAL"),
            ("b1", "51", "11000002", "validate", "AP"), ("c1", "52", "12000003", "test", "XTABLE LATERAL")]  # fmt: skip
    columns = ["dicom_id", "study_id", "subject_id", "split", "ViewPosition"]
    table = pd.DataFrame(rows, columns=columns)
    labels = pd.DataFrame(index=range(2), columns=CHEXPERT_LABELS, dtype=float)
    labels.loc[0, ["Edema", "Fracture", "Pneumonia"]] = [1.0, 0.0, -1.0]
    labels.insert(0, "study_id", ["50", "51"])
    labels.insert(0, "subject_id", ["10000001", "11000002"])
    end = ".csv.gz" if packed else ".csv"
    root.mkdir(parents=True, exist_ok=True)
    table.drop(columns="ViewPosition").to_csv(root / f"mimic-cxr-2.0.0-split{end}", index=False)
    table[["dicom_id", "ViewPosition"]].to_csv(root / f"mimic-cxr-2.0.0-metadata{end}", index=False)
    labels.to_csv(root / f"mimic-cxr-2.0.0-chexpert{end}", index=False)
    for name, study, subject, *_ in rows:
        place = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * len(name)).save(place / f"{name}.jpg")
        if study != "51":
            place.with_suffix(".txt").write_text(REPORT)
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_becomes_the_schema(tmp_path, packed):
    loaded = mimic_cxr.read(folder(tmp_path, packed))
    assert all(loaded.dataset[split].features == FEATURES for split in SPLITS)
    assert splits.leakage(loaded.dataset.remove_columns(["image", "caption"])) == []
    first, second = loaded.dataset["train"]
    assert (first["findings"], first["caption"]) == (
        "The lungs are clear. The heart is not enlarged.",
        "No acute process.",
    )
    assert first["history"] == "Cough for a week."
    assert (first["plane"], second["plane"]) == ("frontal", "lateral")
    assert first["patient_id"] == second["patient_id"] == "10000001"
    mentioned = {name: value for name, value in first["labels"].items() if value is not None}
    assert mentioned == {"Edema": 1, "Fracture": 0, "Pneumonia": -1}


def test_what_is_not_there_is_null_and_counted(tmp_path):
    loaded = mimic_cxr.read(folder(tmp_path))
    [silent] = loaded.dataset["validation"]
    assert silent["findings"] is None
    assert silent["caption"] is None
    [other] = loaded.dataset["test"]
    assert other["labels"] is None
    assert loaded.report.unmapped["plane"] == {"XTABLE LATERAL": 1}
    assert loaded.report.note.startswith("1 images have no report text: expected")


def test_a_part_of_the_pictures_is_enough_and_reports_may_lie_elsewhere(tmp_path):
    root = folder(tmp_path / "mimic-cxr-jpg")
    (root / "files/p10/p10000001/s50/a2.jpg").unlink()
    reports = tmp_path / "mimic-cxr-reports" / "files" / "p10" / "p10000001"
    reports.mkdir(parents=True)
    (root / "files/p10/p10000001/s50.txt").rename(reports / "s50.txt")
    loaded = medmm_lib.data.loaded("mimic_cxr", tmp_path)
    assert loaded.report.removed == {"no picture in the folder": 1}
    assert loaded.dataset["train"]["caption"][:] == ["No acute process."]


def test_a_broken_picture_is_listed_and_too_many_are_refused(tmp_path):
    root = folder(tmp_path)
    (root / "files/p10/p10000001/s50/a2.jpg").write_bytes(b"")
    assert [skip.record for skip in mimic_cxr.read(root, max_skipped=0.5).report.skipped] == ["a2"]
    with pytest.raises(DataError, match="1 of 4 records"):
        mimic_cxr.read(root)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda root: (root / "mimic-cxr-2.0.0-split.csv.gz").unlink(), "holds no MIMIC-CXR-JPG"),
        (lambda root: (root / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink(), "has no mimic-cxr-.*-chexpert"),
        (lambda root: (root / "mimic-cxr-2.0.0-chexpert.csv.gz").write_bytes(b"text"), "can't be read"),
        (lambda root: (root / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(b"a,b\n")), "column dicom_id"),
        (lambda root: [path.unlink() for path in root.rglob("*.jpg")], "none of the 4 pictures"),
    ],
)  # fmt: skip
def test_a_folder_that_can_not_be_used_is_refused(tmp_path, break_it, told):
    root = folder(tmp_path)
    break_it(root)
    with pytest.raises(DataError, match=told):
        mimic_cxr.read(root)


def test_an_unknown_split_is_named(tmp_path):
    root = folder(tmp_path, packed=False)
    path = root / "mimic-cxr-2.0.0-split.csv"
    path.write_text(path.read_text().replace("validate", "holdout"))
    with pytest.raises(DataError, match="has the splits holdout; expected train, validate, test"):
        mimic_cxr.read(root)


@pytest.mark.parametrize("odd", ["/../../../etc", "..", "", "a b"])
def test_an_id_that_would_lead_out_of_the_folder_is_refused(tmp_path, odd):
    root = folder(tmp_path, packed=False)
    path = root / "mimic-cxr-2.0.0-split.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[0, "subject_id"] = odd
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"split\.csv has the subject_id .*; expected letters and digits"):
        mimic_cxr.read(root)


def test_the_fingerprint_is_that_of_names_tables_and_sizes(tmp_path):
    root = folder(tmp_path / "mimic-cxr-jpg")
    before = medmm_lib.data.fingerprint("mimic_cxr", tmp_path)
    assert medmm_lib.data.fingerprint("mimic_cxr", root) == before
    (root / "files/p10/p10000001/s50.txt").write_text("IMPRESSION: Another.")
    assert medmm_lib.data.fingerprint("mimic_cxr", root) != before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMPRESSION:  1. Normal.\n 2. Stable.", (None, "1. Normal. 2. Stable.", None)),
        ("TWO VIEWS\n\n HISTORY: Fall.\n\n No fracture.\n Lungs clear.", ("No fracture. Lungs clear.", None, "Fall.")),
        ("Compared to before, there is no change.", ("Compared to before, there is no change.", None, None)),
        ("FINDINGS AND IMPRESSION: Clear.", ("Clear.", None, None)),
        ("WET READ: 5 pm\n Something.\n\nFINDINGS: Clear.\nNOTIFICATION: By phone.", ("Clear.", None, None)),
        ("PA AND LATERAL VIEWS OF THE CHEST: Clear.", ("Clear.", None, None)),
        ("PORTABLE CHEST: Clear.\n\nCOMPARISON: None.", ("Clear.", None, None)),
        ("FINDINGS:\n LUNGS: Clear.\n HEART: Small.\n\nTECHNIQUE: AP.", ("LUNGS: Clear. HEART: Small.", None, None)),
        ("EXAMINATION: CHEST (PA AND LAT)\n\nIMPRESSION: Clear.", (None, "Clear.", None)),
        ("", (None, None, None)),
    ],
)  # fmt: skip
def test_reports_are_cut_at_their_headings(text, expected):
    assert tuple(sections(text).values()) == expected
