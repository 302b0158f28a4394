import json

import pytest

from medmm_lib import parameters as parameters_module
from medmm_lib import paths, plots, results, sources
from medmm_lib.results import PromotionError, RunRecord

CHAPTER = "01_data_preparation"
DATA = {"name": "phantom", "fingerprint": "abc", "note": "scaled copies"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.setattr(paths, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(results, "_git", lambda: {"commit": "a" * 40, "dirty": False})
    return tmp_path


def saved(parameters=None, data=DATA, name="main", **metrics):
    values = parameters_module.of_profile("quick", CHAPTER) | (parameters or {})
    record = RunRecord(CHAPTER, values, name=name, data=data)
    record.metrics |= metrics
    return record.save()


def test_a_record_says_where_its_numbers_come_from(folders):
    saved(loss=0.5)
    record = results.latest("quick", CHAPTER)
    assert record["metrics"] == {"loss": 0.5}
    assert record["seed"] == 0
    assert record["data"] == DATA
    assert record["code_hash"] == sources.code_hash(CHAPTER)
    assert record["wall_s"] >= 0
    assert record["peak_memory_mib"] > 0
    assert {"torch", "datasets"} <= set(record["versions"])
    assert len(list(folders.glob("artifacts/quick/*/runs/*/record.json"))) == 1


def test_the_summary_gathers_the_runs_of_one_state(folders):
    saved(name="a", loss_a=1)
    saved(name="b", loss_b=2)
    assert results.latest("quick", CHAPTER)["metrics"] == {"loss_a": 1, "loss_b": 2}
    saved(parameters={"seed": 4}, name="a", loss_a=3)
    assert results.latest("quick", CHAPTER)["metrics"] == {"loss_a": 3}
    assert len(list(folders.glob("artifacts/quick/*/runs/*/record.json"))) == 3


def test_promotion_copies_a_clean_run(folders):
    saved(loss=0.5)
    target = results.promote("quick", CHAPTER)
    assert json.loads(target.read_text())["metrics"] == {"loss": 0.5}
    assert set(results.of_record(CHAPTER)) == {"quick"}


def test_promotion_refuses_what_nobody_could_repeat(monkeypatch):
    with pytest.raises(PromotionError, match="run `medmm run --profile quick`"):
        results.promote("quick", CHAPTER)
    saved(data={"name": "phantom"})
    with pytest.raises(PromotionError, match="no data fingerprint"):
        results.promote("quick", CHAPTER)
    monkeypatch.setattr(results, "_git", lambda: {"commit": "a" * 40, "dirty": True})
    saved()
    with pytest.raises(PromotionError, match="uncommitted changes"):
        results.promote("quick", CHAPTER)
    monkeypatch.setattr(results, "_git", lambda: {"commit": None, "dirty": None})
    saved()
    with pytest.raises(PromotionError, match="uncommitted changes"):
        results.promote("quick", CHAPTER)


def test_promotion_refuses_other_parameters_than_the_profiles():
    saved(parameters={"seed": 5})
    with pytest.raises(PromotionError, match="other parameters than params/quick"):
        results.promote("quick", CHAPTER)


def test_promotion_refuses_results_of_older_code(monkeypatch):
    saved()
    monkeypatch.setattr(sources, "code_hash", lambda chapter: "newer")
    with pytest.raises(PromotionError, match="changed after the run"):
        results.promote("quick", CHAPTER)


def test_the_table_tells_record_and_run_apart_and_flags_stale_ones(monkeypatch):
    saved(loss=0.5)
    results.promote("quick", CHAPTER)
    record = saved(loss=0.25)
    table = results.beside_record(record, {"loss": "Loss", "time": "Time"}).data
    assert "| Loss | 0.25 | 0.5 |" in table
    assert "| Time | not measured yet | not measured yet |" in table
    assert "stale" not in table
    assert "Of record (quick): scaled copies." in table
    monkeypatch.setattr(sources, "code_hash", lambda chapter: "newer")
    assert "**stale**" in results.beside_record(record, {"loss": "Loss"}).data


def test_the_run_card_shows_parameters_and_data(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda bundle, raw: shown.append(bundle))
    results.card(saved(loss=1))
    text = shown[0]["text/markdown"]
    assert "<table>" in shown[0]["text/html"]
    assert "phantom · abc" in text
    assert "`seed=0`" in text
    assert "aaaaaaaaaa" in text


def test_a_parameter_can_not_end_its_cell_or_become_markup(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda bundle, raw: shown.append(bundle))
    record = saved(loss=1)
    results.card(record | {"parameters": {"base": "`<script>alert(1)</script>` | <b>"}})
    assert "<script>" not in shown[0]["text/html"]
    assert "<b>" not in shown[0]["text/html"]
    [line] = [line for line in shown[0]["text/markdown"].split("\n") if "Parameters" in line]
    assert (line.count("`"), line.count("|")) == (2, 3)


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "file.json"
    paths.write_atomically(target, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        paths.write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
