"""Shards read back as streams: one row at a time, by several processes, from any place, with broken pictures told."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from datasets import Features, Image, IterableDataset, Value, load_dataset
from datasets.distributed import split_dataset_by_node

from medmm_lib.data.pictures import UNREADABLE, opened
from medmm_lib.data.shards import WRITTEN, Row, Shard

TOLD = 1000  # faults that are told by key; the others are only counted
MEMBERS = Features(
    {"png": Image(decode=False), "json": WRITTEN, "__key__": Value("string"), "__url__": Value("string")}
)


@dataclass
class Faults:
    """Rows of a stream that were skipped: how many, and of the first `TOLD` the key and why."""

    count: int = 0
    told: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, why: str) -> None:
        """Count one."""
        self.count += 1
        if self.count <= TOLD:
            self.told[key] = why


def stream(shards: Sequence[Shard], *, part: int = 0, parts: int = 1) -> IterableDataset:
    """The rows of shards, encoded; for one of several processes those of its own shards.

    A row has `png` (`bytes`), `json` (the other fields), `__key__` and `__url__` (the shard). `state_dict` says how far
    a stream has got and `load_state_dict` goes on from there; `shards[k:]` begins with shard k. Only give it shards in
    which `damaged` found nothing: one that was cut off ends the stream with an error. Raises ValueError where there are
    fewer shards than parts.
    """
    if not 0 <= part < parts or len(shards) < parts:
        raise ValueError(
            f"part {part} of {parts} of {len(shards)} shards: expected a part from 0, and a shard for each"
        )
    files = [str(shard.path) for shard in shards]
    rows = load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True, features=MEMBERS)
    return split_dataset_by_node(rows, part, parts, strategy="shards")


def decoded(rows: Iterable[Row], faults: Faults) -> Iterator[Row]:
    """What `stream` gives, as rows of the schema with a decoded `image`; `mask` is null, and `key` is the row's.

    A picture that is broken, or larger than `medmm_lib.data.pictures` takes, is skipped and told.
    """
    for row in rows:
        try:
            with opened(io.BytesIO(row["png"]["bytes"])) as image:
                image.load()
        except UNREADABLE as error:
            faults.add(row["__key__"], str(error))
            continue
        yield row["json"] | {"image": image, "mask": None, "key": row["__key__"]}
