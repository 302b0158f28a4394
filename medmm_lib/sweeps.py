"""Parameter sweeps: one chapter with many sets of parameters, each in a folder of its own, and a table of the results.

A sweep is a YAML file:

    chapter: 03_fourm_pretraining
    profile: quick            # whose parameter file every run starts from
    grid:                     # every combination; or `list:`, one mapping of names to values a run
      learning_rate: [2.0e-3, 5.0e-3]
      seed: [0, 1]
    metrics: [loss_all_end]   # columns of the table; left out: all metrics
"""

import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medmm_lib import parallel, parameters, paths, results, sources
from medmm_lib.running import Job, RunError, earlier_chapters, parameters_of, run_one

KEYS = {"chapter", "profile", "grid", "list", "metrics"}
LONGEST = 80  # letters of a folder's name


@dataclass(frozen=True)
class Sweep:
    """A sweep's runs. `points`: the values of each that differ from the profile's."""

    name: str
    chapter: str
    profile: str
    points: list[dict[str, Any]]
    metrics: list[str] | None

    @property
    def folder(self) -> Path:
        """Where its runs and its table lie."""
        return paths.ARTIFACTS / "sweeps" / self.name

    def job(self, point: dict[str, Any]) -> Job:
        """One run: its folder is named by its values, and by their hash where that name would be long or odd."""
        label = ",".join(f"{name}={value}" for name, value in point.items())
        if len(label) > LONGEST or not re.fullmatch(r"[\w=,.+-]+", label):
            label = sources.json_hash(point)
        own = f"sweeps/{self.name}/{label}"
        return Job(own, self.chapter, parameters_of(self.profile, self.chapter) | point | {"profile": own})


def read(file: Path) -> Sweep:
    """A sweep from its file. Raises `RunError` that names what is wrong, before anything runs."""
    where = os.path.relpath(file)
    if not file.is_file():
        raise RunError(f"there is no {where}. A sweep is a YAML file, such as those in {os.path.relpath(paths.SWEEPS)}")
    given = parameters.read_file(file)
    if unknown := given.keys() - KEYS:
        raise RunError(f"{where}: unknown key {min(unknown)!r}. There are: {', '.join(sorted(KEYS))}")
    for name in ("chapter", "profile"):
        if not isinstance(given.get(name), str):
            raise RunError(f"{where}: expected a line such as `{name}: ...`")
    if ("grid" in given) == ("list" in given):
        raise RunError(f"{where}: expected either `grid:`, with a list of values a parameter, or `list:` of mappings")
    points = _grid(where, given["grid"]) if "grid" in given else given["list"]
    if not isinstance(points, list) or not points or not all(isinstance(one, dict) and one for one in points):
        raise RunError(f"{where}: `list` is {points!r}; expected a list of mappings such as {{seed: 1}}")
    if given["chapter"] not in paths.chapters():
        raise RunError(f"{where}: no chapter is called {given['chapter']}. There are: {', '.join(paths.chapters())}")
    metrics = given.get("metrics")
    if metrics is not None and not (isinstance(metrics, list) and all(isinstance(name, str) for name in metrics)):
        raise RunError(f"{where}: `metrics` is {metrics!r}; expected a list of names")
    sweep = Sweep(file.stem, given["chapter"], given["profile"], points, metrics)
    types = parameters.declared(paths.NOTEBOOKS / f"{sweep.chapter}.ipynb").types
    for point in points:
        if "profile" in point:
            raise RunError(f"{where}: profile can't be swept; each run gets one of its own")
        try:
            parameters.check(types, sweep.job(point).values)
        except parameters.ParameterError as error:
            raise RunError(f"{where}: {error}") from error
    if len({sweep.job(point).profile for point in points}) < len(points):
        raise RunError(f"{where}: two runs have the same values")
    return sweep


def run(file: Path, force: bool = False) -> Path:
    """Run what is not finished of a sweep, and write the table of its results. → the table, a CSV file.

    A run that fails is told, and the others go on; at the end `RunError` names those that failed.
    """
    if parallel.PROCESSES > 1:
        raise RunError("under torchrun, one chapter runs at a time: a sweep is many")
    sweep = read(file)
    failed: dict[str, RunError] = {}
    for number, point in enumerate(sweep.points, 1):
        job = sweep.job(point)
        print(f"run {number} of {len(sweep.points)}: {_told(point)}", flush=True)
        try:
            _link_earlier(sweep, job)
            run_one(job, force)
        except RunError as error:
            print(f"failed: {error}", flush=True)
            failed[_told(point)] = error
    made = table(sweep)
    paths.write_atomically(sweep.folder / "results.csv", made.to_csv(index=False))
    print(made.to_string(index=False))
    if failed:
        first, error = next(iter(failed.items()))
        raise RunError(f"{len(failed)} of {len(sweep.points)} runs failed. The first, {first}: {error}")
    return sweep.folder / "results.csv"


def table(sweep: Sweep) -> pd.DataFrame:
    """A row a run: its values, the wall time in seconds, and its metrics; empty where it has not ended."""
    rows = []
    for point in sweep.points:
        job = sweep.job(point)
        ended = results.latest(job.profile, job.chapter) if job.state.is_file() else None
        metrics = ended["metrics"] if ended else {}
        chosen = {name: metrics.get(name) for name in sweep.metrics} if sweep.metrics else metrics
        values = {
            name: value if isinstance(value, int | float | str) else json.dumps(value) for name, value in point.items()
        }
        rows.append(values | {"wall_s": ended["wall_s"] if ended else None} | chosen)
    return pd.DataFrame(rows)


def _grid(where: str, grid: object) -> list[dict[str, Any]]:
    if (
        not isinstance(grid, dict)
        or not grid
        or not all(isinstance(values, list) and values for values in grid.values())
    ):
        raise RunError(f"{where}: `grid` is {grid!r}; expected lists of values such as {{seed: [0, 1]}}")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _link_earlier(sweep: Sweep, job: Job) -> None:
    """The chapters that this one reads are those of the sweep's profile."""
    for earlier in earlier_chapters(sweep.profile, sweep.chapter):
        place, link = paths.artifacts(sweep.profile, earlier), paths.artifacts(job.profile, earlier)
        link.parent.mkdir(parents=True, exist_ok=True)
        wanted = os.path.relpath(place, link.parent)
        if link.is_symlink() and str(link.readlink()) != wanted:  # the sweep's profile was another one before
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(wanted, target_is_directory=True)


def _told(point: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())
