"""What ends a chapter's page: commands that run it again, and files that hold what the page shows."""

import copy
import json
from zipfile import ZipFile

import numpy as np
import plotly.graph_objects as go
import pytest
import yaml

from medmm_lib import paths
from medmm_lib.site import reproduce

CHAPTER = "06_second"
RECORD = {
    "chapter": CHAPTER,
    "profile": "quick",
    "parameters": {"profile": "quick", "learning_rate": 1e-3},
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "device": {"name": "Some CPU"},
    "data": {"name": "phantom", "fingerprint": "f"},
    "wall_s": 61.4,
    "metrics": {"loss": 0.5},
}


def figure_cell(*figures, label=""):
    outputs = [
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/vnd.plotly.v1+json": json.loads(figure.to_json()), "text/plain": "A line rises"},
        }
        for figure in figures
    ]
    return {"cell_type": "code", "metadata": {}, "source": f"{label}\nplots.show(figure)", "outputs": outputs}


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Offers a chapter whose run left `record`; returns the cells of its page."""
    for name, folder in {"NOTEBOOKS": "notebooks", "DOWNLOADS": "downloads", "ARTIFACTS": "artifacts"}.items():
        monkeypatch.setattr(paths, name, tmp_path / folder)

    def offer(record):
        paths.write_atomically(paths.NOTEBOOKS / f"{CHAPTER}.ipynb", '{"the": "source"}')
        if record:
            paths.write_atomically(paths.artifacts("quick", CHAPTER) / "results.json", json.dumps(record))
        notebook = {
            "metadata": {"medmm": {"reads": ["02_first"]}},
            "cells": [
                figure_cell(go.Figure(go.Scatter(y=[1.0, 2.0])), label="#| label: fig-rise"),
                {"cell_type": "markdown", "metadata": {}, "source": ["## What's next\n", "Nothing."]},
            ],
        }
        reproduce.offer("quick", CHAPTER, notebook)
        return notebook["cells"]

    return offer


def test_the_commands_stand_before_whats_next_with_the_chapters_that_run_first(offered):
    _, cell, last = offered(RECORD)
    assert last["source"][0].startswith("## What's next")
    assert "git checkout 0123456789\nmake setup\n" in cell["source"]
    assert "\n.venv/bin/medmm run --profile quick --only 02_first --only 06_second\n" in cell["source"]
    assert "took 61 s on Some CPU" in cell["source"]


def test_data_that_must_be_had_first_is_asked_for_and_changed_code_is_not_named(offered):
    record = copy.deepcopy(RECORD)
    record["data"]["name"] = "medpix"
    record["git"]["dirty"] = True
    cell = offered(record)[1]
    assert "MEDMM_DATA=<folder of the data> .venv/bin/medmm" in cell["source"]
    assert "git checkout" not in cell["source"]


def test_the_download_holds_what_the_page_was_made_from(offered):
    assert f"](../downloads/{CHAPTER}.zip)" in offered(RECORD)[1]["source"]
    with ZipFile(paths.DOWNLOADS / f"{CHAPTER}.zip") as archive:
        read = {name: archive.read(name).decode() for name in archive.namelist()}
    assert read[f"{CHAPTER}.ipynb"] == '{"the": "source"}'
    assert yaml.safe_load(read[f"{CHAPTER}.yml"]) == RECORD["parameters"]
    assert json.loads(read["results.json"]) == RECORD
    figure = json.loads(read["figures.json"])["fig-rise"]
    assert figure["shows"] == "A line rises"
    assert figure["traces"][0]["y"] == [1.0, 2.0]


def test_a_run_without_results_is_offered_nothing(offered):
    assert len(offered(None)) == 2
    assert not paths.DOWNLOADS.exists()


def test_packed_arrays_are_told_as_plain_numbers():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    cell = figure_cell(
        go.Figure(go.Heatmap(z=matrix)), go.Figure(go.Scatter(y=np.array([1, 2]))), label="#| label: fig-a"
    )
    found = reproduce.figures({"cells": [cell]})
    assert "bdata" in json.dumps(cell)
    assert found["fig-a-1"]["traces"][0]["z"] == matrix.tolist()
    assert found["fig-a-2"]["traces"][0]["y"] == [1, 2]
