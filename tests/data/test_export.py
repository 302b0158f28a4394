import pytest
from datasets import Dataset, load_dataset, load_from_disk
from huggingface_hub import DatasetCard

from medmm_lib.data import export, medpix, questions
from medmm_lib.data.schema import SPLITS
from tests.data import layout


@pytest.fixture
def written(tmp_path):
    images = medpix.read(layout.small(tmp_path / "data")).dataset
    pairs = questions.make(images)
    folder = tmp_path / "out"
    export.write(folder, images, pairs, name="phantom", fingerprint="abc123", removed={"measurement": 7})
    return folder, images, pairs


def test_both_configurations_load_with_the_ordinary_library(written, tmp_path):
    folder, images, pairs = written
    loaded = {
        name: load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache")) for name in ("questions", "images")
    }
    assert loaded["questions"].num_rows == pairs.num_rows
    assert loaded["images"].num_rows == images.num_rows
    assert loaded["questions"]["train"][0] == pairs["train"][0]


def test_a_licence_of_the_data_can_not_become_markup(written, tmp_path):
    _, images, pairs = written
    told = ["<script>alert(1)</script> [a](javascript:b)"] * 2
    hostile = images.map(lambda rows: {"licence": told[: len(rows["licence"])]}, batched=True, batch_size=2)
    export.write(tmp_path / "card", hostile, pairs, name="phantom", fingerprint="abc", removed={})
    card = (tmp_path / "card" / "README.md").read_text()
    assert "&lt;script&gt;" in card
    assert "<script>" not in card
    assert "[a](" not in card


def test_the_datasets_folder_loads_from_disk(written):
    folder, _, pairs = written
    assert load_from_disk(str(folder / "datasets" / "questions"))["test"][0] == pairs["test"][0]
    assert load_from_disk(str(folder / "datasets" / "images"))["train"][0]["image"].size == (16, 16)


def test_pictures_travel_inside_the_files(written):
    folder, images, _ = written
    for split in SPLITS:
        moved = Dataset.from_parquet(str(folder / "images" / f"{split}.parquet"))
        for before, after in zip(images[split], moved, strict=True):
            assert before["image"].tobytes() == after["image"].tobytes()
            assert after["image_id"] == before["image_id"]
    assert str(folder.parent / "data") not in (folder / "README.md").read_text()


def test_the_card_says_what_a_reader_must_know(written):
    folder, _, pairs = written
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert "The data states no licence." in card.text
    assert {config["config_name"] for config in card.data.to_dict()["configs"]} == {"questions", "images"}
    for text in ("abc123", "not for clinical use", "| `measurement` | 7 |", "Known limits", "Licence"):
        assert text in card.text
    assert f"{len([row for row in pairs['train'] if row['kind'] == 'image']):,}" in card.text


def test_writing_again_replaces_the_whole(written):
    folder, images, pairs = written
    (folder / "stray.txt").write_text("old")
    export.write(folder, images, pairs, name="medpix", fingerprint="def", removed={})
    assert not (folder / "stray.txt").exists()
    assert DatasetCard.load(folder / "README.md").data.license == "other"
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".out")] == []
