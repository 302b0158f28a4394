"""ROCO (Pelka et al. 2018) and ROCOv2 (Rückert et al. 2024, arXiv:2405.10004): figures of articles, with captions.

Three layouts are read: ROCO's (`train/radiology/captions.txt`, `licences.txt`, `images/`), ROCOv2's from Zenodo
(`train_captions.csv`, `license_information.csv`, the pictures of its zip files) and ROCOv2's from the hub
(`data/train-*.parquet`). Ultrasound and fluoroscopy are left out by the rules of `medmm_lib.data.named_kind` and, in
ROCOv2, by its curated concepts; the report counts what each rule took. Figures of one article are one case: where an
article stands in several official splits, all of its figures go to the first of training, validation and test.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, concatenate_datasets

from medmm_lib.data.loaded import DataError, Loaded, Report, Skipped
from medmm_lib.data.named_kind import LEFT_OUT, named_kind
from medmm_lib.data.pictures import broken_picture
from medmm_lib.data.schema import FEATURES, SPLITS, to_dataset

FOLDERS = ("roco", "rocov2")  # below the data folder
# ROCOv2's curated concepts of modality, by their UMLS number.
CONCEPTS = {
    "C0040405": "CT",
    "C0024485": "MR",
    "C1306645": "XR",
    "C0032743": "NM",
    "C0041618": "US",
    "C0002978": "fluoroscopy",  # angiogram; CT or MR where the caption says so
}
LICENCE = "of the article: CC BY or CC BY-NC; the collection: CC BY-NC-SA 4.0"
_FILES = {"train": "train", "validation": "valid", "test": "test"}  # ROCOv2's names of the splits
_PLANES = {
    "axial": re.compile(r"\b(?:trans)?axial\b|\btransverse\b(?! (?:colon|process|sinus|myelitis))", re.IGNORECASE),
    "coronal": re.compile(r"\bcoronal\b(?! suture)", re.IGNORECASE),
    "sagittal": re.compile(r"\b(?:mid|para)?-?sagittal\b(?! (?:sinus|suture|split))", re.IGNORECASE),
}
_PICTURE = r"(?: [\w-]+){0,4} (?:view|projection|radiograph|x-?ray|film|cephalogra)"
_VIEWS = {
    "frontal": re.compile(rf"\b(?:(?i:antero-?posterior|postero-?anterior)|(?:AP|PA|(?i:frontal))(?i:{_PICTURE}))"),
    "lateral": re.compile(rf"\blateral(?: and [\w-]+)?{_PICTURE}", re.IGNORECASE),
}


@dataclass(frozen=True)
class _Figure:
    """A figure as its files tell of it; `picture` is a file, or a place among all pictures of the parquet files."""

    split: str
    image_id: str
    caption: str
    picture: Path | int | None
    article: str | None = None
    licence: str | None = None
    concepts: tuple[str, ...] = ()


def find(root: Path) -> Path:
    """The folder that holds one of the layouts: `root`, one of `FOLDERS` in it, or `data` or `all_data` in these.

    Raises `DataError` for none.
    """
    for base in (root, *(root / name for name in FOLDERS)):
        for folder in (base, base / "data", base / "all_data"):
            if _layout(folder):
                return folder
    raise DataError(
        f"{root} holds no ROCO: expected, in it or {' or '.join(FOLDERS)}, train/radiology/captions.txt (ROCO), "
        "train_captions.csv with the unpacked pictures (ROCOv2 from Zenodo), or data/train-*.parquet (from the hub)"
    )


def read(root: Path, *, max_skipped: float = 0.05, raw: bool = False) -> Loaded:
    """Read a folder into the schema.

    `raw` leaves figures in their official split, for an audit of the data as it comes. Raises `DataError` when there is
    no such folder, when a file or a column is missing, and when more than the share `max_skipped` of all records is
    unreadable or no picture is there.
    """
    folder = find(root)
    report = Report(folder)
    layout = _layout(folder)
    stored = _pictures(folder) if layout == "hub" else None
    figures = list(_kept(_READERS[layout](folder), report, stored))
    if not raw:
        figures = _together(figures, report)
    if not figures:
        raise DataError(f"{folder} has {report.records:,} captions and no picture to any of them that is kept")
    parts = {split: [one for one in figures if one.split == split] for split in SPLITS}
    return Loaded.of(DatasetDict({split: _dataset(part, stored) for split, part in parts.items()}), report, max_skipped)


def audit(root: Path, count: int, seed: int) -> pd.DataFrame:
    """Captions to read, drawn at random, `count` that a rule leaves out and as many that stay: columns `caption`,
    `kind`, `rule`, `left_out`. Who reads them sees how often the rules are wrong."""
    folder = find(root)
    rows = [(figure.caption, *kind_of(figure.caption, figure.concepts)) for figure in _READERS[_layout(folder)](folder)]
    table = pd.DataFrame(rows, columns=["caption", "kind", "rule"])
    table["left_out"] = table["kind"].isin(LEFT_OUT)
    parts = (part.sample(min(count, len(part)), random_state=seed) for _, part in table.groupby("left_out"))
    return pd.concat(parts).sample(frac=1, random_state=seed).reset_index(drop=True)


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that data is read from, with the names under which they count."""
    layout = _layout(folder)
    if layout == "roco":
        for part in (folder / split / "radiology" for split in SPLITS):
            tables = [part / "captions.txt", part / "licences.txt"]
            yield from ((str(path.relative_to(folder)), path) for path in [*tables, *part.glob("images/*")])
        return
    tables = [
        *folder.glob("*_captions.csv"),
        *folder.glob("*_concepts_manual.csv"),
        *folder.glob("license_information.csv"),
    ]
    pictures = folder.glob("data/*.parquet") if layout == "hub" else folder.rglob("*.jpg")
    yield from ((path.name, path) for path in [*tables, *pictures])


def kind_of(caption: str, concepts: tuple[str, ...] = ()) -> tuple[str | None, str]:
    """The kind of a figure and the rule that tells it: a curated concept, else the caption's words.

    No curated concept tells fluoroscopy, so that words do where the concept is X-ray; and the concept angiogram does
    not tell how it was made.

    >>> kind_of("Angiogram of the left carotid artery.")
    ('fluoroscopy', 'names an angiogram taken through a catheter')
    >>> kind_of("CT angiography of the chest.", ("C0002978",))
    ('CT', 'names CT')
    """
    told = named_kind(caption)
    curated = next((CONCEPTS[one] for one in concepts if one in CONCEPTS), None)
    open_to_words = {"fluoroscopy": ("CT", "MR"), "XR": ("fluoroscopy",)}.get(curated or "", ())
    if curated is None or (told and told.kind in open_to_words):
        return (told.kind, told.name) if told else (None, "")
    return curated, f"has the curated concept {curated}"


def _layout(folder: Path) -> str | None:
    if (folder / "train" / "radiology" / "captions.txt").is_file():
        return "roco"
    if (folder / "train_captions.csv").is_file():
        return "rocov2"
    return "hub" if any(folder.glob("data/train-*.parquet")) else None


def _roco(folder: Path) -> Iterator[_Figure]:
    for split in SPLITS:
        part = folder / split / "radiology"
        table = _table(part / "licences.txt", "ROCO_ID", "PMC_ID", "CC")
        articles = table["PMC_ID"].str.partition("_")[0]  # PMC4083729_figure.jpg
        known = dict(zip(table["ROCO_ID"], zip(articles, table["CC"], strict=True), strict=True))
        pictures = {path.stem: path for path in part.glob("images/*") if path.suffix.lower() in (".jpg", ".png")}
        if not (part / "captions.txt").is_file():
            raise DataError(f"{part / 'captions.txt'} is missing: every split has one")
        for line in (part / "captions.txt").read_text(encoding="utf-8", errors="replace").strip().split("\n"):
            name, _, caption = (text.strip() for text in line.partition("\t"))
            yield _Figure(split, name, caption, pictures.get(name), *known.get(name, (None, None)))


def _rocov2(folder: Path) -> Iterator[_Figure]:
    known, pictures = _articles(folder), {path.stem: path for path in folder.rglob("*.jpg")}
    for split, name in _FILES.items():
        concepts = {}
        if (manual := folder / f"{name}_concepts_manual.csv").is_file():
            table = _table(manual, "ID", "CUIs")
            concepts = dict(zip(table["ID"], table["CUIs"].str.split(";").map(tuple), strict=True))
        for row in _table(folder / f"{name}_captions.csv", "ID", "Caption").itertuples():
            article, licence = known.get(row.ID, (None, None))
            yield _Figure(
                split, row.ID, row.Caption.strip(), pictures.get(row.ID), article, licence, concepts.get(row.ID, ())
            )


def _hub(folder: Path) -> Iterator[_Figure]:
    known, place = _articles(folder), 0
    for split in SPLITS:
        files = sorted(folder.glob(f"data/{split}-*.parquet"))
        if not files:
            raise DataError(f"{folder} has no data/{split}-*.parquet: every split has one")
        for file in files:
            table = pd.read_parquet(file, columns=["image_id", "caption", "cui"])
            for row in table.itertuples():
                article, licence = known.get(row.image_id, (None, None))
                concepts = tuple(row.cui) if row.cui is not None else ()
                yield _Figure(split, row.image_id, (row.caption or "").strip(), place, article, licence, concepts)
                place += 1


_READERS = {"roco": _roco, "rocov2": _rocov2, "hub": _hub}


def _pictures(folder: Path) -> Dataset:
    """The pictures of all parquet files, in the order in which `_hub` counts them; they stay on disk."""
    files = [str(file) for split in SPLITS for file in sorted(folder.glob(f"data/{split}-*.parquet"))]
    return Dataset.from_parquet(files, columns=["image"], features=Features({"image": FEATURES["image"]}))


def _articles(folder: Path) -> dict[str, tuple[str, str]]:
    """Article and licence by figure."""
    if not (folder / "license_information.csv").is_file():
        return {}
    table = _table(folder / "license_information.csv", "ID", "PMCID", "Attribution")
    return dict(zip(table["ID"], zip(table["PMCID"], table["Attribution"], strict=True), strict=True))


def _table(path: Path, *columns: str) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is missing; it holds the columns {', '.join(columns)}")
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").rename(columns=str.strip)
    if missing := set(columns) - set(table.columns):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}; found {', '.join(table.columns)}")
    return table


def _kept(figures: Iterator[_Figure], report: Report, stored: Dataset | None) -> Iterator[_Figure]:
    """Figures with a caption and a readable picture that no rule leaves out; the others are counted or listed."""
    seen: set[str] = set()
    for figure in figures:
        report.records += 1
        kind, rule = kind_of(figure.caption, figure.concepts)
        problem = "a second record of this figure" if figure.image_id in seen else ""
        seen.add(figure.image_id)
        if not problem and kind in LEFT_OUT:
            report.removed[f"{kind}: {rule}"] += 1
        elif not problem and figure.picture is None:
            report.removed["no picture in the folder"] += 1
        else:
            if problem := problem or _broken(figure.picture, stored):
                report.skipped.append(Skipped("captions", figure.image_id, problem))
            else:
                yield figure


def _broken(picture: Path | int, stored: Dataset | None) -> str:
    """Why a picture can't be used, by its head, or an empty string."""
    if isinstance(picture, Path):
        return broken_picture(picture, whole=False)
    content = stored.data.column("image")[picture]["bytes"].as_buffer()
    if content is None:  # then a path or an address would be opened
        return "its parquet file holds no picture"
    return broken_picture(pa.BufferReader(content), whole=False)  # copies nothing of what it does not look at


def _together(figures: list[_Figure], report: Report) -> list[_Figure]:
    """The figures, with all of an article in one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for figure in figures:
        splits[figure.article or figure.image_id].add(figure.split)
    first = {article: min(names, key=SPLITS.index) for article, names in splits.items()}
    moved = [replace(one, split=first[one.article or one.image_id]) for one in figures]
    count = sum(new.split != old.split for new, old in zip(moved, figures, strict=True))
    unknown = sum(figure.article is None for figure in figures)
    notes = [f"{count:,} figures changed their split: their article stands in several"] if count else []
    notes += [f"of {unknown:,} figures the article is not known: each counts as a case"] if unknown else []
    report.note = "; ".join(notes) or None
    return moved


def _dataset(figures: list[_Figure], stored: Dataset | None) -> Dataset:
    rows = [_row(figure) for figure in figures]
    if stored is None or not rows:
        return to_dataset(rows)
    told = to_dataset(rows, Features({name: kind for name, kind in FEATURES.items() if name != "image"}))
    pictures = stored.select([figure.picture for figure in figures])
    return concatenate_datasets([pictures, told], axis=1).select_columns(list(FEATURES))


def _row(figure: _Figure) -> dict[str, object]:
    kind, _ = kind_of(figure.caption, figure.concepts)
    case = figure.article or figure.image_id
    return dict.fromkeys(FEATURES) | {
        "image": str(figure.picture),
        "image_id": figure.image_id,
        "patient_id": case,
        "case_id": case,
        "modality": kind,
        "plane": _plane(figure.caption, kind),
        "caption": figure.caption or None,
        "source": "rocov2" if figure.image_id.startswith("ROCOv2") else "roco",
        "licence": figure.licence or LICENCE,
    }


def _plane(caption: str, kind: str | None) -> str | None:
    """The plane that a caption names, where it names one only."""
    tables = {"CT": _PLANES, "MR": _PLANES, "XR": _VIEWS}.get(kind or "", {})
    named = [plane for plane, words in tables.items() if words.search(caption)]
    return named[0] if len(named) == 1 else None
