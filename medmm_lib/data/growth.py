"""What grows with the data and what must not: phantom images drawn into shards, and streams that are timed and weighed.

Images are drawn patient by patient, by several processes, each into shards of its own. A `Meter` stands in a stream and
tells what its source and its consumer take, in core-seconds, and how much memory the process holds meanwhile.
"""

import io
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict, concatenate_datasets
from datasets import Image as File
from PIL import Image

from medmm_lib import device, paths
from medmm_lib.data import shards, streams
from medmm_lib.data.phantom import description, texts
from medmm_lib.data.phantom.patients import Patient, draw_patient

MEASURED = "measured.json"
REPEATS = 5  # times that a picture is encoded and decoded, when it is timed
JPEG_QUALITY = 90


@dataclass
class Meter:
    """Counts a stream. `curve`: one entry every `every` images and one at the end, with

    `images` so far; `seconds`; `core_seconds` of all threads, of which `source_core_seconds` went into making the
    images; `rss_mib` and `peak_mib`, the memory that the process holds and the most it ever held.
    """

    every: int
    curve: list[dict[str, float]] = field(default_factory=list)

    def watch(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, counted as they pass."""
        wall, cores, source, images = time.perf_counter(), time.process_time(), 0.0, 0
        left = iter(items)
        while True:
            before = time.process_time()
            item = next(left, self)
            source += time.process_time() - before
            if item is self or (images and images % self.every == 0):
                took = {"seconds": time.perf_counter() - wall, "core_seconds": time.process_time() - cores}
                self.curve.append({"images": images, **took, "source_core_seconds": source, **device.memory_mib()})
            if item is self:
                return
            images += 1
            yield item

    @property
    def growth_mib(self) -> float:
        """What the process holds at the end beyond what it held after the first tenth of the images."""
        return growth_mib(self.curve)


def growth_mib(curve: Sequence[dict[str, float]]) -> float:
    """`Meter.growth_mib` of a curve."""
    early = next(one for one in curve if one["images"] >= curve[-1]["images"] / 10)
    return curve[-1]["rss_mib"] - early["rss_mib"]


def drawn(
    last: str | None, *, patients: int, part: int, parts: int, size: int, seed: int, films: bool
) -> Iterator[shards.Row]:
    """The images of every `parts`-th phantom patient from number `part`, as rows, after the `image_id` `last`.

    Nothing is kept of a patient. So captions may be alike, which `phantom.write` prevents.
    """
    first = part if last is None else int(last.split("_")[0].removeprefix("PHA")) - 1
    for number in range(first, patients, parts):
        rows = _rows(draw_patient(number, size, seed, films), np.random.default_rng([seed, number, 2]))
        for row in rows:
            if last is None:
                yield row
            elif row["image_id"] == last:
                last = None


def _rows(patient: Patient, rng: np.random.Generator) -> Iterator[shards.Row]:
    for place, view in enumerate(patient.views):
        name = f"{patient.uid}_im{place + 1}"
        caption = texts.caption(patient, view, rng)
        said = description(patient, place, name, caption)
        yield {
            "image": Image.fromarray(view.picture.pixels), "image_id": name, "patient_id": patient.uid,
            "case_id": patient.uid, "modality": view.type, "plane": "frontal" if view.plane == "PA" else view.plane,
            "location": said["Location"], "location_category": said["Location Category"], "caption": caption,
            "age": patient.age, "sex": patient.sex, "labels": patient.labels if view.type == "XR" else None,
            "boxes": view.picture.boxes, "source": "phantom",
        }  # fmt: skip


def kept(parts: DatasetDict) -> Callable[[str | None], Iterator[shards.Row]]:
    """What `shards.write` takes: the rows of all splits of a data set, with the pictures' files as they are."""
    rows = concatenate_datasets(list(parts.values())).remove_columns("mask").cast_column("image", File(decode=False))

    def after(last: str | None) -> Iterator[shards.Row]:
        first = 0 if last is None else rows["image_id"].index(last) + 1
        for row in rows.select(range(first, len(rows))):
            file = row["image"]
            yield row | {"image": file["bytes"] or Path(file["path"]).read_bytes()}

    return after


def write_measured(
    folder: Path, rows: Callable[[str | None], Iterable[shards.Row]], per_shard: int, every: int
) -> list[dict[str, float]]:
    """`shards.write` under a `Meter`. → its curve.

    Where an earlier run was killed, the curve is that of what was left; where it had finished, its own.
    """
    meter, before = Meter(every), folder / MEASURED

    def measured(last: str | None) -> Iterator[shards.Row]:
        for row, following in pairwise(chain(meter.watch(rows(last)), [None])):
            if following is None:  # before the last shard is whole: after that there is nothing left to measure
                paths.write_atomically(before, json.dumps(meter.curve))
            yield row

    shards.write(folder, measured, per_shard)
    return json.loads(before.read_text())


def write_phantom(
    folder: Path, *, patients: int, processes: int, size: int, seed: int, films: bool, per_shard: int, every: int
) -> list[list[dict[str, float]]]:
    """Draw patients into shards in `folder/part-0` and so on, by several processes. → the curve of each.

    Called again after it was stopped, it goes on; once finished, it only reads what was measured.
    """
    common = {"patients": patients, "parts": processes, "size": size, "seed": seed, "films": films}
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        begun = [
            pool.submit(write_measured, folder / f"part-{part}", partial(drawn, part=part, **common), per_shard, every)
            for part in range(processes)
        ]
        return [one.result() for one in begun]


def picture_costs(pictures: Sequence[Image.Image], read: Callable[[shards.Row], object]) -> list[dict[str, Any]]:
    """What pictures cost as PNG and as JPEG: one row a format.

    `size`: the median width in pixels; `bytes` a picture, `write_ms` to encode it, and `read_ms` to decode it and to
    `read` the row, in core-milliseconds.
    """
    costs = []
    for name, encode in (("PNG", shards.encoded), ("JPEG", _jpeg)):
        start = time.process_time()
        for _ in range(REPEATS):
            files = [encode(picture) for picture in pictures]
        written = time.process_time()
        rows = [{"__key__": "", "json": {}, "png": {"bytes": file}} for file in files]
        for _ in range(REPEATS):
            for row in streams.decoded(rows, streams.Faults()):
                read(row)
        done, times = time.process_time(), REPEATS * len(pictures) / 1000
        width = float(np.median([picture.width for picture in pictures]))
        took = {"write_ms": (written - start) / times, "read_ms": (done - written) / times}
        costs.append({"size": width, "format": name, "bytes": sum(map(len, files)) / len(files), **took})
    return costs


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    plain = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    plain.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
