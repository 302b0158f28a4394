"""Scoring a file of predictions: reading it, the full table with intervals, the result as JSON."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medmm_lib.evaluation import closed
from medmm_lib.evaluation.degenerate import KINDS, degenerate
from medmm_lib.evaluation.intervals import Estimate, Statistic, interval, mean
from medmm_lib.evaluation.text import METRICS, bleu_counts, corpus_bleu, text_scores

REQUIRED = ("question", "reference", "prediction")
OPTIONAL = ("patient_id", "type", "samples")


class PredictionsError(ValueError):
    """A file of predictions that can't be scored; the message names what is missing."""


def read(path: Path) -> pd.DataFrame:
    """Read a `.jsonl` or `.csv` file with the columns question, reference, prediction[, patient_id, type, samples].

    `samples` (a list of texts, in `.jsonl` only) are several sampled answers to a closed question; `prediction` may be
    left out where it is given. An empty prediction is kept as an empty answer. Raises `PredictionsError` for another
    kind of file, a missing column, a broken line, or a row without a reference.
    """
    if path.suffix == ".jsonl":
        rows = _json_lines(path)
    elif path.suffix == ".csv":
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    else:
        raise PredictionsError(f"{path}: expected a .jsonl or .csv file")
    if "samples" in rows and "prediction" not in rows:
        rows["prediction"] = rows["samples"].map(lambda texts: texts[0] if isinstance(texts, list) and texts else None)
    missing = [name for name in REQUIRED if name not in rows]
    if missing or rows.empty:
        what = f"has no column {', '.join(missing)}" if missing else "has no rows"
        raise PredictionsError(f"{path} {what}. Expected {', '.join(REQUIRED)}[, {', '.join(OPTIONAL)}]")
    rows = rows.astype(object).where(rows.notna(), None)
    for name in ("reference", "prediction"):
        wrong = [place for place, text in enumerate(rows[name], 1) if not isinstance(text, str | None)]
        if wrong:
            raise PredictionsError(f"{path}, row {wrong[0]}: {name} is not a text")
    if without := [place for place, text in enumerate(rows["reference"], 1) if not text]:
        raise PredictionsError(f"{path}, row {without[0]}: no reference. Leave out what can't be scored")
    return rows


def score(rows: pd.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """The full table of a frame that `read` returned: `all` rows, and each `type` where the column is given.

    Intervals are over patients; without the column `patient_id`, over rows, and `interval_over` says so.
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
    return {"interval_over": "patients" if grouped else "rows", "seed": seed, "parts": tables}


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
    """Closed accuracy: of the majority of the samples where there are any, else of the one prediction."""
    chosen = np.array([closed.is_closed(text) for text in rows["reference"]], dtype=bool)
    if not chosen.any():
        return {}
    part = rows[chosen]
    sampled = "samples" in part and part["samples"].map(lambda texts: isinstance(texts, list) and bool(texts)).all()
    samples = part["samples"].tolist() if sampled else [[text] for text in part["prediction"]]
    right = interval(mean(closed.majority_right(samples, part["reference"].tolist())), groups[chosen], seed=seed)
    table = {"closed_accuracy": _plain(right, len(part))}
    if sampled:
        table["closed_disagreement"] = _plain(interval(mean(closed.disagreement(samples)), groups[chosen], seed=seed))
    return table


def _plain(estimate: Estimate, rows: int | None = None) -> dict[str, float]:
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return values | ({"questions": rows} if rows else {})


def _shares(kinds: list[set[str]]) -> dict[str, float]:
    counts = Counter(kind for found in kinds for kind in found)
    return {kind: counts[kind] / len(kinds) for kind in KINDS} | {"any": sum(map(bool, kinds)) / len(kinds)}


def _json_lines(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PredictionsError(f"{path}, line {number}: this is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PredictionsError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return pd.DataFrame(rows)
