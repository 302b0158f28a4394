"""Files of predictions: writing and reading them, the full table with intervals, the result as JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medmm_lib import paths
from medmm_lib.evaluation import closed
from medmm_lib.evaluation.degenerate import KINDS, degenerate
from medmm_lib.evaluation.intervals import Estimate, Statistic, interval, mean
from medmm_lib.evaluation.text import METRICS, bleu_counts, corpus_bleu, text_scores

REQUIRED = ("question", "reference", "prediction")
OPTIONAL = ("patient_id", "type", "samples")


class PredictionsError(ValueError):
    """A file of predictions that can't be scored; the message names what is missing."""


def write(records: Sequence[Mapping[str, object]], file: Path) -> None:
    """Write predictions, a line each, for `read`; the file is there whole or not at all."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    paths.write_atomically(file, "\n".join(lines) + "\n")


def read(path: Path) -> pd.DataFrame:
    """Read a `.jsonl` or `.csv` file with the columns question, reference, prediction[, patient_id, type, samples].

    `samples` (a list of texts, in `.jsonl` only) are several sampled answers; a row that has them may do without
    `prediction`, which is then the first of them. An empty prediction is kept as an empty answer. Raises
    `PredictionsError` for another kind of file, a missing or doubled column, a broken line, a row without a reference,
    and a file in which only some rows name a patient.
    """
    if path.suffix == ".jsonl":
        rows = _json_lines(path)
    elif path.suffix == ".csv":
        rows = _csv(path)
    else:
        raise PredictionsError(f"{path}: expected a .jsonl or .csv file")
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    if "samples" in frame and "prediction" not in frame:
        frame["prediction"] = None
    missing = [name for name in REQUIRED if name not in frame]
    if missing or frame.empty:
        what = f"has no column {', '.join(missing)}" if missing else "has no rows"
        raise PredictionsError(f"{path} {what}. Expected {', '.join(REQUIRED)}[, {', '.join(OPTIONAL)}]")
    for name in ("patient_id", "type"):
        if name in frame:
            given = [None if value in (None, "") else str(value) for value in frame[name]]
            frame[name] = pd.Series(given, dtype=object)
    _check(path, frame)
    if "samples" in frame:
        filled = [
            samples[0] if text is None and samples else text
            for text, samples in zip(frame["prediction"], frame["samples"], strict=True)
        ]
        frame["prediction"] = pd.Series(filled, dtype=object)
    return frame


def _check(path: Path, frame: pd.DataFrame) -> None:
    """Raise `PredictionsError` for the first row that can't be scored."""

    def refuse(wrong: list[bool], what: str) -> None:
        if any(wrong):
            raise PredictionsError(f"{path}, row {wrong.index(True) + 1}: {what}")

    for name in ("reference", "prediction"):
        refuse([not isinstance(text, str | None) for text in frame[name]], f"{name} is not a text")
    refuse([not text for text in frame["reference"]], "no reference. Leave out what can't be scored")
    if "samples" in frame:
        wrong = [
            not isinstance(texts, list | None) or any(not isinstance(text, str | None) for text in texts or [])
            for texts in frame["samples"]
        ]
        refuse(wrong, "samples is not a list of texts")
    if "patient_id" in frame and frame["patient_id"].notna().any():
        refuse([name is None for name in frame["patient_id"]], "no patient_id, although other rows have one")
    if "type" in frame:
        refuse([kind == "all" for kind in frame["type"]], "the type `all` is the name of the whole table")


def score(rows: pd.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """The full table of a frame that `read` returned: `all` rows, and each `type` where the column is given.

    Intervals are over patients; without the column `patient_id`, over rows, and `interval_over` says so. CIDEr's
    document frequencies are the whole file's, in every part. `per_example` has every metric of every row.
    """
    grouped = "patient_id" in rows and rows["patient_id"].notna().all()
    groups = rows["patient_id"].astype(str).to_numpy() if grouped else np.arange(len(rows))
    scores = text_scores(rows["prediction"].tolist(), rows["reference"].tolist())
    counts = bleu_counts(rows["prediction"].tolist(), rows["reference"].tolist())
    kinds = [degenerate(text) for text in rows["prediction"]]
    parts = {"all": np.ones(len(rows), dtype=bool)}
    if "type" in rows:
        parts |= {str(kind): (rows["type"] == kind).to_numpy() for kind in sorted(set(rows["type"].dropna()))}
    tables = {}
    for name, chosen in parts.items():
        part = {metric: values[chosen] for metric, values in scores.items()}
        tables[name] = {
            "rows": int(chosen.sum()),
            "patients": len(set(groups[chosen])) if grouped else None,
            "metrics": _text_table(part, counts[chosen], groups[chosen], seed),
            "closed": _closed(rows[chosen], groups[chosen], seed),
            "degenerate": _shares([kind for kind, take in zip(kinds, chosen, strict=True) if take]),
        }
    return {
        "interval_over": "patients" if grouped else "rows",
        "seed": seed,
        "parts": tables,
        "per_example": {name: [round(float(value), 6) for value in values] for name, values in scores.items()},
    }


def as_text(result: dict[str, Any]) -> str:
    """The result of `score` as tables to print."""
    lines = [f"95 % intervals over {result['interval_over']} (bootstrap)"]
    for name, part in result["parts"].items():
        patients = f", {part['patients']:,} patients" if part["patients"] else ""
        lines += ["", f"{name}: {part['rows']:,} rows{patients}"]
        table = pd.DataFrame(part["metrics"]).T
        lines.append(table.to_string(float_format=lambda value: f"{value:.3f}"))
        for metric, values in part["closed"].items():
            shown = f"{values['value']:.3f} [{values['low']:.3f}, {values['high']:.3f}]" if values else "—"
            lines.append(f"{metric:26}{shown}")
        lines.append("degenerate texts          " + ", ".join(f"{k} {v:.1%}" for k, v in part["degenerate"].items()))
    return "\n".join(lines)


def _text_table(
    scores: dict[str, np.ndarray], counts: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    table = {}
    for name in METRICS:
        statistic = _bleu_statistic(counts) if name == "bleu4" else mean(scores[name])
        corpus = interval(statistic, groups, seed=seed)
        values = {"corpus": corpus.value, "low": corpus.low, "high": corpus.high}
        table[name] = values | {"mean": float(scores[name].mean()), "median": float(np.median(scores[name]))}
    return table


def _bleu_statistic(counts: np.ndarray) -> Statistic:
    return lambda weights: corpus_bleu(weights @ counts)


def _closed(rows: pd.DataFrame, groups: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Closed accuracy: of the majority of a question's samples where it has any, else of its one prediction.

    Closed are the rows whose `type` is "closed", or, without such types, those whose reference begins with yes or no.
    """
    types = rows["type"].tolist() if "type" in rows and {"open", "closed"} & set(rows["type"]) else None
    chosen = np.array(
        [kind == "closed" for kind in types] if types else [closed.is_closed(t) for t in rows["reference"]]
    )
    if not chosen.any():
        return {}
    part, ids = rows[chosen], groups[chosen]
    sampled = part["samples"].tolist() if "samples" in part else [None] * len(part)
    samples = [texts or [text] for texts, text in zip(sampled, part["prediction"], strict=True)]
    right = interval(mean(closed.majority_right(samples, part["reference"].tolist())), ids, seed=seed)
    table = {"closed_accuracy": _plain(right, len(part))}
    several = np.array([len(texts) > 1 for texts in samples])
    if several.any():
        differ = closed.disagreement([texts for texts in samples if len(texts) > 1])
        table["closed_disagreement"] = _plain(interval(mean(differ), ids[several], seed=seed), int(several.sum()))
    return table


def _plain(estimate: Estimate, questions: int) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "questions": questions}


def _shares(kinds: list[set[str]]) -> dict[str, float]:
    counts = Counter(kind for found in kinds for kind in found)
    return {kind: counts[kind] / len(kinds) for kind in KINDS} | {"any": sum(map(bool, kinds)) / len(kinds)}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):  # a text may hold other marks that end a line
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PredictionsError(f"{path}, line {number}: this is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PredictionsError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return rows


def _csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file. An empty prediction is an empty answer; "NA" and "None" are texts like any other."""
    try:
        table = list(csv.reader(io.StringIO(_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise PredictionsError(f"{path}: this is not CSV: {error}") from error
    head, *lines = [line for line in table if line] or [[]]
    if doubled := [name for name in head if head.count(name) > 1]:
        raise PredictionsError(f"{path} has two columns {doubled[0]}")
    if "samples" in head:
        raise PredictionsError(f"{path}: samples are lists, which CSV does not have; write a .jsonl file")
    for number, line in enumerate(lines, 2):
        if len(line) != len(head):
            raise PredictionsError(f"{path}, record {number}: {len(line)} fields, expected {len(head)}; quote commas")
    return [dict(zip(head, line, strict=True)) for line in lines]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PredictionsError(f"{path} is not UTF-8: {error}") from error
