import json

import pytest

from medmm_lib.evaluation.__main__ import main
from medmm_lib.evaluation.predictions import PredictionsError, read, score
from medmm_lib.evaluation.text import METRICS, text_metrics

ROWS = [
    {"question": "What is it?", "reference": "A mass", "prediction": "a mass", "patient_id": "1", "type": "open"},
    {"question": "Is it CT?", "reference": "Yes", "prediction": "No", "patient_id": "1", "type": "closed"},
    {"question": "Is it MR?", "reference": "No", "prediction": "No.", "patient_id": "2", "type": "closed"},
    {"question": "Where?", "reference": "Left", "prediction": None, "patient_id": "3", "type": "open"},
]


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_the_table_holds_every_metric_with_its_interval(tmp_path):
    result = score(read(lines(tmp_path / "p.jsonl", ROWS)))
    assert result["interval_over"] == "patients"
    assert list(result["parts"]) == ["all", "closed", "open"]
    table = result["parts"]["all"]["metrics"]
    values = text_metrics([row["prediction"] for row in ROWS], [row["reference"] for row in ROWS])
    assert {name: table[name]["corpus"] for name in METRICS} == pytest.approx(values)
    assert all(table[name]["low"] <= table[name]["corpus"] <= table[name]["high"] for name in METRICS)
    assert result["parts"]["all"]["closed"]["closed_accuracy"]["value"] == 0.5
    assert result["parts"]["open"]["closed"] == {}
    assert result["parts"]["all"]["degenerate"]["empty"] == 0.25


def test_samples_give_the_majority_and_the_disagreement(tmp_path):
    rows = [
        {"question": "Is it CT?", "reference": "Yes", "samples": ["Yes", "yes", "No", "Yes", "Yes"]},
        {"question": "Is it MR?", "reference": "No", "samples": ["No"] * 5},
    ]
    closed = score(read(lines(tmp_path / "p.jsonl", rows)))["parts"]["all"]["closed"]
    assert closed["closed_accuracy"]["value"] == 1
    assert closed["closed_disagreement"]["value"] == 0.5


def test_samples_on_some_rows_and_predictions_on_others(tmp_path):
    rows = [
        {"question": "Is it CT?", "reference": "Yes", "samples": ["Yes", "Yes", "No"]},
        {"question": "Is it MR?", "reference": "No", "prediction": "No"},
        {"question": "Where?", "reference": "Left", "prediction": "Left"},
    ]
    part = score(read(lines(tmp_path / "p.jsonl", rows)))["parts"]["all"]
    assert part["metrics"]["exact_match"]["corpus"] == 1
    assert part["closed"]["closed_accuracy"] == {"value": 1, "low": 1, "high": 1, "questions": 2}
    assert part["closed"]["closed_disagreement"]["questions"] == 1


def test_the_type_decides_what_is_closed(tmp_path):
    rows = [
        {"question": "What?", "reference": "No evidence of a mass", "prediction": "No idea", "type": "open"},
        {"question": "Left?", "reference": "Left", "prediction": "left", "type": "closed"},
    ]
    parts = score(read(lines(tmp_path / "p.jsonl", rows)))["parts"]
    assert parts["all"]["closed"]["closed_accuracy"]["questions"] == 1
    assert parts["all"]["closed"]["closed_accuracy"]["value"] == 1


def test_empty_fields_of_a_csv_are_missing_values(tmp_path):
    (tmp_path / "p.csv").write_text("question,reference,prediction,patient_id,type\na,b,b,,\nc,d,,,open\n")
    result = score(read(tmp_path / "p.csv"))
    assert result["interval_over"] == "rows"
    assert list(result["parts"]) == ["all", "open"]
    assert result["parts"]["open"]["degenerate"]["empty"] == 1


def test_every_rows_scores_are_written(tmp_path):
    result = score(read(lines(tmp_path / "p.jsonl", ROWS)))
    assert result["per_example"]["exact_match"] == [1, 0, 1, 0]


def test_a_text_may_hold_any_mark(tmp_path):
    row = {"question": "a", "reference": "b\u2028c", "prediction": "b\u2028c"}
    (tmp_path / "p.jsonl").write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert score(read(tmp_path / "p.jsonl"))["parts"]["all"]["metrics"]["exact_match"]["corpus"] == 1


def test_a_csv_reads_the_same(tmp_path):
    (tmp_path / "p.csv").write_text("question,reference,prediction\nWhere?,Left,Left\nWhat?,NA,None\n")
    result = score(read(tmp_path / "p.csv"))
    assert result["interval_over"] == "rows"
    assert result["parts"]["all"]["metrics"]["exact_match"]["corpus"] == 0.5  # "NA" and "None" are texts here


def test_the_command_prints_and_writes(tmp_path, capsys):
    path = lines(tmp_path / "p.jsonl", ROWS)
    assert main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*METRICS, "closed_accuracy", "repetition"))
    written = json.loads((tmp_path / "p.metrics.json").read_text())
    assert written["parts"]["all"]["rows"] == 4


def test_one_patient_has_values_but_no_interval(tmp_path):
    assert main([str(lines(tmp_path / "p.jsonl", ROWS[:1]))]) == 0
    table = json.loads((tmp_path / "p.metrics.json").read_text())["parts"]["all"]["metrics"]
    assert table["exact_match"] == {"corpus": 1.0, "low": None, "high": None, "mean": 1.0, "median": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", "{broken\n", "line 1: this is not JSON"),
        ("p.jsonl", "[1]\n", "line 1: expected an object"),
        ("p.jsonl", '{"question": "a", "reference": "b"}\n', "no column prediction"),
        ("p.jsonl", '{"question": "a", "reference": "", "prediction": "c"}\n', "row 1: no reference"),
        ("p.jsonl", '{"question": "a", "reference": 3, "prediction": "c"}\n', "reference is not a text"),
        ("p.jsonl", '{"question": "a", "reference": "b", "samples": [1, 2]}\n', "not a list of texts"),
        (
            "p.jsonl",
            '{"question": "a", "reference": "b", "prediction": "c", "type": "all"}\n',
            "name of the whole table",
        ),
        (
            "p.jsonl",
            '{"question": "a", "reference": "b", "prediction": "c", "patient_id": 1}\n'
            '{"question": "a", "reference": "b", "prediction": "c"}\n',
            "row 2: no patient_id",
        ),
        ("p.csv", "question,reference,prediction\na,b,c,d\n", "4 fields, expected 3"),
        ("p.csv", "question,reference,prediction,prediction\na,b,c,d\n", "two columns prediction"),
        ("p.csv", "", "no column question"),
        ("p.jsonl", "", "no column question, reference, prediction"),
        ("p.txt", "", r"expected a \.jsonl or \.csv file"),
    ],
)
def test_files_that_can_not_be_scored_say_why(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PredictionsError, match=message):
        read(path)
    assert main([str(path)]) == 1
    assert "medmm:" in capsys.readouterr().err
