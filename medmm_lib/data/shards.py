"""Data too large for memory and for one file, in shards of WebDataset's layout; `streams.py` reads them.

A shard is a tar file with two members a row: `<key>.png`, the picture, and `<key>.json`, the other fields of the
schema. `index.json`, written last, says of every shard its name, count, sha256 and bytes. A folder without it is
unfinished, and the same writer goes on after the last whole shard. Only one row is held at a time, and what is said of
shards.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from datasets import Features
from PIL import Image

from medmm_lib import paths
from medmm_lib.data.loaded import DataError
from medmm_lib.data.schema import FEATURES

Row = dict[str, Any]  # in the schema; `image` is a picture, or the bytes of an encoded one, which are kept as they are
INDEX, PROGRESS = "index.json", "progress.jsonl"
WRITTEN = Features({name: kind for name, kind in FEATURES.items() if name not in ("image", "mask")})


@dataclass(frozen=True)
class Shard:
    """One tar file, as the index describes it."""

    path: Path
    count: int
    sha256: str
    bytes: int


def write(folder: Path, rows: Callable[[str | None], Iterable[Row]], per_shard: int) -> list[Shard]:
    """Write rows into shards of `per_shard`, the last one of what is left. → all shards of the folder.

    `rows(last)` gives the rows after the one whose `image_id` is `last`, or all for None: so a writer that was killed
    goes on after its last whole shard. A finished folder is left as it is. A row's key is its shard's name and its
    place in there. Shards appear whole or not at all, and the same rows give the same bytes. Masks are not written.
    Raises `paths.InUse` when another process writes there, ValueError for a field that the schema lacks and for an
    `image_id` that a shard has twice; over all shards, these would have to be kept in memory.
    """
    if per_shard < 1:
        raise ValueError(f"per_shard is {per_shard}; expected 1 or more rows a shard")
    folder = Path(folder)
    with paths.locked(folder):
        if (folder / INDEX).is_file():
            return index(folder)
        for begun in folder.glob(".*.tar.*"):  # by a writer that was killed
            begun.unlink()
        done = _progress(folder)
        left = iter(rows(done[-1]["last"] if done else None))
        while (first := next(left, None)) is not None:
            done.append(_write_shard(folder, len(done), chain([first], islice(left, per_shard - 1))))
            with (folder / PROGRESS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
        described = [{name: one[name] for name in ("name", "count", "sha256", "bytes")} for one in done]
        paths.write_atomically(folder / INDEX, json.dumps({"shards": described}, indent=1) + "\n")
        (folder / PROGRESS).unlink(missing_ok=True)
    return index(folder)


def index(folder: Path) -> list[Shard]:
    """The shards of a finished folder, in order. Raises `DataError` for one that is not finished."""
    try:
        entries = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))["shards"]
        return [
            Shard(Path(folder) / Path(one["name"]).name, one["count"], one["sha256"], one["bytes"]) for one in entries
        ]
    except FileNotFoundError:
        raise DataError(f"{folder} has no {INDEX}: its writer did not finish; run it again and it goes on") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}/{INDEX} can't be read: {error!r}; remove it and the shards, and write again"
        ) from error


def damaged(shards: Iterable[Shard]) -> dict[str, str]:
    """What is wrong with shards, by their name: files that are missing, or not as they were written."""
    return {shard.path.name: why for shard in shards if (why := _damage(shard))}


def _damage(shard: Shard) -> str:
    if not shard.path.is_file():
        return "it is missing"
    if (size := shard.path.stat().st_size) != shard.bytes:
        return f"it has {size:,} bytes instead of {shard.bytes:,}"
    with shard.path.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    return "" if same else "its sha256 is not that of the index"


class _Hashing:
    """A file that is only written to, with the hash and the count of its bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return self.file.write(data)


def _write_shard(folder: Path, number: int, rows: Iterable[Row]) -> dict[str, Any]:
    """One shard, whole or not at all. → its entry in the index, and the `image_id` of its last row."""
    stem, ids = f"{folder.name}-{number:06d}", {}
    with paths.written(folder / f"{stem}.tar") as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|") as tar:
            for row in rows:
                if row["image_id"] in ids:
                    raise ValueError(f"image_id {row['image_id']!r} stands twice; expected a name of each row's own")
                ids[row["image_id"]] = None
                _add(tar, f"{stem}-{len(ids) - 1:05d}", row)
    sha256 = hashing.digest.hexdigest()
    return {
        "name": f"{stem}.tar",
        "count": len(ids),
        "sha256": sha256,
        "bytes": hashing.bytes,
        "last": next(reversed(ids)),
    }


def _add(tar: tarfile.TarFile, key: str, row: Row) -> None:
    """The two members of a row. Raises ValueError for a field that the schema lacks."""
    if unknown := row.keys() - FEATURES.keys():
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}; expected those of medmm_lib.data.schema")
    fields = json.dumps({name: row.get(name) for name in WRITTEN}, ensure_ascii=False).encode()
    for ending, content in (("png", encoded(row["image"])), ("json", fields)):
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def encoded(image: Image.Image | bytes) -> bytes:
    """A picture as PNG; bytes are taken as they are."""
    if isinstance(image, bytes):
        return image
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _progress(folder: Path) -> list[dict[str, Any]]:
    """The whole shards of an unfinished folder; what a killed writer left half-written is taken off the list."""
    whole = []
    file = folder / PROGRESS
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            one = json.loads(line)
        except ValueError:
            break
        if not (folder / one["name"]).is_file():
            break
        whole.append(one)
    paths.write_atomically(file, "".join(json.dumps(one) + "\n" for one in whole))
    return whole
