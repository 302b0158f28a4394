"""What happens to runs that are disturbed: `make test-faults` runs all of it and prints a table.

Lost: results that an undisturbed run has and this one has not. Doubled: results that are there twice. Wrong: results
that differ, and faults that were not told.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file

from medmm_lib import checkpoints, paths, running
from medmm_lib.data import medpix
from tests.chapters import write_chapter
from tests.data import layout, test_llm_questions
from tests.fault_program import STEPS
from tests.report import test_site

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
TRIES = 5
TABLE: list[dict[str, object]] = []


@pytest.fixture(scope="module", autouse=True)
def table():
    """Print the table of faults and leave it in artifacts/faults.csv."""
    yield
    found = pd.DataFrame(TABLE)
    print("\n" + found.to_string(index=False))
    paths.write_atomically(ROOT / "artifacts" / "faults.csv", found.to_csv(index=False))


def told(fault, tries, *, lost=0, doubled=0, wrong=0):
    """Put a row into the table; all but the tries has to be zero."""
    TABLE.append({"fault": fault, "tries": tries, "lost": lost, "doubled": doubled, "wrong": wrong})
    assert (lost, doubled, wrong) == (0, 0, 0), TABLE[-1]


def start(*command, folder=None, **options):
    """A process of the test program, or of any Python `command` in a project's `folder`."""
    project = folder or ROOT
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project), str(project / "kernels"), str(ROOT)])}
    environment |= options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], cwd=project, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def train(folder, minutes=0.0, clock="steady", **options):
    return start("tests.fault_program", "train", folder, minutes, clock, **options)


def output_of(process, code=0):
    said = process.communicate(timeout=500)[0]
    assert process.returncode == code, said
    return said


def kill_after(process, begun, seconds):
    """Kill −9 some seconds after `begun` says that the work has begun. → whether it was still at work."""
    until = time.monotonic() + 200
    while not begun() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed training."""
    folder = tmp_path_factory.mktemp("whole")
    output_of(train(folder))
    return folder


def differences(folder, whole):
    """Steps that are lost or doubled in a training's log, and losses and weights that are not the undisturbed one's."""
    rows = [json.loads((one / "losses.json").read_text()) for one in (folder, whole)]
    steps = [step for step, _ in rows[0]]
    weights = [load_file(one / "weights.safetensors") for one in (folder, whole)]
    return {
        "lost": len(set(range(1, STEPS + 1)) - set(steps)), "doubled": len(steps) - len(set(steps)),
        "wrong": sum(one != other for one, other in zip(*rows, strict=False))
        + sum(not weight.equal(weights[1][name]) for name, weight in weights[0].items()),
    }  # fmt: skip


def test_killed_while_training(tmp_path, whole):
    moments, kills = random.Random(0), 0
    for _ in range(TRIES):
        held = [path.name for path in tmp_path.glob("checkpoint-*")]
        process = train(tmp_path)
        kills += kill_after(
            process, lambda held=held: [p.name for p in tmp_path.glob("checkpoint-*")] != held, moments.uniform(0, 1.0)
        )
    assert kills == TRIES
    output_of(train(tmp_path))
    told("kill −9 while training", kills, **differences(tmp_path, whole))


def test_killed_while_tokenising(tmp_path):
    def tokenise(folder):
        return start("tests.fault_program", "tokenise", folder)

    output_of(tokenise(tmp_path / "whole"))
    begun, moments, kills, wrong = tmp_path / "parts" / "started", random.Random(0), 0, 0
    for _ in range(TRIES):
        begun.unlink(missing_ok=True)
        kills += kill_after(tokenise(tmp_path / "parts"), begun.exists, moments.uniform(0, 0.6))
        wrong += sum(1 for file in (tmp_path / "parts" / "tokens").glob("*.safetensors") if not load_file(file))
    output_of(tokenise(tmp_path / "parts"))
    one, other = (load_file(tmp_path / name / "tokens.safetensors") for name in ("parts", "whole"))
    rows = [len(tokens["lengths/caption"]) for tokens in (one, other)]
    wrong += sum(not rows_.equal(other[name]) for name, rows_ in one.items())
    lost, doubled = max(0, rows[1] - rows[0]), max(0, rows[0] - rows[1])
    told("kill −9 while tokenising", kills, lost=lost, doubled=doubled, wrong=wrong)
    assert kills >= TRIES - 2  # one that was quick enough to end counts as undisturbed


def test_killed_while_writing_questions(tmp_path, serve):
    test_llm_questions.test_a_run_that_is_killed_goes_on_and_loses_and_doubles_nothing(tmp_path, serve, 10)
    told("kill −9 while a language model writes questions", 10)


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A project with two small chapters and a website."""
    for name in ("medmm_lib", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    pages = "[index.qmd, report/chapters/01_first.ipynb, report/chapters/02_second.ipynb]"
    config = test_site.CONFIG.replace("[index.qmd, report/chapters/01_first.ipynb]", pages)
    for name, content in {
        "_quarto.yml": config, "report/references.bib": test_site.BIBLIOGRAPHY,
        "index.qmd": "---\ntitle: Home\n---\n\nTwice: {{< var latest.02_second.double_rate >}}.\n",
    }.items():  # fmt: skip
        paths.write_atomically(tmp_path / name, content)
    for file in running.PUBLISHED:
        shutil.copy(file, tmp_path / "report")
    write_chapter(tmp_path, "01_first")
    write_chapter(tmp_path, "02_second", reads=["01_first"])
    return tmp_path


BUILD = "import sys; from medmm_lib.cli import main; sys.exit(main(['run']) or main(['site']))"


def built(folder):
    """The report's numbers by chapter, and its pages' headings and numbers by path."""
    numbers = {
        path.parent.name: json.loads(path.read_text())["metrics"]
        for path in folder.glob("artifacts/quick/*/results.json")
    }
    pages = {
        str(path.relative_to(folder / "_site")): re.findall(r"<h\d.*?</h\d>|Twice: [\d.]+", path.read_text(), re.DOTALL)
        for path in (folder / "_site").rglob("*.html")
    }
    return numbers, pages


def test_killed_while_building_the_report(report):
    (report / "build.py").write_text(BUILD)
    began = time.monotonic()
    output_of(start("build", folder=report))
    seconds, expected = time.monotonic() - began, built(report)
    assert "Twice: 1" in str(expected[1]["index.html"])
    moments, kills, lost, doubled, wrong = random.Random(1), 0, 0, 0, 0
    for _ in range(TRIES):
        for name in ("artifacts", "_site", "report/chapters"):
            shutil.rmtree(report / name)
        kills += kill_after(start("build", folder=report), lambda: True, seconds * moments.uniform(0.2, 0.8))
        output_of(start("build", folder=report))
        found = built(report)
        lost += sum(len(one.keys() - other.keys()) for one, other in zip(expected, found, strict=True))
        doubled += sum(len(other.keys() - one.keys()) for one, other in zip(expected, found, strict=True))
        wrong += found != expected
    told("kill −9 while building the report", kills, lost=lost, doubled=doubled, wrong=wrong)
    assert kills >= TRIES - 2  # one that was quick enough to end counts as undisturbed


@contextmanager
def small_disk(folder, mebibytes):
    """A file system of its own that is soon full; for root alone."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(tmp_path, whole):
    size = sum(path.stat().st_size for path in (whole / "checkpoint-240").iterdir())
    with small_disk(tmp_path / "disk", 4 + 4 * size // 2**20) as disk:
        (disk / "other").write_bytes(b"0" * int(2**20 * 4 + 1.5 * size))
        said = output_of(train(disk / "run"), code=1)
        wrong = int("run the same again" not in said and "holds no checkpoint" not in said)
        (disk / "other").unlink()
        output_of(train(disk / "run"))
        found = differences(disk / "run", whole)
    told("disk full", 1, **found | {"wrong": found["wrong"] + wrong})


@contextmanager
def read_only(folder):
    """A folder in which nothing can be written, by root neither."""
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode == 0
    if bound:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    elif os.geteuid() == 0:
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    else:
        folder.chmod(0o555)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True) if bound else folder.chmod(0o755)


def test_a_folder_that_can_not_be_written(report):
    output_of(start("medmm_lib.cli", "run", folder=report))
    before = {path: path.read_bytes() for path in report.glob("artifacts/**/*.json")}
    (report / "params/quick/02_second.yml").write_text("rate: 2.0\n")
    with read_only(report / "artifacts" / "quick" / "02_second"):
        said = output_of(start("medmm_lib.cli", "run", folder=report), code=1)
    after = {path: path.read_bytes() for path in report.glob("artifacts/**/*.json")}
    clear = "02_second could not be run to its end" in said and "Traceback" not in said
    told("read-only folder", 1, lost=len(before.keys() - after.keys()), wrong=int(before != after) + (not clear))


def test_damaged_checkpoints(tmp_path, whole):
    chance, found = random.Random(2), Counter()
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        shutil.copytree(whole, folder)
        for name in ("losses.json", "weights.safetensors"):
            (folder / name).unlink()
        last = folder / f"checkpoint-{STEPS}"
        file = chance.choice(sorted(path for path in last.iterdir() if path.name != checkpoints.MARK))
        content = bytearray(file.read_bytes())
        content[chance.randrange(len(content))] ^= 255
        file.write_bytes(content if attempt else content[: len(content) // 2])
        said = output_of(train(folder))
        found.update(differences(folder, whole))
        found["wrong"] += f"checkpoint-{STEPS} is left out ({file.name}" not in said
    told("damaged checkpoint", 2, **found)


def test_a_gpu_that_is_taken_away(tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    mark = tmp_path / f"checkpoint-{STEPS}" / checkpoints.MARK
    mark.write_text(mark.read_text().replace('"cpu"', '"cuda"'))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    said = output_of(train(tmp_path), code=1)
    lost = sum(not path.is_file() or path.read_bytes() != content for path, content in before.items())
    told("GPU taken away", 1, lost=lost, wrong=int("Attach one and run the same again" not in said))


def test_the_time_limit_again_and_again(tmp_path, whole):
    stops = 0
    while not (tmp_path / "losses.json").exists() and stops < 40:
        said = output_of(train(tmp_path, minutes=0.03))
        stops += "run the same again to go on" in said
    told("wall-clock budget met", stops, **differences(tmp_path, whole))
    assert stops >= 2


def test_two_runs_on_one_folder(tmp_path, whole):
    found = Counter()
    for attempt in range(TRIES):
        both = [train(tmp_path / str(attempt)) for _ in range(2)]
        said = [process.communicate(timeout=500)[0] for process in both]
        codes = sorted(process.returncode for process in both)
        found.update(differences(tmp_path / str(attempt), whole))
        found["wrong"] += codes != [0, 1] or not any("is in use by process" in text for text in said)
    told("two runs on one folder", TRIES, **found)


def test_a_clock_that_jumps(tmp_path, whole):
    kill_after(train(tmp_path, clock="jumping"), (tmp_path / "checkpoint-40").exists, 0.2)
    output_of(train(tmp_path, clock="jumping"))
    kept = sorted(int(path.name.partition("-")[2]) for path in tmp_path.glob("checkpoint-*"))
    found = differences(tmp_path, whole)
    told("clock jumps by days", 2, **found | {"wrong": found["wrong"] + (kept != [STEPS - 10, STEPS])})


HUB = """
import sys
from medmm_lib.contrastive.text_targets import language_model
from medmm_lib.vlm import loading
for load in (loading.load, loading.load_processor, language_model):
    try:
        load("nobody/no-such-model")
    except OSError as error:
        print(type(error).__name__, error)
"""


def test_names_of_the_hub_without_a_network(tmp_path):
    (tmp_path / "hub.py").write_text(HUB)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    said = output_of(start("hub", env=nowhere | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'kernels'}"}))
    clear = said.count("BaseUnavailable") + said.count("LanguageModelUnavailable")
    told("no network, names of the hub", 3, wrong=3 - clear)


def test_pictures_that_are_cut_off_between_two_looks_at_them(tmp_path):
    folder = layout.small(tmp_path / "data", count=20)
    pictures = sorted(folder.rglob("*.png"))
    cut = random.Random(3).sample(pictures, 3)
    for path in cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = medpix.read(folder, max_skipped=0.5)
    there = {image_id for part in read.dataset.values() for image_id in part["image_id"]}
    named = sum(any(path.stem in f"{one.record} {one.reason}" for one in read.report.skipped) for path in cut)
    whole = {path.stem for path in pictures} - {path.stem for path in cut}
    for part in read.dataset.values():
        for image in part["image"]:
            assert isinstance(image, Image.Image)
    told("pictures cut off", 3, lost=len(whole - there), doubled=len(there - whole), wrong=3 - named)
