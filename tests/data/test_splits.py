import pytest
from datasets import concatenate_datasets

from medmm_lib.data import medpix, splits
from medmm_lib.data.schema import SPLITS
from tests.data import layout


def dataset(folder, images, count=6, **options):
    return medpix.read(layout.write(folder, [layout.case(f"T{n}") for n in range(count)], images, **options)).dataset


def test_clean_data_leaks_nothing(tmp_path):
    assert splits.leakage(dataset(tmp_path, [layout.image(f"T{n}") for n in range(6)])) == []


def test_a_shared_caption_is_found_and_named(tmp_path):
    images = [layout.image(f"T{n}", description={"Caption": "The same words."} if n < 2 else None) for n in range(6)]
    assert splits.leakage(dataset(tmp_path, images)) == ["caption in train and validation: The same words."]


def test_identical_image_bytes_are_found(tmp_path):
    data = dataset(tmp_path, [layout.image(f"T{n}") for n in range(6)])
    (tmp_path / "images" / "T4_a.png").write_bytes((tmp_path / "images" / "T5_a.png").read_bytes())
    assert splits.leakage_counts(data) == {"patient": 0, "case": 0, "image": 1, "caption": 0, "topic text": 0}


def test_a_patient_in_two_splits_is_found(tmp_path):
    data = dataset(tmp_path, [layout.image(f"T{n}") for n in range(6)])
    data["test"] = concatenate_datasets([data["test"], data["train"].select([0])])
    assert {line.partition(" in ")[0] for line in splits.leakage(data)} == {"patient", "case", "image", "caption"}


def test_a_null_caption_is_no_leak(tmp_path):
    images = [layout.image(f"T{n}", description={"Caption": "N/A"}) for n in range(6)]
    assert splits.leakage(dataset(tmp_path, images)) == []


def test_stratified_keeps_patients_and_shared_captions_together(tmp_path):
    images = [layout.image(f"T{n}", name) for n in range(30) for name in ("a", "b")]
    for record in images[:4]:
        record["Description"]["Caption"] = "One caption for two cases."
    data = dataset(tmp_path, images, count=30)
    new = splits.stratified(data, validation=5, test=5, seed=1)
    assert splits.leakage(new) == []
    assert sum(new.num_rows.values()) == 60
    cases = [len(set(new[split]["case_id"])) for split in SPLITS]
    assert cases == [20, 5, 5]
    again = splits.stratified(data, validation=5, test=5, seed=1)
    assert all(again[split]["image_id"][:] == new[split]["image_id"][:] for split in SPLITS)
    other = splits.stratified(data, validation=5, test=5, seed=2)
    assert other["test"]["image_id"][:] != new["test"]["image_id"][:]


def test_stratified_draws_evenly_over_regions(tmp_path):
    images = [layout.image(f"T{n}", **{"Location Category": "Head" if n % 2 else "Thorax"}) for n in range(40)]
    new = splits.stratified(dataset(tmp_path, images, count=40), validation=10, test=10, seed=0)
    assert new["test"]["location_category"].count("Head") == 5


def test_cases_that_share_captions_stay_in_training(tmp_path):
    images = [layout.image(f"T{n}") for n in range(20)]
    for record in images[:8]:
        record["Description"]["Caption"] = "One caption for eight cases."
    new = splits.stratified(dataset(tmp_path, images, count=20), validation=4, test=4, seed=0)
    assert new.num_rows == {"train": 12, "validation": 4, "test": 4}
    assert {f"T{n}" for n in range(8)} <= set(new["train"]["case_id"])


def test_one_case_of_a_kind_is_no_obstacle(tmp_path):
    images = [layout.image(f"T{n}", **{"Location Category": "Head" if n else "Thorax"}) for n in range(40)]
    new = splits.stratified(dataset(tmp_path, images, count=40), validation=5, test=5, seed=0)
    assert new.num_rows == {"train": 30, "validation": 5, "test": 5}


def test_topic_texts_are_compared_by_their_words(tmp_path):
    cases = [layout.case(f"T{n}") for n in range(3)]
    texts = ("Glioma is a tumour. It is found in the brain.", "glioma is a tumour - it is found in the Brain", "Else.")
    for record, text in zip(cases, texts, strict=True):
        record["Topic"] = {"Title": "Glioma", "Disease Discussion": text}
    data = medpix.read(layout.write(tmp_path, cases, [layout.image(f"T{n}") for n in range(3)])).dataset
    assert len(splits.shared_topics(data)) == 1


def test_stratified_refuses_more_cases_than_there_are(tmp_path):
    with pytest.raises(ValueError, match="6 cases can't give 3"):
        splits.stratified(dataset(tmp_path, [layout.image(f"T{n}") for n in range(6)]), validation=3, test=3, seed=0)


def test_unseen_conditions_ignores_case_and_full_stops(tmp_path):
    cases = [layout.case(f"T{n}") for n in range(3)]
    for record, diagnosis in zip(cases, ["Glioma", "glioma.", "Cyst"], strict=True):
        record["Case"]["Case Diagnosis"] = diagnosis
    data = medpix.read(layout.write(tmp_path, cases, [layout.image(f"T{n}") for n in range(3)])).dataset
    assert splits.unseen_conditions(data) == (1, 2)
