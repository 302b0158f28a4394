"""MedPix 2.0 (Siragusa et al. 2024, arXiv:2407.02994), and every folder in its layout.

A folder holds `Case_topic.json`, `Descriptions.json`, `uid_list.json` (the official split; in the repository below
`splitted_dataset/`) and `images/`. The embedded
phantom data adds `masks/`, `boxes.json` and `labels.json`. Nothing is guessed: a record that can't be trusted is
skipped and listed with its reason, a placeholder text becomes null and is counted.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from medmm_lib.data import medpix_vocabulary as vocabulary
from medmm_lib.data.loaded import DataError, Loaded, Report, Skipped
from medmm_lib.data.medpix_files import CaseRecord, ImageRecord, check_extras, read_json, read_records, read_splits
from medmm_lib.data.pictures import broken_picture
from medmm_lib.data.schema import NOT_ONE_PLANE, to_dataset

FOLDERS = ("medpix-2.0", "MedPix-2-0")  # below the data folder
SUFFIXES = (".png", ".jpg", ".jpeg")
SPLIT_NAMES = {"train": "train", "dev": "validation", "test": "test"}
# Source and licence by the beginning of a case's U_id; other data states neither, so both are null.
SOURCES = {
    "MPX": (
        "medpix-2.0",
        "MedPix 2.0: no licence is stated with the files; see the terms of the MedPix website before any reuse",
    ),
    "PHA": ("phantom", "MIT (made by this project; brains from the ICBM 152 template)"),
}


def find(root: Path) -> Path:
    """The folder with `Descriptions.json`: `root` or one of `FOLDERS` in it. Raises `DataError` for none."""
    for folder in (root, *(root / name for name in FOLDERS)):
        if (folder / "Descriptions.json").is_file():
            return folder
    raise DataError(
        f"{root} holds no MedPix 2.0: expected Descriptions.json, Case_topic.json, uid_list.json and images/ in it or "
        f"in its folder {' or '.join(FOLDERS)}"
    )


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that data is read from, with the names under which they count."""
    single = ("Case_topic.json", "Descriptions.json", "boxes.json", "labels.json")
    yield from ((name, folder / name) for name in single if (folder / name).is_file())
    if (splits := _split_file(folder)).is_file():
        yield "uid_list.json", splits
    for part in ("images", "masks"):
        yield from ((f"{part}/{path.name}", path) for path in _pictures(folder / part).values())


def read(root: Path, *, max_skipped: float = 0.05, raw: bool = False) -> Loaded:
    """Read a folder in MedPix 2.0's layout into the schema, split as `uid_list.json` says.

    `raw` leaves placeholder texts as they stand, for an audit of the data as it comes. Raises `DataError` when a file
    is missing or unreadable, or when more than the share `max_skipped` of all records had to be skipped.
    """
    folder = find(root)
    report = Report(folder)
    cases = _cases(folder, report)
    split_of = _splits(folder, report)
    files = _Files.of(folder)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLIT_NAMES.values()}
    for record in _images(files, cases, split_of, report):
        row = _row(files, record, cases[record.uid], None if raw else report)
        rows[split_of[record.uid]].append(row)
    return Loaded.of(DatasetDict({name: to_dataset(part) for name, part in rows.items()}), report, max_skipped)


def _cases(folder: Path, report: Report) -> dict[str, CaseRecord]:
    cases: dict[str, CaseRecord] = {}
    for name, case, reason in read_records(folder / "Case_topic.json", CaseRecord, "U_id"):
        report.records += 1
        if case is not None and case.uid in cases:
            reason = "a second case of this U_id"
        if case is None or reason:
            report.skipped.append(Skipped("Case_topic.json", name, reason or "unreadable"))
        else:
            cases[case.uid] = case
    return cases


def _splits(folder: Path, report: Report) -> dict[str, str]:
    """Split name by case. A case that `uid_list.json` puts into two splits is in none."""
    lists = read_splits(_split_file(folder), SPLIT_NAMES)
    membership: dict[str, list[str]] = defaultdict(list)
    for official, name in SPLIT_NAMES.items():
        for uid in dict.fromkeys(lists[official]):
            membership[uid].append(name)
    for uid, names in membership.items():
        if len(names) > 1:
            report.skipped.append(Skipped("uid_list.json", uid, f"stands in {' and '.join(names)}"))
    return {uid: names[0] for uid, names in membership.items() if len(names) == 1}


def _split_file(folder: Path) -> Path:
    """The official split, which MedPix 2.0's repository has in a folder of its own."""
    own = folder / "splitted_dataset" / "uid_list.json"
    return own if own.is_file() else folder / "uid_list.json"


def _images(
    files: "_Files", cases: dict[str, CaseRecord], split_of: dict[str, str], report: Report
) -> Iterator[ImageRecord]:
    """The records of `Descriptions.json` that have a case, a split and a readable picture; the others are listed."""
    seen: set[str] = set()
    scaled = 0
    for name, record, reason in read_records(report.root / "Descriptions.json", ImageRecord, "image"):
        report.records += 1
        if record is not None:
            path, mask = files.images.get(record.image), files.masks.get(record.image)
            if record.image in seen:
                reason = "a second record of this image"
            elif record.uid not in cases:
                reason = f"its case {record.uid} is missing or was skipped"
            elif record.uid not in split_of:
                reason = f"uid_list.json puts its case {record.uid} into no single split"
            elif path is None:
                reason = f"no file images/{record.image}{{{','.join(SUFFIXES)}}}"
            else:
                reason = (
                    broken_picture(path) or (broken_picture(mask) if mask else "") or files.wrong_extras(record.image)
                )
                scaled += path.suffix.lower() != ".png"
        if record is None or reason:
            report.skipped.append(Skipped("Descriptions.json", name, reason or "unreadable"))
            continue
        seen.add(record.image)
        yield record
    if scaled:
        report.note = f"{scaled:,} images are JPEG copies, not the original PNG files"


@dataclass(frozen=True)
class _Files:
    """What stands beside the records: pictures and label maps by image, boxes and labels as their files hold them."""

    images: dict[str, Path]
    masks: dict[str, Path]
    boxes: dict[str, Any]
    labels: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "_Files":
        return cls(
            images=_pictures(folder / "images"),
            masks=_pictures(folder / "masks"),
            boxes=_by_image(folder / "boxes.json"),
            labels=_by_image(folder / "labels.json"),
        )

    def wrong_extras(self, image: str) -> str:
        return check_extras(self.boxes.get(image), self.labels.get(image))


def _pictures(folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in files if path.suffix.lower() in SUFFIXES}


def _by_image(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict | None):
        raise DataError(f"{path}: expected an object with an entry for each image, found {type(content).__name__}")
    return content or {}


def _row(files: _Files, record: ImageRecord, case: CaseRecord, report: Report | None) -> dict[str, Any]:
    description, texts = record.description, case.case
    sequence, plane = _view(record, report)
    clean = _Cleaner(report)
    title, text = clean("topic", case.topic.title), clean("topic", case.topic.text)
    location = clean("location", record.location)
    if report and location and vocabulary.is_no_location(location):
        report.nulled["location"][location] += 1
        location = None
    mask = files.masks.get(record.image)
    source, licence = SOURCES.get(record.uid[:3], (None, None))
    return {
        "image": str(files.images[record.image]),
        "image_id": record.image,
        "patient_id": record.uid,
        "case_id": record.uid,
        "modality": record.type,
        "sequence": sequence,
        "plane": plane,
        "location": location,
        "location_category": clean("location_category", record.location_category),
        "caption": clean("caption", description.caption),
        "history": clean("history", texts.history),
        "findings": clean("findings", texts.findings),
        "diagnosis": clean("diagnosis", texts.diagnosis),
        "discussion": clean("discussion", texts.discussion),
        "topic": f"{title or ''}\n\n{text}" if text else None,
        "age": _age(description.age, report),
        "sex": clean("sex", description.sex),
        "labels": files.labels.get(record.image),
        "boxes": files.boxes.get(record.image),
        "mask": str(mask) if mask else None,
        "source": source,
        "licence": licence,
    }


class _Cleaner:
    """Turns placeholder texts into null and counts them; without a report it leaves them as they are."""

    def __init__(self, report: Report | None) -> None:
        self.report = report

    def __call__(self, name: str, text: str | None) -> str | None:
        if text is None:
            return None
        text = text.strip()
        if self.report and vocabulary.is_placeholder(text):
            self.report.nulled[name][text] += 1
            return None
        return text or None


def _view(record: ImageRecord, report: Report | None) -> tuple[str | None, str | None]:
    """The schema's `sequence` and `plane`, with montages and the like marked in `plane`."""
    clean = _Cleaner(report)
    modality, plane = clean("sequence", record.description.modality), clean("plane", record.description.plane)
    sequence, implied = vocabulary.SEQUENCES.get(modality or "", (modality, None))
    mapped = implied or (vocabulary.PLANES.get(plane, plane) if plane else None)
    if report:
        if modality and modality not in vocabulary.SEQUENCES:
            report.unmapped["sequence"][modality] += 1
        if plane and plane not in vocabulary.PLANES:
            report.unmapped["plane"][plane] += 1
        if mapped in NOT_ONE_PLANE:
            report.marked[mapped] += 1
    return sequence, mapped


def _age(text: str | None, report: Report | None) -> int | None:
    """Age in years. `0` is MedPix's "not entered" and becomes null.

    Measured on MedPix 2.0: of the 24 cases of age 0, at least 13 have a history that tells of an adult or a child of
    17, and 4 of an infant.
    """
    if text is None or vocabulary.is_placeholder(text) or int(text) == 0:
        if text is not None and report:
            report.nulled["age"][text] += 1
        return None
    return int(text)
