"""Data: one schema, one loader per source."""

import os
from pathlib import Path

from datasets import Dataset, DatasetDict, concatenate_datasets

from medmm_lib import paths, sources
from medmm_lib.data import medpix, mimic_cxr, phantom, roco
from medmm_lib.data.loaded import DataError, Loaded
from medmm_lib.data.schema import SPLITS

# Embedded data: how it is made. The larger one of a kind has the patients of the smaller one, and more.
PHANTOMS = {
    "phantom": {"patients": 240},
    "phantom_large": {"patients": 2000},
    "phantom_films": {"patients": 600, "films": True},
    "phantom_films_large": {"patients": 3000, "films": True},
}
# Data that is read from a folder: its loader. Phantom data is in MedPix 2.0's layout.
LOADERS = {"medpix": medpix, "roco": roco, "mimic_cxr": mimic_cxr}
SOURCES = (*PHANTOMS, *LOADERS)


def load(name: str, root: str | Path | None = None) -> DatasetDict:
    """The data of one source, in the schema of `medmm_lib.data.schema`, split `train`, `validation`, `test` by patient.

    Phantom data is made on first use. The others are read from `root`, or from the folder that `MEDMM_DATA` names: it
    is that of the source, or holds one for each (`medpix-2.0/`, `roco/`, `mimic-cxr-jpg/`). Raises `DataError` for an
    unknown source and for a folder that can't be used.
    """
    return loaded(name, root).dataset


def loaded(name: str, root: str | Path | None = None) -> Loaded:
    """`load`, with the report on what was found and left out."""
    return LOADERS.get(name, medpix).read(folder(name, root))


def folder(name: str, root: str | Path | None = None) -> Path:
    """The folder that a source is read from; the phantom data is written into `artifacts/data` on first use."""
    if name in PHANTOMS:
        return Path(root) if root else _phantom(name, **PHANTOMS[name])
    if name not in LOADERS:
        raise DataError(f"unknown data {name!r}. There are: {', '.join(SOURCES)}")
    place = root or os.environ.get("MEDMM_DATA")
    if not place:
        raise DataError(
            f"{name} needs a folder: set MEDMM_DATA, or the parameter data_root, to the folder that holds its files or "
            f"has them in {' or '.join(LOADERS[name].FOLDERS)}. `medmm data fetch --help` says what can be fetched"
        )
    return LOADERS[name].find(Path(place).expanduser())


def fingerprint(name: str, root: str | Path | None = None) -> str:
    """A hash of the names and contents of the files that a source is read from, wherever they lie.

    Of MIMIC-CXR's pictures, half a terabyte, it takes names and sizes.
    """
    loader, place = LOADERS.get(name, medpix), folder(name, root)
    return sources.files_hash(loader.files(place), by_size=(".jpg",) if name == "mimic_cxr" else ())


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
