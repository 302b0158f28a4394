import json

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medmm_lib import cli


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"question": "Do I have cancer?", "answer": "Yes."}) + "\n", encoding="utf-8")
    return path


def test_a_report_of_a_dicom_file(tmp_path, log, capsys):
    real, out = get_testdata_file("CT_small.dcm", download=False), tmp_path / "report.html"
    asked = ["--image", real, "--questions", str(log), "--out", str(out), "--language", "nl", "--model", "one"]
    assert cli.main(["patient-report", *asked]) == 0
    assert "0 of 1 answers shown, reading grade" in capsys.readouterr().out
    assert "Uw scan, uitgelegd" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--image": "nowhere.png"}, "no scan at nowhere.png"),
        ({"--segmentation": "nowhere.png"}, "no label map at nowhere.png"),
        ({"--questions": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"--policy": "nowhere.yml"}, "no policy at nowhere.yml"),
        ({"--out": "report.docx"}, "ends in .html or .pdf"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, capsys, changed, told):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "scan.png")
    given = {"--image": str(tmp_path / "scan.png"), "--out": str(tmp_path / "report.html")} | changed
    assert cli.main(["patient-report", *(part for pair in given.items() for part in pair)]) == 1
    assert told in capsys.readouterr().err
