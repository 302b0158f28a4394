"""MIMIC-CXR-JPG (Johnson et al. 2019, arXiv:1901.07042): chest X-ray images with reports and CheXpert's 14 labels.

Access is credentialed (PhysioNet): the data is read from a local folder and never leaves it. The folder holds the
split, the CheXpert labels and, for views, the metadata (`mimic-cxr-2.0.0-split.csv.gz` …, packed or not), and `files/`,
as they come. Reports are those of MIMIC-CXR, unpacked beside the pictures or into `mimic-cxr-reports/`.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from datasets import DatasetDict

from medmm_lib.data.loaded import DataError, Loaded, Report, Skipped
from medmm_lib.data.pictures import broken_picture
from medmm_lib.data.report_sections import sections
from medmm_lib.data.schema import CHEXPERT_LABELS, FEATURES, to_dataset

FOLDERS = ("mimic-cxr-jpg", "mimic_cxr")  # below the data folder
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
SPLIT_NAMES = {"train": "train", "validate": "validation", "test": "test"}
VIEWS = {"PA": "frontal", "AP": "frontal", "AP AXIAL": "frontal", "AP LLD": "frontal", "AP RLD": "frontal",
         "PA LLD": "frontal", "PA RLD": "frontal", "LATERAL": "lateral", "LL": "lateral"}  # fmt: skip
_SHARED = dict.fromkeys(FEATURES) | {
    "modality": "XR", "location_category": "Thorax", "source": "mimic-cxr-jpg", "licence": LICENCE,
}  # fmt: skip
_COLUMNS = {
    "split": ["dicom_id", "study_id", "subject_id", "split"],
    "chexpert": ["subject_id", "study_id", *CHEXPERT_LABELS],
    "metadata": ["dicom_id", "ViewPosition"],
}


def find(root: Path) -> Path:
    """The folder with the split file: `root` or one of `FOLDERS` in it. Raises `DataError` for none."""
    for folder in (root, *(root / name for name in FOLDERS)):
        if _path(folder, "split"):
            return folder
    raise DataError(
        f"{root} holds no MIMIC-CXR-JPG: expected mimic-cxr-*-split.csv(.gz), mimic-cxr-*-chexpert.csv(.gz) and files/ "
        f"as PhysioNet gives them, there or in {' or '.join(FOLDERS)}"
    )


def read(root: Path, *, max_skipped: float = 0.05) -> Loaded:
    """Read a folder into the schema: findings and impression (as `caption`) of the study's report, and its labels.

    A folder may hold a part of the pictures; the report counts those that it lacks. Raises `DataError` when a table is
    missing or broken, when no picture is there, and for more than the share `max_skipped` of unreadable ones.
    """
    folder = find(root)
    report = Report(folder)
    images, labels, views = (_table(folder, name) for name in ("split", "chexpert", "metadata"))
    if unknown := set(images["split"]) - set(SPLIT_NAMES):
        found = ", ".join(sorted(unknown))
        raise DataError(f"{_path(folder, 'split')} has the splits {found}; expected {', '.join(SPLIT_NAMES)}")
    try:
        labels_of = {row["study_id"]: _labels(row) for row in labels.to_dict("records")}
    except ValueError as error:
        raise DataError(
            f"{_path(folder, 'chexpert')}: {error}; expected 1.0, 0.0, -1.0 or nothing as a label"
        ) from error
    view_of = dict(zip(views["dicom_id"], views["ViewPosition"], strict=True)) if len(views) else {}
    texts = _Reports(folder)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in SPLIT_NAMES.values()}
    for image in images.itertuples():
        study = Path(f"p{image.subject_id[:2]}", f"p{image.subject_id}", f"s{image.study_id}")
        picture = folder / "files" / study / f"{image.dicom_id}.jpg"
        if not picture.is_file():
            report.removed["no picture in the folder"] += 1
            continue
        report.records += 1
        if problem := broken_picture(picture, whole=False):
            report.skipped.append(Skipped("files", image.dicom_id, problem))
            continue
        known = {"image": str(picture), "image_id": image.dicom_id, "patient_id": image.subject_id}
        plane = _plane(view_of.get(image.dicom_id), report)
        told = {"plane": plane, "case_id": image.study_id, "labels": labels_of.get(image.study_id)}
        rows[SPLIT_NAMES[image.split]].append(_SHARED | known | told | texts.of(study))
    if not report.records:
        raise DataError(
            f"{folder} holds none of the {len(images):,} pictures: expected files/p10/p10000032/s50414267/….jpg"
        )
    without = sum(row["findings"] is None and row["caption"] is None for part in rows.values() for row in part)
    expected = "expected mimic-cxr-reports/files/p10/p10000032/s50414267.txt, which MIMIC-CXR has"
    report.note = f"{without:,} images have no report text: {expected}" if without else None
    return Loaded.of(DatasetDict({name: to_dataset(part) for name, part in rows.items()}), report, max_skipped)


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that data is read from, with the names under which they count."""
    tables = (path for name in _COLUMNS if (path := _path(folder, name)))
    yield from ((path.name, path) for path in tables)
    yield from ((str(path.relative_to(folder)), path) for path in (folder / "files").rglob("*.jpg"))
    for place in _report_places(folder):
        yield from ((f"reports/{path.relative_to(place)}", path) for path in place.rglob("s*.txt"))


def _report_places(folder: Path) -> list[Path]:
    beside = (folder, folder / "mimic-cxr-reports", folder.parent / "mimic-cxr-reports")
    return [place / "files" for place in beside if (place / "files").is_dir()]


def _path(folder: Path, name: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"mimic-cxr-*-{name}.csv*"), reverse=True)), None)


def _table(folder: Path, name: str) -> pd.DataFrame:
    """A table as texts; an empty one where the metadata is not there."""
    path = _path(folder, name)
    if path is None:
        if name == "metadata":
            return pd.DataFrame()
        raise DataError(f"{folder} has no mimic-cxr-*-{name}.csv or .csv.gz")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if missing := [column for column in _COLUMNS[name] if column not in table.columns]:
        raise DataError(f"{path} has no column {', '.join(missing)}")
    for column in [column for column in _COLUMNS[name] if column.endswith("_id")]:  # they become parts of paths
        if odd := [value for value in table[column] if not re.fullmatch(r"[\w-]+", value, re.ASCII)]:
            raise DataError(f"{path} has the {column} {odd[0]!r}; expected letters and digits")
    return table


def _plane(view: str | None, report: Report) -> str | None:
    """The schema's plane of a view; one that is in no table is kept and counted."""
    if view and view not in VIEWS:
        report.unmapped["plane"][view] += 1
    return VIEWS.get(view, view) if view else None


def _labels(row: dict[str, str]) -> dict[str, int | None]:
    """Texts such as 1.0, 0.0, -1.0; empty: not mentioned."""
    return {name: int(float(row[name])) if row[name] else None for name in CHEXPERT_LABELS}


class _Reports:
    """Findings, impression (as caption) and history by study; several images of a study share them."""

    def __init__(self, folder: Path) -> None:
        self.places = _report_places(folder)
        self.read: dict[Path, dict[str, str | None]] = {}

    def of(self, study: Path) -> dict[str, str | None]:
        if study not in self.read:
            file = next((file for place in self.places if (file := place / f"{study}.txt").is_file()), None)
            text = file.read_text(encoding="utf-8", errors="replace") if file else ""
            cut = sections(text)
            self.read[study] = {"findings": cut["findings"], "caption": cut["impression"], "history": cut["history"]}
        return self.read[study]
