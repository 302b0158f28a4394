"""What reading a folder gave: the data in the one schema, and what had to be done to it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from datasets import DatasetDict


class DataError(ValueError):
    """A data folder that can't be used; the message says what was expected and what to do."""


@dataclass(frozen=True)
class Skipped:
    """A record that was left out: the file it stands in, what it is called there, and why."""

    file: str
    record: str
    reason: str


@dataclass
class Report:
    """What a folder holds and what had to be done to it."""

    root: Path
    images: int = 0
    cases: int = 0
    records: int = 0
    by_split: dict[str, int] = field(default_factory=dict)
    nulled: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unmapped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    marked: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)  # whole records, by the stated rule that leaves them out
    skipped: list[Skipped] = field(default_factory=list)
    note: str | None = None

    def __str__(self) -> str:
        """The report as lines to print."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.by_split.items())
        lines = [f"{self.root}: {self.cases:,} cases, {self.images:,} images ({splits})"]
        lines += [f"note: {self.note}"] if self.note else []
        for title, table in (("placeholders set to null", self.nulled), ("texts in no table, kept", self.unmapped)):
            for name, texts in sorted(table.items()):
                examples = ", ".join(f"{text!r} × {count}" for text, count in texts.most_common(6))
                lines.append(f"{title}: {name} {texts.total():,} ({examples})")
        if self.marked:
            lines.append("not one plane: " + ", ".join(f"{kind} {count}" for kind, count in self.marked.most_common()))
        lines += [f"left out: {rule} {count:,}" for rule, count in self.removed.most_common()]
        lines.append(f"skipped records: {len(self.skipped):,} of {self.records:,}")
        lines += [f"  {skip.file}: {skip.record}: {skip.reason}" for skip in self.skipped]
        return "\n".join(lines)


@dataclass(frozen=True)
class Loaded:
    """A folder's data and the report on it."""

    dataset: DatasetDict
    report: Report

    @classmethod
    def of(cls, dataset: DatasetDict, report: Report, max_skipped: float) -> "Loaded":
        """Both, with the report's counts of what came through. Raises `DataError` when more than the share
        `max_skipped` of all records had to be skipped, and when there is none."""
        share = len(report.skipped) / max(report.records, 1)
        if share > max_skipped:
            raise DataError(
                f"{len(report.skipped)} of {report.records} records ({share:.0%}) had to be skipped, more than the "
                f"{max_skipped:.0%} allowed. First: {report.skipped[0].record}: {report.skipped[0].reason}. "
                f"`medmm data check {report.root} --source ...` lists them all"
            )
        if not report.records:
            raise DataError(f"{report.root} holds no record")
        report.by_split = {name: len(part) for name, part in dataset.items()}
        report.images = sum(report.by_split.values())
        report.cases = len({case for part in dataset.values() for case in part["case_id"]})
        return cls(dataset, report)


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by a name from outside. Raises `DataError` for one that leads out of it."""
    pure, elsewhere = PurePosixPath(name), PureWindowsPath(name)  # data written here may be read on Windows
    odd = not pure.parts or ".." in pure.parts or "\\" in name or "\0" in name
    if odd or pure.is_absolute() or elsewhere.drive:
        raise DataError(f"{name!r} leads out of {folder}")
    return folder / pure
