"""Comparable systems: what others publish about theirs, every cell with its source (`report/comparable.csv`)."""

import html
import re
from pathlib import Path

import pandas as pd
from IPython.display import HTML

from medmm_lib import paths
from medmm_lib.sortable import sortable

FILE = paths.REPORT / "comparable.csv"
COLUMNS = ["system", "field", "value", "source", "locator"]
FACTS = ("parameters", "commercial use", "licence", "training data")
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


def systems(facts: pd.DataFrame) -> HTML:
    """A sortable table of what is known of each system; every cell leads to its source. Unknown is left empty."""
    names = list(dict.fromkeys(facts["system"]))
    known = {(row["system"], row["field"]): row for row in facts.to_dict("records")}
    cells = [[known.get((name, field)) for field in FACTS] for name in names]
    rows = [
        [name, *("" if one is None else _linked(one["value"], one) for one in row)]
        for name, row in zip(names, cells, strict=True)
    ]
    sizes = [weights(row[0]["value"]) if row[0] else "" for row in cells]
    others = {
        field: [one["value"] if one else "" for one in column]
        for field, column in zip(FACTS[1:], list(zip(*cells, strict=True))[1:], strict=True)
    }
    return sortable(pd.DataFrame(rows, columns=["system", *FACTS]), {"parameters": sizes} | others, tall=True)


def published(facts: pd.DataFrame) -> HTML:
    """A sortable table of the figures that others publish: benchmark, split and metric as they word them, and where."""
    rows = facts[facts["field"].str.startswith(RESULT)].to_dict("records")
    table = [[row["system"], row["field"].removeprefix(RESULT), row["value"], _linked("source", row)] for row in rows]
    return sortable(
        pd.DataFrame(table, columns=["system", "benchmark, split and metric", "figure", "source"]), tall=True
    )


def weights(text: str) -> float:
    """The first number of weights that a text names: 4.2e9 for "4.2B". Raises `ValueError` for a text without one."""
    found = re.search(r"([\d.]+)\s*(m|b)(?:illion)?\b", text, re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} names no number of weights, such as 4.2B or 198M")
    return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2].lower()]


def _linked(text: str, row: dict[str, str]) -> HTML:
    where, title = (html.escape(row[name], quote=True) for name in ("source", "locator"))
    return HTML(f'<a href="{where}" title="{title}">{html.escape(text)}</a>')


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
