"""Headless runs: executes the chapters that are stale, in order, with Papermill."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from medmm_lib import data, parameters, paths, results, sources

PUBLISHED = tuple(
    paths.REPORT / f"{name}.csv" for name in ("published", "comparable", "gpus")
)  # figures of others, which pages show


class RunError(RuntimeError):
    """A chapter that could not be run; the message says which, why, and where its files lie."""


def run(profile: str, only: list[str] | None = None, force: bool = False) -> list[str]:
    """Run the stale chapters of `profile` in order (or those named in `only`) and return the names of those that ran.

    The chapters of a profile are those that it has a parameter file for.

    A chapter is stale when its notebook, its parameters, the library code it uses, its data or the results of the
    chapters it reads have changed since its last complete run. Parameter files are checked before anything runs.
    Raises `RunError` at the first chapter that fails.
    """
    chosen = _chosen(profile, only)
    values = {chapter: _parameters(profile, chapter) for chapter in chosen}
    ran = []
    for chapter in chosen:
        inputs = _inputs(profile, chapter)
        why = "forced" if force else _why_stale(profile, chapter, inputs)
        if why is None:
            print(f"{chapter}: up to date")
            continue
        print(f"{chapter}: running ({why})", flush=True)
        started = time.monotonic()
        _execute(profile, chapter, values[chapter])
        paths.write_atomically(_state(profile, chapter), json.dumps(inputs, indent=2))
        print(f"{chapter}: done in {time.monotonic() - started:.0f} s", flush=True)
        ran.append(chapter)
    if not ran:
        print(f"Nothing to do: every chosen chapter of profile {profile} is up to date.")
    return ran


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


def _parameters(profile: str, chapter: str) -> dict[str, Any]:
    file = _parameter_file(profile, chapter)
    if not file.is_file():
        profiles = sorted(path.name for path in paths.PARAMS.iterdir() if path.is_dir())
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


def _inputs(profile: str, chapter: str) -> dict[str, Any]:
    """Hashes of everything that the chapter's result depends on."""
    notebook = paths.NOTEBOOKS / f"{chapter}.ipynb"
    full = parameters.of_profile(profile, chapter)
    reads = nbformat.read(notebook, as_version=4).metadata.get("medmm", {}).get("reads", [])
    inputs = {
        "code": sources.code_hash(chapter),
        "parameters": sources.json_hash(full),
        "results of record": sources.json_hash(results.of_record(chapter)),
        "published figures": sources.json_hash([file.read_text(encoding="utf-8") for file in PUBLISHED]),
    }
    if "data" in full:
        names = [full["data"]] if isinstance(full["data"], str) else full["data"]
        inputs["data"] = [data.fingerprint(name, full.get("data_root") or None) for name in names]
    for earlier in reads:
        summary = paths.artifacts(profile, earlier) / "results.json"
        if not summary.is_file():
            raise RunError(
                f"{chapter} reads what {earlier} leaves: run `medmm run --profile {profile} --only {earlier}`"
            )
        inputs[earlier] = sources.json_hash(json.loads(summary.read_text())["metrics"])
    return inputs


def _why_stale(profile: str, chapter: str, inputs: dict[str, Any]) -> str | None:
    if not _state(profile, chapter).is_file() or not _page(profile, chapter).is_file():
        return "it has no complete run yet"
    before = json.loads(_state(profile, chapter).read_text())
    changed = [name for name in inputs.keys() | before.keys() if inputs.get(name) != before.get(name)]
    if changed:
        return f"changed: {', '.join(sorted(changed))}"
    summary = results.latest(profile, chapter)
    if summary is None or summary["code_hash"] != inputs["code"] or summary["parameters_hash"] != inputs["parameters"]:
        return "its results are missing or come from another run"
    return None


def _execute(profile: str, chapter: str, values: dict[str, Any]) -> None:
    """Run one notebook into `artifacts/<profile>/<chapter>/`: as `notebook.ipynb` only once it is complete."""
    partial = paths.artifacts(profile, chapter) / "notebook.partial.ipynb"
    partial.parent.mkdir(parents=True, exist_ok=True)
    _state(profile, chapter).unlink(missing_ok=True)  # a run that fails leaves nothing that counts as complete
    try:
        papermill.execute_notebook(
            paths.NOTEBOOKS / f"{chapter}.ipynb",
            partial,
            parameters=values,
            kernel_name="python3",
            cwd=paths.ROOT,
            progress_bar={"desc": chapter, "unit": "cell", "file": sys.stderr},
            extra_arguments=["--log-level=ERROR"],  # without it, every kernel warns that it listens on a local port
        )
    except PapermillExecutionError as error:
        raise RunError(
            f"{chapter} failed in cell {error.exec_count}:\n\n{error.source.strip()}\n\n"
            + "\n".join(error.traceback)
            + f"\n\nThe notebook up to there: {os.path.relpath(partial)}"
        ) from error
    except (DeadKernelError, CellTimeoutError) as error:
        raise RunError(
            f"{chapter}: the kernel died or did not answer ({error}). If the machine ran out of memory, choose a "
            f"smaller profile. The notebook up to there: {os.path.relpath(partial)}"
        ) from error
    partial.rename(_page(profile, chapter))


def _page(profile: str, chapter: str) -> Path:
    return paths.artifacts(profile, chapter) / "notebook.ipynb"


def _state(profile: str, chapter: str) -> Path:
    return paths.artifacts(profile, chapter) / "inputs.json"
