"""`medmm data fetch`: brings a public source into a folder, checks every file, and goes on where it was stopped."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

import requests

from medmm_lib import paths
from medmm_lib.data import medpix
from medmm_lib.data.loaded import DataError, inside
from medmm_lib.data.remote import TIMEOUT, GitHub, Hub, Place, RemoteFile, Zenodo, session, unreachable

CHUNK = 2**16  # bytes: what is lost of a download that breaks off
# Pictures are packed already and texts shrink to a tenth; a bomb grows a thousandfold.
MOST_GROWTH = 20  # times the size of a zip file, all that it holds
LARGEST_ITEM = 2**30  # bytes of a file in a zip file: it is held in memory


@dataclass(frozen=True)
class Source:
    """A source that can be fetched: from where, which files (`*` patterns), into which folder, its licence, and what
    has to be unpacked: zip file → folder."""

    place: Place
    folder: str
    licence: str
    wanted: tuple[str, ...] = ("*",)
    unpacked: tuple[tuple[str, str], ...] = ()


MEDPIX = ("Case_topic.json", "Descriptions.json", "splitted_dataset/uid_list.json", "images/*.png")
FETCHED = {
    "medpix": Source(
        GitHub("CHILab1/MedPix-2.0", "d3bc431576ec8041114806ec3eb58d75adf45029", "MedPix-2-0"), "medpix-2.0",
        medpix.SOURCES["MPX"][1], MEDPIX,
    ),
    "roco": Source(
        Zenodo(10821435), "roco",
        "ROCOv2: CC BY-NC-SA 4.0; each figure is under its article's licence, told in license_information.csv.",
        ("*_captions.csv", "*_concepts_manual.csv", "license_information.csv", "*_images.zip"),
        tuple((f"{name}_images.zip", f"{name}_images") for name in ("train", "valid", "test")),
    ),
    "vqa_rad": Source(Hub("flaviagiammarino/vqa-rad"), "vqa_rad", "VQA-RAD: CC0 1.0.", ("data/*.parquet",)),
    "slake": Source(
        Hub("BoKelvin/SLAKE"), "slake", "SLAKE: CC BY 4.0.",
        ("train.json", "test.json", "imgs.zip"), (("imgs.zip", ""),),
    ),
    "pmc_vqa": Source(
        Hub("xmcmic/PMC-VQA"), "pmc_vqa", "PMC-VQA: CC BY-SA; figures under their articles' licences.",
        ("train_2.csv", "test_2.csv", "images_2.zip"), (("images_2.zip", ""),),
    ),
}  # fmt: skip


def fetch(source: Source, to: Path, told: Callable[[str], None] = print) -> Path:
    """Bring a source into its folder below `to`; returns that folder.

    The place's listing is the manifest: it is written beside the folder, and every file is checked against it. Files
    that are there and right are left alone; a file that was cut off goes on where it was; a damaged one is fetched
    again. Raises `DataError` without a network, for a file that stays wrong, and for a zip file that is broken, grows
    beyond all measure or has names that lead out of the folder.
    """
    folder = to.expanduser() / source.folder
    files = _wanted(source)
    manifest = json.dumps([asdict(file) for file in sorted(files, key=lambda file: file.path)], indent=1)
    beside = folder.with_name(f"{folder.name}.manifest.json")
    if beside.is_file() and beside.read_text(encoding="utf-8") != manifest:
        told(f"{source.place.address} has changed since it was fetched")
    paths.write_atomically(beside, manifest)
    size = sum(file.size for file in files)
    told(f"{len(files):,} files, {size / 2**20:,.0f} MiB, from {source.place.address}")
    there = 0
    for number, file in enumerate(files, 1):
        there += _have(file, inside(folder, file.path))
        if number % 100 == 0 or number == len(files):
            told(f"{number:,} of {len(files):,} ({there:,} were there)")
    for name, below in source.unpacked:
        _unpack(folder / name, folder / below)
    return folder


def _wanted(source: Source) -> list[RemoteFile]:
    """The files that the place lists, for each pattern at least one."""
    listed = list(source.place.files())
    needed = [*source.wanted, *(name for name, _ in source.unpacked)]
    if missing := [one for one in needed if not any(fnmatch(file.path, one) for file in listed)]:
        raise DataError(f"{source.place.address} lists no {', '.join(missing)}: it is not what this version expects")
    return [file for file in listed if any(fnmatch(file.path, one) for one in source.wanted)]


def _have(file: RemoteFile, path: Path) -> bool:
    """Make sure that a file is there and right; whether it was."""
    if path.is_file() and _right(file, path):
        return True
    partial = path.with_name(f"{path.name}.part")
    for _ in range(2):  # a part of another version is found out by its checksum: then from the start
        if not (partial.is_file() and _right(file, partial)):
            _download(file.url, partial, file.size)
        if _right(file, partial):
            os.replace(partial, path)
            return False
        partial.unlink()
    raise DataError(f"{file.url} is not what its listing says ({file.checksum}): was it changed on the way?")


def _download(url: str, partial: Path, size: int) -> None:
    """Fetch a file, or the rest of it. A server that knows no such rest sends the whole."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= size:
        partial.unlink(missing_ok=True)
        have = 0
    # Bytes as they are: the rest of a compressed answer is no rest of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with session().get(url, stream=True, timeout=TIMEOUT, headers=headers) as answer:
            answer.raise_for_status()
            with partial.open("ab" if answer.status_code == 206 else "wb") as out:
                for chunk in answer.iter_content(CHUNK):
                    out.write(chunk)
                    if out.tell() > size:  # whatever it is, it is not what is listed, and may have no end
                        break
    except requests.RequestException as error:
        raise DataError(unreachable(url, error)) from error


def _right(file: RemoteFile, path: Path) -> bool:
    kind, _, digest = file.checksum.partition(":")
    if path.stat().st_size != file.size:
        return False
    if kind == "git":
        return _hashed(path, hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)) == digest
    return _hashed(path, hashlib.new(kind, usedforsecurity=False)) == digest


def _hashed(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack what is not there or is not what the archive holds; the archive stays for the next fetch."""
    try:
        with zipfile.ZipFile(archive) as packed:
            items = [(item, inside(folder, item.filename)) for item in packed.infolist() if not item.is_dir()]
            _check_growth(archive, [item for item, _ in items])
            for item, target in items:
                if not target.is_file() or zlib.crc32(target.read_bytes()) != item.CRC:
                    paths.write_atomically(target, packed.read(item))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{archive} is no whole zip file ({error}), as its place has it") from error


def _check_growth(archive: Path, items: list[zipfile.ZipInfo]) -> None:
    """Raise `DataError` for an archive that would fill the disk or the memory. No item gives more than it declares:
    reading ends there, and the checksum is then wrong."""
    declared = sum(item.file_size for item in items)
    if declared > MOST_GROWTH * archive.stat().st_size:
        raise DataError(
            f"{archive} would grow to {declared / 2**20:,.0f} MiB, more than {MOST_GROWTH} times its size, which no "
            "pictures do: nothing was unpacked"
        )
    if large := [item for item in items if item.file_size > LARGEST_ITEM]:
        size = large[0].file_size / 2**20
        raise DataError(f"{archive} holds {large[0].filename} with {size:,.0f} MiB, too large for a picture or a table")
