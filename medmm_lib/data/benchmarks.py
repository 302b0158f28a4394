"""Public question sets on medical images, by folder or from the hub, with the columns of `medmm_lib.data.asked`.

| name | where | what a folder holds |
|---|---|---|
| `vqa_rad` | flaviagiammarino/vqa-rad | `data/train-*.parquet`, `data/test-*.parquet` |
| `slake` | BoKelvin/SLAKE | `train.json`, `test.json`, and `imgs/` out of `imgs.zip` |
| `pmc_vqa` | xmcmic/PMC-VQA | `train_2.csv`, `test_2.csv` (or without `_2`), and `figures/` or `images/` unpacked |
| `roco`, `mimic_cxr` | `medmm_lib.data` | template questions on the images of a source |

Ultrasound and fluoroscopy are left out, by the same rules as in ROCO (`medmm_lib.data.named_kind`). VQA-RAD was made
from MedPix: a model that was trained on MedPix may have seen its images.
"""

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import DatasetDict, Features, Image, Value
from huggingface_hub import snapshot_download

import medmm_lib.data
from medmm_lib.data import asked, questions
from medmm_lib.data.loaded import DataError, inside
from medmm_lib.data.named_kind import LEFT_OUT, named_kind
from medmm_lib.data.pictures import broken_picture
from medmm_lib.data.schema import to_dataset

LOG = logging.getLogger(__name__)
FEATURES = Features(
    {name: Value("string") for name in ("question", "answer", "question_id", "image_id", "patient_id", "form", "type")}
    | {"modality": Value("string"), "image": Image()}
)
SPLITS = ("train", "test")
_MODALITIES = {"CT": "CT", "MRI": "MR", "X-Ray": "XR"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Questions by split; how many were left out by rule, and how many because their picture can't be opened.

    `patient_id` is the image: no set says whose an image is.
    """

    dataset: DatasetDict
    removed: int
    unreadable: int = 0


def load(name: str, place: str | Path = "", max_unreadable: float = 0.05) -> Benchmark:
    """One set, from the folder or hub name `place`; else from its folder in `MEDMM_DATA`, or from its own place.

    Raises `DataError` for an unknown set and for a folder that does not hold it; the message says what is missing.
    """
    if name in SOURCES:
        return _of_source(name, place)
    if name not in READERS:
        raise DataError(f"unknown question set {name!r}. There are: {', '.join([*READERS, *SOURCES])}")
    hub, read = READERS[name]
    folder = Path(place or Path(os.environ.get("MEDMM_DATA", ""), name)).expanduser()
    if not folder.is_dir():
        folder = _fetched(name, str(place) or hub)
    rows = {split: list(read(folder, split)) for split in SPLITS}
    wanted = {split: [row for row in part if not _left_out(row)] for split, part in rows.items()}
    kept = {split: list(_readable(part)) for split, part in wanted.items()}
    of_all, of_wanted, of_kept = (sum(map(len, some.values())) for some in (rows, wanted, kept))
    unreadable = of_wanted - of_kept
    if unreadable > max_unreadable * of_wanted:
        raise DataError(
            f"the pictures of {unreadable:,} of {of_wanted:,} questions of {name} in {folder} can't be opened, more "
            f"than the {max_unreadable:.0%} allowed: fetch the set again, with its images"
        )
    parts = {split: to_dataset([_complete(row) for row in part], FEATURES) for split, part in kept.items()}
    return Benchmark(DatasetDict(parts), of_all - of_wanted, unreadable)


def _of_source(name: str, place: str | Path) -> Benchmark:
    """Template questions on the images of a source."""
    loaded = medmm_lib.data.loaded(name, place or None)
    made = questions.make(loaded.dataset)
    parts = {}
    for split in SPLITS:
        images, columns = loaded.dataset[split], [column for column in FEATURES if column != "modality"]
        kinds = dict(zip(images["image_id"], images["modality"], strict=True))
        rows = asked.with_images(images, made[split]).select_columns(columns)
        parts[split] = rows.add_column("modality", [kinds[image] for image in rows["image_id"]]).cast(FEATURES)
    return Benchmark(DatasetDict(parts), loaded.report.removed.total())


def _fetched(name: str, place: str) -> Path:
    try:
        return Path(snapshot_download(place, repo_type="dataset"))
    except Exception as error:  # no network, no such repository, a local path that is not there: all say the same
        raise DataError(
            f"{name} is neither a folder nor to be had from the hub at {place!r} ({type(error).__name__}): download it "
            "from there, unpack its images, and name the folder"
        ) from error


def _left_out(row: Row) -> bool:
    told = (named_kind(row[name] or "") for name in ("question", "answer", "told"))
    return any(rule is not None and rule.kind in LEFT_OUT for rule in told)


def _readable(rows: Iterable[Row]) -> Iterator[Row]:
    """The questions whose picture can be opened; the other pictures are told once each."""
    problems: dict[str, str] = {}
    for row in rows:
        name, stored = row["image_id"], row["image"]
        if name not in problems:
            file = Path(stored) if isinstance(stored, str) else io.BytesIO(stored["bytes"])
            problems[name] = broken_picture(file, whole=False)
            if problems[name]:
                LOG.warning("questions on %s are left out: %s", name, problems[name])
        if not problems[name]:
            yield row


def _complete(row: Row) -> Row:
    own = {"form": questions.form_of(row["answer"]), "patient_id": row["image_id"]}
    return {name: row.get(name) for name in FEATURES} | own


def _vqa_rad(folder: Path, split: str) -> Iterator[Row]:
    files = sorted(folder.glob(f"**/{split}-*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no {split}-*.parquet: expected the files of flaviagiammarino/vqa-rad")
    for number, row in enumerate(row for file in files for row in pd.read_parquet(file).to_dict("records")):
        picture = row["image"]["bytes"]
        image = hashlib.sha256(picture).hexdigest()[:16]
        yield {
            "image": {"bytes": picture, "path": None}, "question": row["question"], "answer": row["answer"],
            "question_id": f"{split}-{number}", "image_id": image, "type": None, "modality": None, "told": None,
        }  # fmt: skip


def _slake(folder: Path, split: str) -> Iterator[Row]:
    """The English questions."""
    file = folder / f"{split}.json"
    if not file.is_file() or not (folder / "imgs").is_dir():
        raise DataError(f"{folder} holds no {split}.json with imgs/: expected SLAKE's files, imgs.zip unpacked")
    for row in json.loads(file.read_text(encoding="utf-8")):
        if row["q_lang"] == "en":
            image = inside(folder / "imgs", row["img_name"])
            yield {
                "image": str(image), "question": row["question"], "answer": row["answer"],
                "question_id": str(row["qid"]), "image_id": row["img_name"], "type": row["content_type"].lower(),
                "modality": _MODALITIES.get(row["modality"], row["modality"]), "told": row["modality"],
            }  # fmt: skip


def _pmc_vqa(folder: Path, split: str) -> Iterator[Row]:
    """The right answer of the four choices; what the figure's kind is, is told from question, choices and caption."""
    file = next((folder / name for name in (f"{split}_2.csv", f"{split}.csv") if (folder / name).is_file()), None)
    images = next((folder / name for name in ("figures", "images") if (folder / name).is_dir()), None)
    if file is None or images is None:
        raise DataError(f"{folder} holds no {split}_2.csv with figures/: expected PMC-VQA's files, its zip unpacked")
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            told = " ".join(row.get(name) or "" for name in ("Caption", "Choice A", "Choice B", "Choice C", "Choice D"))
            yield {
                "image": str(inside(images, row["Figure_path"])), "question": row["Question"].strip(),
                "answer": row["Answer"].strip(), "question_id": f"{split}-{number}", "image_id": row["Figure_path"],
                "type": None, "modality": None, "told": told,
            }  # fmt: skip


SOURCES = ("roco", "mimic_cxr")  # asked by templates
READERS: dict[str, tuple[str, Callable[[Path, str], Iterator[Row]]]] = {
    "vqa_rad": ("flaviagiammarino/vqa-rad", _vqa_rad),
    "slake": ("BoKelvin/SLAKE", _slake),
    "pmc_vqa": ("xmcmic/PMC-VQA", _pmc_vqa),
}
