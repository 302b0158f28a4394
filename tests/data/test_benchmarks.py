import csv
import io
import json

import pandas as pd
import pytest
from PIL import Image

from medmm_lib.data import benchmarks
from medmm_lib.data.loaded import DataError
from tests.data.test_roco import roco_folder


def picture(grey):
    buffer = io.BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def vqa_rad(tmp_path):
    (tmp_path / "data").mkdir()
    for split in benchmarks.SPLITS:
        rows = [
            {"image": {"bytes": picture(10), "path": None}, "question": "is there a mass?", "answer": "yes"},
            {"image": {"bytes": picture(10), "path": None}, "question": "which organ?", "answer": "the liver"},
            {"image": {"bytes": picture(90), "path": None}, "question": "is this an ultrasound?", "answer": "no"},
        ]
        pd.DataFrame(rows).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    return tmp_path


@pytest.fixture
def slake(tmp_path):
    for split in benchmarks.SPLITS:
        rows = []
        for number, language in enumerate(("en", "zh", "en")):
            folder = tmp_path / "imgs" / f"xmlab{number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "source.jpg").write_bytes(picture(number))
            rows.append({
                "img_name": f"xmlab{number}/source.jpg", "question": "Is the heart healthy?", "answer": "No",
                "q_lang": language, "modality": "MRI", "content_type": "Abnormality", "qid": number,
            })  # fmt: skip
        (tmp_path / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def pmc_vqa(tmp_path):
    (tmp_path / "figures").mkdir()
    for split in benchmarks.SPLITS:
        with (tmp_path / f"{split}_2.csv").open("w", newline="") as file:
            names = ["Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer"]
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for number, caption in enumerate(("CT of the chest", "Doppler of the neck")):
                (tmp_path / "figures" / f"f{number}.png").write_bytes(picture(number))
                choices = {f"Choice {letter}": f" {letter}: x " for letter in "ABCD"}
                row = {"Figure_path": f"f{number}.png", "Caption": caption, "Question": " What? ", "Answer": " a cyst "}
                writer.writerow(row | choices)
    return tmp_path


def test_vqa_rad(vqa_rad):
    found = benchmarks.load("vqa_rad", vqa_rad)
    rows = found.dataset["test"]
    assert list(rows["form"]) == ["closed", "open"]
    assert rows["image_id"][0] == rows["image_id"][1]  # the same bytes are the same image
    assert rows["image"][0].size == (8, 8)
    assert found.removed == 2  # the ultrasound of each split


def test_slake_has_its_english_questions(slake):
    rows = benchmarks.load("slake", slake).dataset["train"]
    assert len(rows) == 2
    assert set(rows["modality"]) == {"MR"}
    assert rows["type"][0] == "abnormality"
    assert rows["patient_id"][1] == "xmlab2/source.jpg"


def test_pmc_vqa_without_ultrasound(pmc_vqa):
    found = benchmarks.load("pmc_vqa", pmc_vqa)
    assert [row["answer"] for row in found.dataset["test"]] == ["a cyst"]
    assert found.dataset["test"][0]["question"] == "What?"
    assert found.removed == 2


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="There are: vqa_rad, slake, pmc_vqa"):
        benchmarks.load("vqa")
    for name, said in (("vqa_rad", "parquet"), ("slake", "imgs.zip unpacked"), ("pmc_vqa", "zip unpacked")):
        with pytest.raises(DataError, match=said):
            benchmarks.load(name, tmp_path)

    def offline(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(benchmarks, "snapshot_download", offline)
    with pytest.raises(DataError, match=r"BoKelvin/SLAKE.*name the folder"):
        benchmarks.load("slake")
    with pytest.raises(DataError, match="nowhere"):
        benchmarks.load("slake", tmp_path / "nowhere")


def test_a_source_is_asked_by_templates(tmp_path):
    found = benchmarks.load("roco", roco_folder(tmp_path))
    assert found.removed == 3
    assert {row["answer"] for row in found.dataset["test"] if row["type"] == "modality"} == {"MR image"}
    assert {name for part in found.dataset.values() for name in part.column_names} == set(benchmarks.FEATURES)


def test_a_picture_outside_of_the_folder_is_refused(slake, pmc_vqa):
    rows = json.loads((slake / "train.json").read_text())
    (slake / "train.json").write_text(json.dumps([rows[0] | {"img_name": "../../secret.png"}]))
    with pytest.raises(DataError, match="leads out of"):
        benchmarks.load("slake", slake)
    table = (pmc_vqa / "train_2.csv").read_text().replace("f0.png", "/secret.png")
    (pmc_vqa / "train_2.csv").write_text(table)
    with pytest.raises(DataError, match="leads out of"):
        benchmarks.load("pmc_vqa", pmc_vqa)
