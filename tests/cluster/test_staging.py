import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medmm_lib import checkpoints, paths
from medmm_lib.cluster import staging
from medmm_lib.data import shards
from tests.chapters import write_chapter


def write(folder, **files):
    for name, content in files.items():
        paths.write_atomically(folder / name.replace("__", "/"), content)


def there(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_only_what_is_new_or_changed_is_copied(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, a="1", sub__b="2")
    assert staging.mirror(one, other) == 2
    assert staging.mirror(one, other) == 0
    write(one, a="3", c="4")
    assert staging.mirror(one, other) == 2
    assert there(other) == {"a": "3", "sub/b": "2", "c": "4"}


def test_nothing_is_removed_but_dropped_checkpoints_once_a_later_one_is_whole(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, **{"run__checkpoint-4__a": "1", "kept": "2"})
    staging.mirror(one, other)
    write(other, mine="3")
    shutil.rmtree(one / "run" / "checkpoint-4")
    (one / "kept").unlink()
    write(one, **{"run__checkpoint-8__a": "5"})
    staging.mirror(one, other)
    assert there(other) == {"run/checkpoint-4/a": "1", "run/checkpoint-8/a": "5", "kept": "2", "mine": "3"}
    write(one, **{f"run__checkpoint-8__{checkpoints.MARK}": "6"})
    staging.mirror(one, other)
    assert "run/checkpoint-4/a" not in there(other)
    shutil.rmtree(one)  # a disk that was lost says nothing about checkpoints
    staging.mirror(one, other)
    assert "run/checkpoint-8/a" in there(other)


def test_checkpoints_that_change_while_others_are_copied_are_not_lost(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, **{f"checkpoint-4__{checkpoints.MARK}": "4", "large": "1"})
    staging.mirror(one, other)
    write(one, large="2")
    copy = staging._copy

    def slow(path, to):  # meanwhile the training goes on
        shutil.rmtree(one / "checkpoint-4", ignore_errors=True)
        write(one, **{f"checkpoint-8__{checkpoints.MARK}": "8"})
        return copy(path, to)

    monkeypatch.setattr(staging, "_copy", slow)
    staging.mirror(one, other)
    assert set(there(other)) == {"large", f"checkpoint-4/{checkpoints.MARK}"}
    staging.mirror(one, other)
    assert set(there(other)) == {"large", f"checkpoint-8/{checkpoints.MARK}"}


def test_a_file_that_is_written_to_while_it_is_copied_is_left_for_the_next_time(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, a="111")
    copy = shutil.copy2

    def late(path, to, **options):
        copy(path, to, **options)
        write(one, a="222")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", late)
        assert staging.mirror(one, other) == 0
    assert staging.mirror(one, other) == 1
    assert there(other) == {"a": "222"}


def test_marks_come_after_what_they_mark(tmp_path, monkeypatch):
    one, copied = tmp_path / "one", []
    write(
        one,
        **{
            "inputs.json": "",
            "results.json": "",
            f"c__{checkpoints.MARK}": "",
            "c__z": "",
            "z": "",
            f"d__{shards.INDEX}": "",
        },
    )
    copy = staging._copy
    monkeypatch.setattr(staging, "_copy", lambda path, to: copied.append(path.name) or copy(path, to))
    staging.mirror(one, tmp_path / "other")
    assert copied == ["z", "z", *staging.MARKS]


def test_a_database_is_copied_whole_while_it_is_written_to(tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    with sqlite3.connect(one / "replies.sqlite") as store:
        store.execute("CREATE TABLE replies (key TEXT)")
        store.execute("INSERT INTO replies VALUES ('a')")
        store.commit()
        store.execute("INSERT INTO replies VALUES ('not committed')")
        staging.mirror(one, tmp_path / "other")
    with sqlite3.connect(tmp_path / "other" / "replies.sqlite") as copy:
        assert copy.execute("SELECT key FROM replies").fetchall() == [("a",)]


def test_links_stay_links_and_locks_stay_behind(tmp_path):
    one = tmp_path / "one"
    write(one, **{"a__x": "1", ".lock": ""})
    (one / "b").symlink_to("a", target_is_directory=True)
    for _ in range(2):
        staging.mirror(one, tmp_path / "other")
    assert (tmp_path / "other" / "b").readlink().name == "a"
    assert not (tmp_path / "other" / ".lock").exists()


@pytest.fixture
def home(project, monkeypatch):
    """A copy of the project with two small chapters alone, as it lies on a volume."""
    for name in ("medmm_lib", "kernels", "report"):
        shutil.copytree(paths.ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "chapters"))
    for name in ("_quarto.yml", "index.qmd", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, project / name)
    (project / ".venv").mkdir()
    (project / ".venv" / "large").write_text("")
    monkeypatch.setattr(paths, "ROOT", project)
    monkeypatch.delenv("MEDMM_TEST_PROJECT")
    return project


def test_a_chapter_runs_on_the_disk_and_its_results_come_back(home, tmp_path, capfd):
    write_chapter(home, "01_first")
    local = tmp_path / "local"
    assert staging.run("quick", "01_first", local, seconds=1.0) == 0
    assert json.loads((home / "artifacts/quick/01_first/results.json").read_text())["metrics"] == {"double_rate": 1.0}
    assert (home / "artifacts/quick/01_first/notebook.ipynb").is_file()
    assert (local / "medmm/artifacts/quick/01_first/results.json").is_file()
    assert not (local / "medmm/.venv").exists()
    shutil.rmtree(local)  # another node
    assert staging.run("quick", "01_first", local) == 0
    assert "01_first: up to date" in capfd.readouterr().out


WAITING = """
import time
paths.write_atomically(paths.artifacts("quick", "01_first") / "part", "1")
time.sleep(600)
"""


@pytest.mark.parametrize("stay", [[], ["--stay"]])
def test_a_pod_that_is_told_to_end_copies_what_is_there(home, tmp_path, stay):
    write_chapter(home, "01_first", body=WAITING)
    environment = os.environ | {"PYTHONPATH": f"{home}{os.pathsep}{home / 'kernels'}"}
    command = [sys.executable, "-m", "medmm_lib.cluster.staging", "--profile", "quick", "--only", "01_first"]
    process = subprocess.Popen([*command, "--local", str(tmp_path / "local"), *stay], cwd=home, env=environment)
    until = time.monotonic() + 120
    while not (tmp_path / "local/medmm/artifacts/quick/01_first/part").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.1)
    assert not (home / "artifacts/quick/01_first/part").exists()
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (home / "artifacts/quick/01_first/part").read_text() == "1"


@pytest.fixture
def _heeding():
    """Give the handler of SIGTERM back that the tests were started with."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_heeding")
def test_told_to_end_while_it_copies_for_the_last_time_it_copies_all(home, tmp_path, monkeypatch):
    write_chapter(home, "01_first")
    copy = staging._copy

    def told(path, to):
        if path.name == "results.json" and home in to.parents:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        return copy(path, to)

    monkeypatch.setattr(staging, "_copy", told)
    with pytest.raises(SystemExit) as ended:
        staging.run("quick", "01_first", tmp_path / "local")
    assert ended.value.code == 128 + signal.SIGTERM
    for name in ("results.json", "inputs.json"):
        assert (home / "artifacts/quick/01_first" / name).is_file()


def test_data_is_staged_as_it_lies_and_read_from_the_volume_where_it_does_not_fit(home, tmp_path, monkeypatch, caplog):
    write(tmp_path / "volume", medpix__a="1", **{"texts__b.db": "2"})  # no database, whatever its name
    monkeypatch.setenv("MEDMM_DATA", str(tmp_path / "volume"))
    local, chapter = tmp_path / "local", ("quick", "01_first", home)
    write_chapter(home, "01_first")
    environment = staging._staged(*chapter, local / "medmm", 1e9)
    assert there(Path(environment["MEDMM_DATA"])) == {"medpix/a": "1", "texts/b.db": "2"}
    assert Path(environment["MEDMM_DATA"]).is_relative_to(local)
    assert staging._staged(*chapter, tmp_path / "small" / "medmm", 1.0)["MEDMM_DATA"] == str(tmp_path / "volume")
    assert "does not fit" in caplog.text


def test_where_two_pods_have_one_volume_the_second_stops(home, tmp_path):
    with paths.locked(paths.artifacts("quick", "01_first")), pytest.raises(paths.InUse, match="in use by process"):
        staging.run("quick", "01_first", tmp_path / "local")


def test_without_a_gpu_it_waits_for_one(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(staging.torch.cuda, "is_available", lambda: False)
    given = ["--profile", "quick", "--only", "01_data_preparation", "--local", str(tmp_path), "--gpu"]
    assert staging.main(given) == staging.WAITS
    assert "no GPU is attached yet" in caplog.text
    assert not list(tmp_path.iterdir())
