"""Comparable systems: what others publish about theirs, every cell with its source (`report/comparable.csv`)."""

from pathlib import Path

import pandas as pd

from medmm_lib import paths

FILE = paths.REPORT / "comparable.csv"
COLUMNS = ["system", "field", "value", "source", "locator"]
FACTS = ("parameters", "training data", "licence", "commercial use")
COMMERCIAL = ("yes", "no", "with conditions")
RESULT = "result: "  # how the field of a published figure begins; the rest is benchmark, split and metric


class ComparableError(ValueError):
    """A file of comparable systems that can't be shown; the message names the row."""


def read(file: Path = FILE) -> pd.DataFrame:
    """The facts, one a row: system, field, value, source (an address), locator (where in the source).

    A field is one of `FACTS` or begins with `RESULT`. What has no source is left out of the file, not guessed. Raises
    `ComparableError` for a missing column, an empty cell, a source that is no address, an unknown field and a fact
    that is told twice.
    """
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    if list(frame.columns) != COLUMNS:
        raise ComparableError(f"{file.name} has the columns {', '.join(frame.columns)}; expected {', '.join(COLUMNS)}")
    for number, row in enumerate(frame.to_dict("records"), start=2):
        wrong = _wrong(row)
        if wrong:
            raise ComparableError(f"{file.name}, line {number} ({row['system']}, {row['field']}): {wrong}")
    twice = frame[frame.duplicated(["system", "field"])]
    if len(twice):
        raise ComparableError(f"{file.name} tells {twice['field'].iloc[0]!r} of {twice['system'].iloc[0]} twice")
    return frame


def _wrong(row: dict[str, str]) -> str:
    if empty := [name for name in COLUMNS if not row[name].strip()]:
        return f"no {', '.join(empty)}"
    if not row["source"].startswith("https://"):
        return f"the source is {row['source']!r}; expected an address"
    if row["field"] not in FACTS and not row["field"].startswith(RESULT):
        return f"unknown field; expected {', '.join(FACTS)}, or {RESULT!r} and benchmark, split, metric"
    if row["field"] == "commercial use" and row["value"] not in COMMERCIAL:
        return f"commercial use is {row['value']!r}; expected {', '.join(COMMERCIAL)}"
    return ""
