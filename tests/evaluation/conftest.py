"""Predictions as chapters leave them, for tests."""

import pytest

from medmm_lib import paths
from medmm_lib.evaluation import gathered
from medmm_lib.evaluation.predictions import write


def lines(said):
    """Twenty questions on ten patients, half of them closed."""
    made = []
    for k in range(20):
        closed = k % 2 == 0
        reference = ("Yes" if k % 4 == 0 else "No") if closed else "a cyst"
        own = {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "question": "Is there?" if closed else "What?"}
        made.append(own | {"reference": reference, "prediction": said(k, reference)})
    return made


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ARTIFACTS", tmp_path)
    folder = tmp_path / "quick" / "02_lora_finetuning"
    write(lines(lambda k, known: known), gathered.file_of(folder / "tuned"))
    write(lines(lambda k, known: "Yes"), gathered.file_of(folder / "tuned", "majority answer"))
    write(lines(lambda k, known: "No way"), gathered.file_of(folder / "tuned", "blank image"))
    write(lines(lambda k, known: "a cat"), gathered.file_of(folder / "base"))
    (folder / "results.json").write_text("{}")
    return folder
