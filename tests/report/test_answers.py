"""The first page's answers follow the numbers of the runs."""

import json

import pytest

from medmm_lib import paths, sources
from medmm_lib.site import answers

CHAPTER = "02_lora_finetuning"
METRICS = {
    "closed_tuned": 0.81,  # the mean of several seeds, of which the first is compared
    "closed_best_control": 0.7,
    "closed_best_control_name": "majority answer",
    "closed_lead": 0.1,
    "closed_lead_low": 0.04,
    "closed_lead_high": 0.16,
    "test_questions": 1441,
    "test_patients": 69,
    "notes_quantised_gib": 2.11,
}


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The answer to the first question after a run, and perhaps a result of record, with these metrics."""
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.setattr(paths, "RECORDS", tmp_path / "results")
    monkeypatch.setattr(sources, "code_hash", lambda chapter: "now")

    def leave(path, profile, metrics, code):
        run = {"chapter": CHAPTER, "profile": profile, "start": "2026-11-24T01:02:03", "code_hash": code}
        run |= {"data": {"name": "phantom_large"}, "device": {"name": "Some CPU"}, "metrics": metrics}
        paths.write_atomically(path, json.dumps(run))

    def tell(latest=None, record=None, code="now"):
        if latest is not None:
            leave(paths.artifacts("quick", CHAPTER) / "results.json", "quick", latest, code)
        if record is not None:
            leave(paths.RECORDS / "medpix" / f"{CHAPTER}.json", "medpix", record, code)
        return answers.of("quick")["useful"]

    return tell


@pytest.mark.parametrize(
    ("low", "high", "verdict", "compared"),
    [
        (0.04, 0.16, "Yes, for these questions", "more than"),
        (-0.04, 0.16, "Not shown so far", "no more than"),
        (-0.16, -0.04, "No", "fewer than"),
    ],
)
def test_the_verdict_follows_the_interval(told, low, high, verdict, compared):
    answer = told(METRICS | {"closed_lead_low": low, "closed_lead_high": high})
    assert answer["sentence"].startswith(f"{verdict}: ")
    assert f"80 % of yes/no questions right, {compared} the best control" in answer["sentence"]
    assert f"95 % interval {100 * low:+.1f} to".replace("-", "−") in answer["sure"]
    assert "the yes/no ones of 1,441 questions about 69 patients" in answer["sure"]


def test_a_result_of_record_goes_before_the_latest_run_and_is_told_apart(told):
    assert told(METRICS)["where"] == "Latest run (quick, 2026-11-24), generated scans, Some CPU."
    answer = told(METRICS, METRICS | {"closed_lead": 0.2}, code="before")
    assert answer["figure"] == "90 %"
    assert answer["where"].startswith("Result of record (medpix, 2026-11-24, stale: made by older code)")


def test_a_record_from_before_a_number_was_measured_gives_way_to_the_latest_run(told):
    old = {name: value for name, value in METRICS.items() if name != "closed_lead_low"}
    assert told(METRICS, old)["where"].startswith("Latest run")


def test_what_no_run_measured_is_said_with_what_to_run(told):
    answer = told()
    assert answer["sentence"] == "Not measured yet: run the chapter 02_lora_finetuning."
    assert answer["caption"] == "not measured yet"


def test_every_answer_can_be_given_from_the_results_of_record(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path)  # no latest run
    measured = [key for key, answer in answers.of("quick").items() if answer["where"]]
    assert {"useful", "unified", "scaling"} <= set(measured)


def test_the_first_page_shows_every_answer():
    page = (paths.ROOT / "index.qmd").read_text(encoding="utf-8")
    for key, answer in answers.of("quick").items():
        assert all(f"{{{{< var answers.{key}.{part} >}}}}" in page for part in answer)
