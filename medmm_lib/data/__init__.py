"""Data: one schema, one loader per source."""

import os
from pathlib import Path

from datasets import Dataset, DatasetDict, concatenate_datasets

from medmm_lib import paths, sources
from medmm_lib.data import medpix, phantom
from medmm_lib.data.medpix_files import DataError
from medmm_lib.data.schema import SPLITS

# Embedded data: how it is made. The larger one of a kind has the patients of the smaller one, and more.
PHANTOMS = {
    "phantom": {"patients": 240},
    "phantom_large": {"patients": 2000},
    "phantom_films": {"patients": 600, "films": True},
    "phantom_films_large": {"patients": 3000, "films": True},
}
SOURCES = (*PHANTOMS, "medpix")


def load(name: str, root: str | Path | None = None) -> DatasetDict:
    """The data of one source, in the schema of `medmm_lib.data.schema`, split `train`, `validation`, `test` by patient.

    Phantom data is made on first use; `medpix` is read from `root` or from the folder that `MEDMM_DATA` names. Raises
    `DataError` for an unknown source and for a folder that can't be used.
    """
    return medpix.read(folder(name, root)).dataset


def folder(name: str, root: str | Path | None = None) -> Path:
    """The folder that a source is read from; the phantom data is written into `artifacts/data` on first use."""
    if name in PHANTOMS:
        return Path(root) if root else _phantom(name, **PHANTOMS[name])
    if name != "medpix":
        raise DataError(f"unknown data {name!r}. There are: {', '.join(SOURCES)}")
    place = root or os.environ.get("MEDMM_DATA")
    if not place:
        raise DataError(
            "medpix needs the folder of MedPix 2.0: set MEDMM_DATA, or the parameter data_root, to the folder that "
            "holds Descriptions.json, Case_topic.json, uid_list.json and images/"
        )
    return medpix.find(Path(place).expanduser())


def fingerprint(name: str, root: str | Path | None = None) -> str:
    """A hash of the names and contents of all files of a source."""
    return sources.folder_hash(folder(name, root))


def examples() -> Dataset:
    """A few large phantom studies to look at: eight patients, 192 × 192 pixels."""
    parts = medpix.read(_phantom("phantom-examples", patients=8, size=192)).dataset
    return concatenate_datasets([parts[split] for split in SPLITS])


def _phantom(name: str, **options: int) -> Path:
    """A phantom folder; its name carries a hash of the code that makes it, so that old data is not reused."""
    files = sources.library_files("import medmm_lib.data.phantom")
    code = sources.json_hash([path.read_text(encoding="utf-8") for path in files if "phantom" in path.parts])
    place = paths.ARTIFACTS / "data" / f"{name}-{code}"
    if not place.is_dir():
        try:
            phantom.write(place, **options)
        except OSError:
            if not place.is_dir():
                raise
            # Another process was faster, and the same arguments give the same bytes.
    return place
