"""Results and where they come from: one JSON a measurement, one summary a chapter, and the results of record.

A summary is promoted by hand to `report/results/<profile>/<chapter>.json`, which is committed; pages show it beside
the latest run.
"""

import json
import math
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from medmm_lib import device, parallel, parameters, paths, plots, sources

NOT_MEASURED = "not measured yet"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PACKAGES = ["torch", "datasets", "transformers", "nilearn", "numpy", "scikit-learn", "plotly", "papermill"]


class PromotionError(ValueError):
    """A summary that can't become a result of record; the message says why."""


class RunRecord:
    """One training or measurement: what went in, what came out, on what it ran.

    Put results into `metrics` (flat names, with the unit in the name where there is one) and `curves` (lists of
    numbers, or of the rows of a table), then call `save`. `data` holds `name`, `fingerprint` and, where there is
    something to know, `note`.
    """

    def __init__(
        self, chapter: str, parameters: dict[str, Any], *, name: str = "main", data: dict[str, Any] | None = None
    ) -> None:
        self.chapter = chapter
        self.name = name
        self.parameters = parameters
        self.data = data or {}
        self.metrics: dict[str, float | int | str] = {}
        self.curves: dict[str, list[Any]] = {}
        self._start = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def profile(self) -> str:
        """The profile the run belongs to, from its parameters."""
        return self.parameters["profile"]

    def as_dict(self) -> dict[str, Any]:
        """Everything that is written down."""
        return {
            "chapter": self.chapter,
            "name": self.name,
            "profile": self.profile,
            "parameters": self.parameters,
            "parameters_hash": sources.json_hash(self.parameters),
            "code_hash": sources.code_hash(self.chapter),
            "git": _git(),
            "data": self.data,
            "seed": self.parameters.get("seed"),
            "device": device.describe(),
            "dtype": self.parameters.get("dtype"),
            "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
            "start": self._start.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - self._clock, 2),
            "peak_memory_mib": round(device.memory_mib()["peak_mib"]),
            "metrics": self.metrics,
            "curves": self.curves,
        }

    def save(self) -> dict[str, Any]:
        """Write this run's JSON and bring the chapter's summary up to date; returns what was written.

        The summary holds the runs of one set of parameters and one state of the code: a run with others begins it anew.
        """
        record = self.as_dict()
        folder = paths.artifacts(self.profile, self.chapter)
        identity = {key: record[key] for key in ("name", "parameters_hash", "code_hash", "data")}
        if parallel.MAIN:
            _write(folder / "runs" / sources.json_hash(identity) / "record.json", record)
        summary = _read(folder / "results.json") or {}
        same = all(summary.get(key) == record[key] for key in ("parameters_hash", "code_hash", "data"))
        earlier = summary.get("metrics", {}) if same else {}
        curves = summary.get("curves", {}) if same else {}
        record |= {"metrics": earlier | self.metrics, "curves": curves | self.curves}
        del record["name"]
        if parallel.MAIN:
            _write(folder / "results.json", record)
        return record


def latest(profile: str, chapter: str) -> dict[str, Any] | None:
    """The summary that the chapter's latest run under `profile` left, or None."""
    return _read(paths.artifacts(profile, chapter) / "results.json")


def of_record(chapter: str) -> dict[str, dict[str, Any]]:
    """The chapter's results of record, by profile."""
    found = {path.parent.name: _read(path) for path in sorted(paths.RECORDS.glob(f"*/{chapter}.json"))}
    return {profile: record for profile, record in found.items() if record is not None}


def promote(profile: str, chapter: str) -> Path:
    """Copy a chapter's summary to the results of record and return the copy's path.

    Raises `PromotionError` unless the run was made from a clean, committed tree, by the code that stands there now,
    on data with a fingerprint.
    """
    record = latest(profile, chapter)
    if record is None:
        raise PromotionError(f"{chapter} has no results under {profile}: run `medmm run --profile {profile}` first")
    if record["git"]["commit"] is None or record["git"]["dirty"]:
        raise PromotionError(f"{chapter} was run from a tree with uncommitted changes: commit, run again, promote")
    if record["code_hash"] != sources.code_hash(chapter):
        raise PromotionError(f"{chapter} or its library code changed after the run: run it again, then promote")
    if record["parameters_hash"] != sources.json_hash(parameters.of_profile(profile, chapter)):
        raise PromotionError(
            f"{chapter} was run with other parameters than params/{profile}/{chapter}.yml: run it again"
        )
    if not record["data"].get("fingerprint"):
        raise PromotionError(f"{chapter} names no data fingerprint: nobody could tell what it was measured on")
    target = paths.RECORDS / profile / f"{chapter}.json"
    _write(target, record)
    return target


def with_records(record: RunRecord) -> dict[str, dict[str, Any]]:
    """What a page can show of a study: this run and the chapter's results of record, by title; stale ones are marked.

    Each has `metrics`, `curves` and `parameters`.
    """
    own = {"metrics": record.metrics, "curves": record.curves, "parameters": record.parameters}
    told = {f"this run ({record.data.get('name', record.profile)})": own}
    current = sources.code_hash(record.chapter)
    for one in of_record(record.chapter).values():
        stale = "" if one["code_hash"] == current else "; stale: made by older code"
        told[f"of record ({one['data']['name']}, {one['start'][:10]}{stale})"] = one
    return told


def card(record: dict[str, Any]) -> None:
    """Display the run card that ends every chapter, as a table."""
    git, data, machine = record["git"], record["data"], record["device"]
    commit = "no git" if git["commit"] is None else git["commit"][:10] + (" (with changes)" if git["dirty"] else "")
    rows = {
        "Profile": record["profile"],
        "Data": " · ".join(str(data[key]) for key in ("name", "fingerprint", "note") if data.get(key)) or "none",
        "Code": f"commit {commit} · hash {record['code_hash']}",
        "Parameters": f"hash {record['parameters_hash']} · "
        + ", ".join(_code(f"{name}={value!r}") for name, value in record["parameters"].items()),
        "Device": f"{machine['name']} ({machine.get('cores', machine.get('count'))} × {machine['type']})",
        "Started": record["start"],
        "Wall time": f"{record['wall_s']:.1f} s",
        "Peak memory": f"{record['peak_memory_mib']:,} MiB",
        "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    lines = ["| Run card | |", "|:--|:--|", *(f"| {key} | {value} |" for key, value in rows.items())]
    plots.box("\n".join(lines), "run-card")


def _code(text: str) -> str:
    """As code in a cell of a table, which a text with a backtick or a bar would end."""
    return "`" + text.replace("`", "ˋ").replace("|", "¦") + "`"


def beside_record(record: dict[str, Any], metrics: dict[str, str]) -> Markdown:
    """A table of this run's `metrics` (name → what to call it) beside the chapter's results of record."""
    records = of_record(record["chapter"])
    current = sources.code_hash(record["chapter"])
    heads = ["This run (" + record["profile"] + ")"]
    for profile, old in records.items():
        stale = "" if old["code_hash"] == current else ", **stale**: made by older code"
        heads.append(f"Of record ({profile}, {old['start'][:10]}, {old['git']['commit'][:10]}{stale})")
    lines = ["| | " + " | ".join(heads) + " |", "|:--|" + "--:|" * len(heads)]
    for name, title in metrics.items():
        values = [run["metrics"].get(name) for run in (record, *records.values())]
        lines.append(f"| {title} | " + " | ".join(number(value) for value in values) + " |")
    notes = [f"Of record ({name}): {old['data']['note']}." for name, old in records.items() if old["data"].get("note")]
    if not records:
        notes = ["No result of record has been promoted for this chapter yet."]
    return Markdown("\n\n".join(["\n".join(lines), *notes]))


def number(value: float | str | None) -> str:
    """A metric as prose shows it: 12,345 · 0.123 · 45.7 · 1.2 × 10⁻⁵ · not measured yet (for None)."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "undefined"
    if value and abs(value) < 1e-3:
        factor, exponent = f"{value:.2e}".split("e")
        return f"{float(factor):g} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def _git() -> dict[str, Any]:
    """The commit and whether tracked or untracked files differ from it; nulls outside a git checkout."""
    run = {"cwd": paths.ROOT, "capture_output": True, "text": True, "check": True}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain"], **run).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(status.strip())}


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write(path: Path, value: dict[str, Any]) -> None:
    paths.write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
