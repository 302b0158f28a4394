"""The whole report as one PDF: what Quarto is given to set. Quarto itself is played by a script."""

import base64
import json
import stat
import sys

import pytest
import yaml

from medmm_lib import paths, site
from medmm_lib.site import book

CONFIG = """
project: {type: website, output-dir: _site, render: [index.qmd, report/*.qmd, report/chapters/*.ipynb]}
website:
  title: medmm
  sidebar:
    contents:
      - index.qmd
      - section: Chapters
        contents: [report/chapters/01_first.ipynb, report/chapters/02_second.ipynb]
      - section: Behind the report
        contents: [report/about.qmd, report/journal/index.qmd]
  page-footer: {center: Research only.}
bibliography: report/references.bib
"""
# Keeps what it is given, and sets a book of one word.
QUARTO = f"""#!{sys.executable}
import pathlib, shutil, sys
_, render, project, to, typst = sys.argv
assert (render, to, typst) == ("render", "--to", "typst")
shutil.copytree(project, "{{kept}}")
(pathlib.Path(project) / "_book").mkdir()
(pathlib.Path(project) / "_book" / "medmm.pdf").write_text("book")
"""
PICTURE = base64.b64encode(b"a picture").decode()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Builds the book of a small project; returns the folder that Quarto was given."""
    project = tmp_path / "project"
    monkeypatch.setattr(paths, "ROOT", project)
    folders = {"NOTEBOOKS": "notebooks", "REPORT": "report", "CHAPTER_PAGES": "report/chapters"}
    for name, folder in (folders | {"ARTIFACTS": "artifacts", "DOWNLOADS": "report/downloads"}).items():
        monkeypatch.setattr(paths, name, project / folder)
    monkeypatch.setattr(paths, "RECORDS", project / "report/results")
    pages = {"index.qmd": "Home", "report/about.qmd": "About, @tbl-a.", "report/journal/2026-01-01-day.qmd": "Day"}
    pages |= {"report/journal/index.qmd": "Journal", "report/references.bib": "", "_quarto.yml": CONFIG}
    for name, text in pages.items():
        paths.write_atomically(project / name, text)
    output = {"output_type": "display_data", "metadata": {}}
    output["data"] = {"text/html": "<b>drawn</b>", "image/png": PICTURE, "text/plain": "A line"}
    cell = {"cell_type": "code", "metadata": {}, "source": "#| label: fig-a\nshow()", "outputs": [output]}
    words = {"cell_type": "markdown", "metadata": {}, "source": "See @fig-a, at recall@5."}
    notebook = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [words, cell]})
    for chapter in ("01_first", "02_second"):
        paths.write_atomically(paths.NOTEBOOKS / f"{chapter}.ipynb", notebook)
        paths.write_atomically(paths.artifacts("quick", chapter) / "notebook.ipynb", notebook)
    quarto = tmp_path / "bin" / "quarto"
    paths.write_atomically(quarto, QUARTO.format(kept=tmp_path / "kept"))
    quarto.chmod(quarto.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(quarto.parent))
    assert book.build("quick").read_text() == "book"
    return tmp_path / "kept"


def test_the_sidebar_becomes_the_books_chapters_and_the_journals_entries_its_last_part(kept):
    config = yaml.safe_load((kept / "_quarto.yml").read_text())
    assert config["project"]["type"] == "book"
    assert config["book"]["chapters"] == [
        "index.qmd",
        {"part": "Chapters", "chapters": ["report/chapters/01_first.ipynb", "report/chapters/02_second.ipynb"]},
        {"part": "Behind the report", "chapters": ["report/about.qmd"]},
        {"part": "Journal", "chapters": ["report/journal/2026-01-01-day.qmd"]},
    ]
    assert config["book"]["subtitle"] == "Research only."


def test_labels_differ_between_chapters_and_pictures_are_files(kept):
    first, second = ((kept / "report/chapters" / name).read_text() for name in ("01_first.ipynb", "02_second.ipynb"))
    assert "label: fig-1-a" in first
    assert "See @fig-1-a, at recall@5." in first
    assert "label: fig-2-a" in second
    assert "data:image" not in first
    [picture] = (kept / "report/chapters").glob("01_first_*.png")
    assert f"]({picture.name})" in first
    assert picture.read_bytes() == b"a picture"


def test_the_pages_of_the_website_stay_as_they_are(kept):
    assert "label: fig-a" in (paths.CHAPTER_PAGES / "01_first.ipynb").read_text()


def test_without_quarto_it_says_what_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(site.SiteError, match=r"needs Quarto 1\.9"):
        book.build("quick")
