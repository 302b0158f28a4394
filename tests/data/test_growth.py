import time

import numpy as np
import pytest
from datasets import DatasetDict
from PIL import Image

from medmm_lib.data import growth, shards, streams
from medmm_lib.data.phantom.patients import draw_patient
from medmm_lib.data.schema import FEATURES, to_dataset

SMALL = {"size": 16, "seed": 0, "films": True}


def ids(made):
    return [row["json"]["image_id"] for row in streams.stream(made)]


def everything(folder):
    return [shard for path in sorted(folder.glob("part-*")) for shard in shards.index(path)]


def test_drawn_rows_are_the_phantom_patients():
    rows = list(growth.drawn(None, patients=3, part=0, parts=1, **SMALL))
    views = [view for number in range(3) for view in draw_patient(number, 16, 0, True).views]
    assert [np.asarray(row["image"]).tolist() for row in rows] == [view.picture.pixels.tolist() for view in views]
    assert all(row["caption"] and row["labels"] and not row.keys() - FEATURES.keys() for row in rows)


@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_drawing_goes_on_after_any_image(taken):
    settings = {"patients": 8, "part": 1, "parts": 2, **SMALL}
    whole = list(growth.drawn(None, **settings))
    rest = list(growth.drawn(whole[taken - 1]["image_id"], **settings))
    assert [(row["image_id"], row["caption"]) for row in rest] == [
        (row["image_id"], row["caption"]) for row in whole[taken:]
    ]


def test_processes_draw_every_patient_once(tmp_path):
    curves = growth.write_phantom(tmp_path, patients=9, processes=2, per_shard=4, every=4, **SMALL)
    drawn = ids(everything(tmp_path))
    assert sorted(drawn) == sorted(row["image_id"] for row in growth.drawn(None, patients=9, part=0, parts=1, **SMALL))
    assert sum(curve[-1]["images"] for curve in curves) == len(drawn)
    again = growth.write_measured(tmp_path / "part-1", lambda last: pytest.fail("drawn again"), 4, 4)
    assert again == curves[1]


def test_a_data_set_keeps_its_files(tmp_path):
    empty = dict.fromkeys(FEATURES)
    parts = DatasetDict({
        split: to_dataset([
            {**empty, "image": Image.fromarray(np.full((8, 8), place, np.uint8)), "image_id": f"{split}{k}", "age": k}
            for k in range(3)
        ])
        for place, split in enumerate(("train", "test"))
    })  # fmt: skip
    rows = growth.kept(parts)
    assert [row["image_id"] for row in rows("train1")] == ["train2", "test0", "test1", "test2"]
    growth.write_measured(tmp_path / "part-0", rows, 4, 1)
    back = list(streams.decoded(streams.stream(everything(tmp_path)), streams.Faults()))
    assert [row["image_id"] for row in back] == [*(f"train{k}" for k in range(3)), *(f"test{k}" for k in range(3))]
    assert np.asarray(back[4]["image"]).tolist() == np.full((8, 8), 1).tolist()


def test_a_meter_tells_the_source_from_what_is_done_with_it():
    def busy(seconds):
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    def source():
        for k in range(20):
            busy(0.002)
            yield k

    meter = growth.Meter(5)
    for _ in meter.watch(source()):
        busy(0.004)
    assert [one["images"] for one in meter.curve] == [5, 10, 15, 20]
    end = meter.curve[-1]
    assert end["source_core_seconds"] == pytest.approx(0.04, rel=0.5)
    assert end["core_seconds"] - end["source_core_seconds"] == pytest.approx(0.08, rel=0.5)


def test_a_meter_sees_what_is_kept():
    meter, kept = growth.Meter(10), []
    for _ in meter.watch(range(100)):
        kept.append(np.ones(2**18))  # 2 MiB
    assert meter.growth_mib == pytest.approx(180, rel=0.2)
    assert meter.curve[-1]["peak_mib"] >= meter.curve[-1]["rss_mib"] - 1


def test_larger_pictures_cost_more():
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (side, side), dtype=np.uint8)) for side in (32, 512)]
    small, large = (growth.picture_costs([picture], lambda row: row["image"].size) for picture in noise)
    assert [(cost["size"], cost["format"]) for cost in small + large] == [
        (32, "PNG"), (32, "JPEG"), (512, "PNG"), (512, "JPEG"),
    ]  # fmt: skip
    for one, other in zip(small, large, strict=True):
        assert all(other[key] > one[key] for key in ("bytes", "write_ms", "read_ms"))
