"""Headless runs: executes the chapters that are stale, in order, with Papermill.

Under `torchrun` every process runs every chapter (`medmm_lib.parallel`), and the main one keeps notebook and state.
"""

import errno
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from medmm_lib import data, parallel, parameters, paths, results, sources

PUBLISHED = tuple(
    paths.REPORT / f"{name}.csv" for name in ("published", "comparable", "gpus")
)  # figures of others, which pages show

NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class RunError(RuntimeError):
    """A chapter that could not be run; the message says which, why, and where its files lie."""


def run(profile: str, only: list[str] | None = None, force: bool = False) -> list[str]:
    """Run the stale chapters of `profile` in order (or those named in `only`) and return the names of those that ran.

    The chapters of a profile are those that it has a parameter file for.

    A chapter is stale when its notebook, its parameters, the library code it uses, its data or the results of the
    chapters it reads have changed since its last complete run. Parameter files are checked before anything runs.
    Raises `RunError` at the first chapter that fails.
    """
    jobs = [Job(profile, chapter, parameters_of(profile, chapter)) for chapter in _chosen(profile, only)]
    if parallel.PROCESSES > 1 and len(jobs) > 1:  # the processes of a second kernel would not find each other
        raise RunError("under torchrun, one chapter runs at a time: name it with --only")
    for job in jobs:
        if parallel.PROCESSES > 1 and not _metadata(job.chapter).get("trains"):
            raise RunError(f"{job.chapter} has no training that processes could share: run it without torchrun")
    ran = [job.chapter for job in jobs if run_one(job, force)]
    if not ran:
        print(f"Nothing to do: every chosen chapter of profile {profile} is up to date.")
    return ran


@dataclass(frozen=True)
class Job:
    """One run of a chapter. `values`: the parameters that differ from the notebook's own; `profile`: of its folder."""

    profile: str
    chapter: str
    values: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it leaves its files."""
        return paths.artifacts(self.profile, self.chapter)

    @property
    def page(self) -> Path:
        """The executed notebook, there once it is complete."""
        return self.folder / "notebook.ipynb"

    @property
    def state(self) -> Path:
        """Hashes of what the complete run depended on."""
        return self.folder / "inputs.json"


def run_one(job: Job, force: bool = False) -> bool:
    """Run one chapter if it is stale. → whether it ran. Raises `RunError`, also when another run has its folder."""
    try:
        with paths.locked(job.folder) if parallel.MAIN else nullcontext():
            return _run_stale(job, force)
    except paths.InUse as error:
        raise RunError(f"{job.chapter}: {error}") from error
    except OSError as error:
        if error.errno not in NOT_WRITTEN:
            raise
        raise RunError(
            f"{job.chapter} could not be run to its end: {error}. Its files are in {os.path.relpath(job.folder)}; what "
            "is there is whole, and the same command goes on from it"
        ) from error


def _run_stale(job: Job, force: bool) -> bool:
    inputs = _inputs(job)
    why = "forced" if force else _why_stale(job, inputs)
    if why is None:
        print(f"{job.chapter}: up to date")
        return False
    print(f"{job.chapter}: running ({why})", flush=True)
    started = time.monotonic()
    if parallel.MAIN:
        _execute(job)
        paths.write_atomically(job.state, json.dumps(inputs, indent=2))
    else:
        _take_part(job)
    print(f"{job.chapter}: done in {time.monotonic() - started:.0f} s", flush=True)
    return True


def _chosen(profile: str, only: list[str] | None) -> list[str]:
    chapters = paths.chapters()
    unknown = [name for name in only or [] if name not in chapters]
    if unknown:
        raise RunError(f"no chapter is called {', '.join(unknown)}. There are: {', '.join(chapters)}")
    if only:
        return [chapter for chapter in chapters if chapter in only]
    # Where none has a file, all of them, so that the first one's error says what to do.
    return [chapter for chapter in chapters if _parameter_file(profile, chapter).is_file()] or chapters


def _parameter_file(profile: str, chapter: str) -> Path:
    return paths.PARAMS / profile / f"{chapter}.yml"


def parameters_of(profile: str, chapter: str) -> dict[str, Any]:
    """What a profile's parameter file says, checked against the notebook. Raises `RunError` that names the file."""
    file = _parameter_file(profile, chapter)
    if not file.is_file():
        profiles = sorted({path.parent.name for path in paths.PARAMS.glob("*/[0-9]*.yml")})
        raise RunError(
            f"there is no {os.path.relpath(file)}. Profiles: {', '.join(profiles)}. To make one, copy a "
            "parameter file of another profile"
        )
    values = parameters.read_file(file)
    try:
        parameters.check(parameters.declared(paths.NOTEBOOKS / f"{chapter}.ipynb").types, values)
    except parameters.ParameterError as error:
        raise RunError(f"{os.path.relpath(file)}: {error}") from error
    return values


def _inputs(job: Job) -> dict[str, Any]:
    """Hashes of everything that the chapter's result depends on."""
    profile, chapter = job.profile, job.chapter
    notebook = paths.NOTEBOOKS / f"{chapter}.ipynb"
    full = parameters.declared(notebook).defaults | job.values
    inputs = {
        "code": sources.code_hash(chapter),
        "parameters": sources.json_hash(full),
        "results of record": sources.json_hash(results.of_record(chapter)),
        "published figures": sources.json_hash([file.read_text(encoding="utf-8") for file in PUBLISHED]),
    }
    if "data" in full:
        names = [full["data"]] if isinstance(full["data"], str) else full["data"]
        inputs["data"] = [data.fingerprint(name, full.get("data_root") or None) for name in names]
    for earlier in earlier_chapters(profile, chapter):
        summary = paths.artifacts(profile, earlier) / "results.json"
        inputs[earlier] = sources.json_hash(json.loads(summary.read_text())["metrics"])
    return inputs


def earlier_chapters(profile: str, chapter: str) -> list[str]:
    """The chapters whose results this one reads. Raises `RunError` where one of them has none under `profile`."""
    reads = _metadata(chapter).get("reads", [])
    for earlier in reads:
        if not (paths.artifacts(profile, earlier) / "results.json").is_file():
            raise RunError(
                f"{chapter} reads what {earlier} leaves: run `medmm run --profile {profile} --only {earlier}`"
            )
    return reads


def _metadata(chapter: str) -> dict[str, Any]:
    """What the notebook says of itself: the chapters that it `reads`, the code that it `runs`, whether it `trains`."""
    return nbformat.read(paths.NOTEBOOKS / f"{chapter}.ipynb", as_version=4).metadata.get("medmm", {})


def _why_stale(job: Job, inputs: dict[str, Any]) -> str | None:
    if not job.state.is_file() or not job.page.is_file():
        return "it has no complete run yet"
    before = json.loads(job.state.read_text())
    changed = [name for name in inputs.keys() | before.keys() if inputs.get(name) != before.get(name)]
    if changed:
        return f"changed: {', '.join(sorted(changed))}"
    summary = results.latest(job.profile, job.chapter)
    if summary is None or summary["code_hash"] != inputs["code"] or summary["parameters_hash"] != inputs["parameters"]:
        return "its results are missing or come from another run"
    return None


def _execute(job: Job) -> None:
    """Run one notebook into the chapter's folder: as `notebook.ipynb` only once it is complete."""
    partial = job.folder / "notebook.partial.ipynb"
    job.state.unlink(missing_ok=True)  # a run that fails leaves nothing that counts as complete
    try:
        _papermill(job, partial)
    except PapermillExecutionError as error:
        raise RunError(
            f"{job.chapter} failed in cell {error.exec_count}:\n\n{error.source.strip()}\n\n"
            + "\n".join(error.traceback)
            + f"\n\nThe notebook up to there: {os.path.relpath(partial)}"
        ) from error
    except (DeadKernelError, CellTimeoutError) as error:
        raise RunError(
            f"{job.chapter}: the kernel died or did not answer ({error}). If the machine ran out of memory, choose a "
            f"smaller profile. The notebook up to there: {os.path.relpath(partial)}"
        ) from error
    partial.rename(job.page)


def _take_part(job: Job) -> None:
    """Run one notebook as a process beside the main one; what it shows is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        _papermill(job, Path(folder) / "notebook.ipynb")


def _papermill(job: Job, target: Path) -> None:
    papermill.execute_notebook(
        paths.NOTEBOOKS / f"{job.chapter}.ipynb",
        target,
        parameters=job.values,
        kernel_name="python3",
        cwd=paths.ROOT,
        progress_bar={"desc": job.chapter, "unit": "cell", "file": sys.stderr} if parallel.MAIN else False,
        extra_arguments=["--log-level=ERROR"],  # without it, every kernel warns that it listens on a local port
    )
