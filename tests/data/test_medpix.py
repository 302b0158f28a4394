import json

import pytest

import medmm_lib.data
from medmm_lib.data import medpix, splits
from medmm_lib.data.loaded import DataError
from medmm_lib.data.schema import FEATURES, SPLITS
from tests.data import layout


def rows(loaded):
    return {row["image_id"]: row for split in SPLITS for row in loaded.dataset[split]}


def test_a_folder_becomes_the_schema_split_by_its_own_list(tmp_path):
    loaded = medpix.read(layout.small(tmp_path))
    assert all(loaded.dataset[split].features == FEATURES for split in SPLITS)
    assert [loaded.dataset[split]["case_id"][:] for split in SPLITS] == [["T0", "T3"], ["T1", "T4"], ["T2", "T5"]]
    row = rows(loaded)["T0_a"]
    assert (row["modality"], row["sequence"], row["plane"], row["age"]) == ("CT", "no contrast", "axial", 40)
    assert row["topic"] == "Disease T0\n\nDisease T0 is rare in all of the people we know."
    assert row["boxes"] is None
    assert row["mask"] is None
    assert row["labels"] is None


def test_the_parent_folder_is_found_too(tmp_path):
    layout.small(tmp_path / "medpix-2.0")
    assert medmm_lib.data.load("medpix", tmp_path)["train"].num_rows == 2


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("Caption", "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."),
        ("Sex", "N/A"),
        ("Plane", "NOS - Not specified"),
    ]
    + [("Caption", text) for text in ("NA", "None.", "N/C", "Unknown.", "see factoid", "Please see factoid.", " ")],
)
def test_placeholders_become_null_and_are_counted(tmp_path, field, text):
    images = [layout.image("T0", description={field: text}), layout.image("T1"), layout.image("T2")]
    folder = layout.write(tmp_path, [layout.case(f"T{n}") for n in range(3)], images)
    loaded = medpix.read(folder)
    assert rows(loaded)["T0_a"][field.lower()] is None
    assert loaded.report.nulled[field.lower()] == {text.strip(): 1}
    if text.strip():
        assert medpix.read(folder, raw=True).dataset["train"][0][field.lower()] is not None


@pytest.mark.parametrize(
    "text", ["None required", "No mass.", "Nasal mass", "كتلة في الرئة", "Non-contributory history of trauma"]
)
def test_texts_that_say_something_stay(tmp_path, text):
    loaded = medpix.read(
        layout.write(tmp_path, [layout.case("T0")], [layout.image("T0", description={"Caption": text})])
    )
    assert rows(loaded)["T0_a"]["caption"] == text


def test_age_zero_means_not_entered(tmp_path):
    loaded = medpix.read(layout.write(tmp_path, [layout.case("T0")], [layout.image("T0", description={"Age": "0"})]))
    assert rows(loaded)["T0_a"]["age"] is None
    assert loaded.report.nulled["age"] == {"0": 1}


@pytest.mark.parametrize(
    ("description", "plane"),
    [
        ({"Plane": "Multiple or Montage"}, "montage"),
        ({"Modality": "MR - Montage", "Plane": "Axial"}, "montage"),
        ({"Plane": "3D Reconstruction"}, "3d reconstruction"),
        ({"Modality": "Virtual Colonoscopy"}, "3d reconstruction"),
        ({"Plane": "Photograph"}, "photograph"),
    ],
)
def test_what_is_not_one_plane_is_marked(tmp_path, description, plane):
    loaded = medpix.read(layout.write(tmp_path, [layout.case("T0")], [layout.image("T0", description=description)]))
    assert rows(loaded)["T0_a"]["plane"] == plane
    assert loaded.report.marked == {plane: 1}


def test_an_unknown_plane_is_kept_and_reported(tmp_path):
    loaded = medpix.read(
        layout.write(tmp_path, [layout.case("T0")], [layout.image("T0", description={"Plane": "Oblique"})])
    )
    assert rows(loaded)["T0_a"]["plane"] == "Oblique"
    assert loaded.report.unmapped["plane"] == {"Oblique": 1}


BAD_IMAGES = {
    "unknown key": (layout.image("T0", Surprise=1), "Surprise"),
    "wrong type": (layout.image("T0", description={"Age": 40}), "Description.Age"),
    "unknown modality": (layout.image("T0", Type="PET"), "Type"),
    "no such case": (layout.image("T99"), "its case T99 is missing"),
    "a second record": (layout.image("T1"), "a second record of this image"),
    "an age that is none": (layout.image("T0", description={"Age": "²"}), "no age in whole years"),
    "an age too high": (layout.image("T0", description={"Age": "450"}), "no age in whole years"),
    "another sex": (layout.image("T0", description={"Sex": "Robot"}), "neither female nor male"),
    "a lone surrogate": (layout.image("T0", description={"Caption": "\ud800"}), "not UTF-8"),
    "not an object": ("text", "expected an object"),
}


@pytest.mark.parametrize("bad", BAD_IMAGES)
def test_bad_image_records_are_skipped_with_their_reason(tmp_path, bad):
    record, reason = BAD_IMAGES[bad]
    folder = layout.small(tmp_path)
    images = [layout.image(f"T{number}") for number in range(1, 6)]
    (folder / "Descriptions.json").write_text(json.dumps([*images, record]))
    loaded = medpix.read(folder, max_skipped=0.2)
    assert loaded.report.images == 5
    [skip] = loaded.report.skipped
    assert skip.file == "Descriptions.json"
    assert reason in skip.reason
    assert reason in str(loaded.report)


def test_bad_cases_take_their_images_along(tmp_path):
    folder = layout.small(tmp_path)
    cases = [layout.case(f"T{number}") for number in range(6)]
    cases[0]["Case"]["Surprise"] = "?"
    (folder / "Case_topic.json").write_text(json.dumps(cases))
    report = medpix.read(folder, max_skipped=0.3).report
    assert [(skip.file, skip.record) for skip in report.skipped] == [
        ("Case_topic.json", "T0"),
        ("Descriptions.json", "T0_a"),
    ]
    assert "Case.Surprise" in report.skipped[0].reason


def test_missing_and_truncated_pictures_are_skipped(tmp_path):
    folder = layout.small(tmp_path)
    (folder / "images" / "T0_a.png").unlink()
    truncated = folder / "images" / "T1_a.png"
    truncated.write_bytes(truncated.read_bytes()[:80])
    (folder / "images" / "T2_a.png").write_text("no picture")
    report = medpix.read(folder, max_skipped=0.5).report
    assert {skip.record for skip in report.skipped} == {"T0_a", "T1_a", "T2_a"}
    assert report.images == 3


@pytest.mark.parametrize("damage", ['"Type": CT', '"Type": "CT', "}{", '"Type" "CT"'])
def test_a_broken_record_in_a_file_does_not_take_the_others_along(tmp_path, damage):
    folder = layout.small(tmp_path)
    file = folder / "Descriptions.json"
    file.write_text(file.read_text().replace('"Type": "CT"', damage, 1))
    loaded = medpix.read(folder, max_skipped=0.4)
    assert set(rows(loaded)) == {f"T{number}_a" for number in range(1, 6)}
    assert loaded.report.skipped


def test_a_truncated_file_gives_what_is_whole(tmp_path):
    folder = layout.small(tmp_path)
    file = folder / "Descriptions.json"
    file.write_text(file.read_text()[:-120])
    loaded = medpix.read(folder, max_skipped=0.4)
    assert set(rows(loaded)) == {f"T{number}_a" for number in range(5)}
    assert len(loaded.report.skipped) == 1


def test_bytes_that_are_not_utf8_are_no_guess(tmp_path):
    folder = layout.small(tmp_path)
    file = folder / "Descriptions.json"
    file.write_bytes(file.read_bytes().replace(b"left lung of T0", b"left \xff lung of T0", 1))
    [skip] = medpix.read(folder, max_skipped=0.2).report.skipped
    assert (skip.record, skip.reason) == ("T0_a", "holds bytes that are not UTF-8")


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    folder = layout.small(tmp_path)
    file = folder / "Descriptions.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert medpix.read(folder).report.images == 6


def test_text_behind_the_last_record_is_listed(tmp_path):
    folder = layout.small(tmp_path)
    file = folder / "Descriptions.json"
    file.write_text(file.read_text() + "and more")
    assert [skip.reason for skip in medpix.read(folder, max_skipped=0.2).report.skipped] == ["text that is no record"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("boxes", {"T0_a": [{"box": [0, 0, 10.0, 40.0], "name": "mass"}]}, "no box"),
        ("boxes", {"T0_a": "none"}, "boxes.json"),
        ("labels", {"T0_a": {"Edema": 7}}, "'Edema' is 7"),
        ("labels", {"T0_a": {"Beauty": 1}}, "'Beauty' is 1"),
    ],
)
def test_boxes_and_labels_are_checked(tmp_path, name, content, reason):
    folder = layout.small(tmp_path)
    (folder / f"{name}.json").write_text(json.dumps(content))
    [skip] = medpix.read(folder, max_skipped=0.2).report.skipped
    assert skip.record == "T0_a"
    assert reason in skip.reason


def test_a_broken_label_map_is_found_while_reading(tmp_path):
    folder = layout.small(tmp_path)
    (folder / "masks").mkdir()
    (folder / "masks" / "T0_a.png").write_text("no picture")
    [skip] = medpix.read(folder, max_skipped=0.2).report.skipped
    assert "can't be decoded" in skip.reason


def test_upper_case_suffixes_count_and_a_case_may_be_listed_twice(tmp_path):
    folder = layout.small(tmp_path, splits={"train": ["T0", "T0", "T1", "T2"], "dev": ["T3", "T4"], "test": ["T5"]})
    picture = folder / "images" / "T0_a.png"
    picture.rename(picture.with_suffix(".PNG"))
    assert medpix.read(folder).report.skipped == []


@pytest.mark.parametrize(
    "content", ['{"train": null, "dev": [], "test": []}', '{"train": [["T0"]], "dev": [], "test": []}']
)
def test_a_split_list_of_another_form_is_an_error(tmp_path, content):
    folder = layout.small(tmp_path)
    (folder / "uid_list.json").write_text(content)
    with pytest.raises(DataError, match="lists of cases"):
        medpix.read(folder)


def test_own_data_names_no_source_that_it_is_not(tmp_path):
    row = rows(medpix.read(layout.small(tmp_path)))["T0_a"]
    assert (row["source"], row["licence"]) == (None, None)


def test_too_many_bad_records_are_an_error_that_names_the_first(tmp_path):
    folder = layout.small(tmp_path)
    for picture in (folder / "images").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match=r"6 of 12 records .*more than the 5% allowed.*T0_a.*medmm data check"):
        medpix.read(folder)


def test_a_case_in_two_splits_is_in_none(tmp_path):
    folder = layout.small(tmp_path, splits={"train": ["T0", "T1", "T2", "T3"], "dev": ["T3", "T4"], "test": ["T5"]})
    report = medpix.read(folder, max_skipped=0.4).report
    assert {skip.record for skip in report.skipped} == {"T3", "T3_a"}


@pytest.mark.parametrize("name", ["Descriptions.json", "Case_topic.json", "uid_list.json"])
def test_a_missing_or_senseless_file_is_an_error(tmp_path, name):
    folder = layout.small(tmp_path)
    (folder / name).write_text("no json")
    with pytest.raises(DataError, match=name):
        medpix.read(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        medpix.read(folder)


def test_sources_that_are_not_there_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDMM_DATA", raising=False)
    with pytest.raises(DataError, match="set MEDMM_DATA"):
        medmm_lib.data.load("medpix")
    with pytest.raises(DataError, match=r"unknown data 'medpics'.*phantom, .*medpix"):
        medmm_lib.data.load("medpics")
    with pytest.raises(DataError, match="holds no MedPix"):
        medmm_lib.data.load("medpix", tmp_path)


def test_the_fingerprint_depends_on_content_only(tmp_path):
    first = medmm_lib.data.fingerprint("medpix", layout.small(tmp_path / "a"))
    assert medmm_lib.data.fingerprint("medpix", layout.small(tmp_path / "b")) == first
    picture = tmp_path / "b" / "images" / "T0_a.png"
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert medmm_lib.data.fingerprint("medpix", tmp_path / "b") != first


@pytest.mark.data
def test_the_real_data_is_read_whole(medpix_root):
    loaded = medpix.read(medpix_root)
    assert (loaded.report.cases, loaded.report.images, loaded.report.skipped) == (671, 2050, [])
    assert [loaded.report.by_split[split] for split in SPLITS] == [1653, 197, 200]
    assert loaded.report.nulled["caption"].total() == 23
    assert loaded.report.marked["montage"] == 45
    assert splits.leakage(loaded.dataset) == []
    assert splits.unseen_conditions(loaded.dataset) == (120, 136)
    [leak] = splits.leakage(medpix.read(medpix_root, raw=True).dataset)
    assert leak.startswith("caption in train and validation: Replace this")
