"""The website's sources and its rendering with smalldocs, on a small project of its own."""

import json
import re
import runpy
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest
import yaml

from medmm_lib import paths, plots, results, site
from medmm_lib.site import pandoc
from medmm_lib.site.check import Website

CHAPTER = "01_first"
CONFIG = """
project:
  type: website
  output-dir: _site
  render: [index.qmd, report/*.qmd, report/chapters/*.ipynb]
  resources: [report/assets/*.js, report/downloads/*]
website:
  title: Test
  sidebar:
    contents: [index.qmd, report/chapters/01_first.ipynb]
bibliography: report/references.bib
link-citations: true
execute: {enabled: false}
format:
  html: {html-math-method: mathml, code-fold: true, code-summary: Show the code}
"""
BIBLIOGRAPHY = "@article{hu2021, title={Low ranks}, author={Hu, Edward}, year={2021}, journal={Journal}}\n"
CHAPTER_TEXT = """# First chapter

As @fig-loss and @tbl-rows show, $x_1 * y_1 * z_1 < 3$ [@hu2021]. See @eq-power.

$$a = b^2$$ {#eq-power}

::: {.callout-note title="Takeaway"}
It holds.
:::
"""


def code_cell(source, *data, tags=()):
    outputs = [{"output_type": "display_data", "metadata": {}, "data": d} for d in data]
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {"tags": list(tags)}}
    return cell | {"source": source, "outputs": outputs}


def notebook(*cells):
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"widgets": {"state": 1}}, "cells": list(cells)}


EXECUTED = notebook(
    {"cell_type": "markdown", "metadata": {}, "source": CHAPTER_TEXT},
    code_cell(
        '#| label: fig-loss\n#| fig-cap: "The loss, as in @eq-power."\nprint("@fig-kept")',
        {"text/html": "<b>figure</b>"},
    ),
    code_cell('#| label: tbl-rows\n#| tbl-cap: "Some rows."\n1', {"text/html": "<table><tr><td>1</td></tr></table>"}),
    code_cell("slider()", {"text/plain": "a slider"}, tags=["widget"]),
    code_cell("train()", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a progress bar"}),
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one executed chapter."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name, folder in {
        "NOTEBOOKS": "notebooks",
        "REPORT": "report",
        "CHAPTER_PAGES": "report/chapters",
        "DOWNLOADS": "report/downloads",
        "RECORDS": "report/results",
        "ARTIFACTS": "artifacts",
        "SITE": "_site",
    }.items():
        monkeypatch.setattr(paths, name, tmp_path / folder)
    # Quarto, where it is installed, renders the same project; these tests are about the way without it.
    monkeypatch.setattr(shutil, "which", lambda name: None)
    write(tmp_path / "_quarto.yml", CONFIG)
    write(tmp_path / "index.qmd", "---\ntitle: Home\n---\n\n[First](report/chapters/01_first.ipynb)\n")
    write(tmp_path / "report/references.bib", BIBLIOGRAPHY)
    write(tmp_path / "notebooks/01_first.ipynb", json.dumps(notebook()))
    write(paths.artifacts("quick", CHAPTER) / "notebook.ipynb", json.dumps(EXECUTED))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def leave_results(metrics):
    run = results.RunRecord(CHAPTER, {"profile": "quick"}, data={"name": "phantom"}).as_dict()
    write(paths.artifacts("quick", CHAPTER) / "results.json", json.dumps(run | {"metrics": metrics}))


def chapter_html(project):
    site.build("quick")
    return (project / "_site/report/chapters/01_first.html").read_text(encoding="utf-8")


def variables(project):
    site.prepare("quick")
    return yaml.safe_load((project / "_variables.yml").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- what pages are made from


def test_numbers_of_the_latest_run_and_of_record_become_variables(project):
    metrics = {"images": 12345, "loss": 0.123456, "cases": 671, "name": "phantom", "none": None}
    leave_results(metrics)
    write(project / "report/results/study/01_first.json", json.dumps({"metrics": {"loss": 2.0}}))
    found = variables(project)
    assert found["profile"] == "quick"
    assert found["latest"][CHAPTER] == {
        "images": "12,345",
        "loss": "0.123",
        "cases": "671",
        "name": "phantom",
        "none": "not measured yet",
    }
    assert found["record"]["study"][CHAPTER] == {"loss": "2"}


def test_a_page_offers_what_its_run_needs_again(project):
    leave_results({})
    page = chapter_html(project)  # which fails on a link to nowhere
    assert "medmm run --profile quick --only 01_first" in page
    assert (project / "_site/report/downloads/01_first.zip").exists()


def test_numbers_that_no_run_produced_are_said_to_be_missing(project):
    write(project / "report/about.qmd", "{{< var latest.01_first.loss >}} and {{<var record.dsri.09_other.cost >}}\n")
    found = variables(project)
    assert found["latest"]["01_first"]["loss"] == "not measured yet"
    assert found["record"]["dsri"]["09_other"]["cost"] == "not measured yet"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (10000, "10,000"),
        (-0.5, "-0.5"),
        (45.678, "45.7"),
        (1234.5, "1,234"),
        (2e6 + 0.5, "2,000,000"),
        (1.2345e-5, "1.23 × 10⁻⁵"),
        (float("nan"), "undefined"),
        (True, "yes"),
        ("a", "a"),
    ],
)
def test_numbers_are_readable(value, text):
    assert results.number(value) == text


def test_authors_shortened_to_et_al_are_linked_like_others(project):
    (project / "report" / "references.bib").write_text(
        "@misc{many, title={A}, author={Hoff, J. and Borg, S. and others}, year={2022}}\n"
        "@misc{one, title={B}, author={Besi, T.}, year={2024}}\n"
    )
    (project / "report" / "about.qmd").write_text("---\ntitle: About\n---\n\nLaws [@many; @one].\n")
    text = pandoc.with_resolved_references(
        "about", (project / "report/about.qmd").read_text(), project / "report/references.bib"
    )
    assert "nocase" not in text
    assert "(#ref-many)" in text


def test_a_link_that_was_not_rendered_is_a_problem(tmp_path):
    (tmp_path / "index.html").write_text("<html><body><p>As in [Hoff 2022](#ref-hoff).</p></body></html>")
    assert Website(tmp_path).problems() == ["index.html: ](#ref-hoff) was not rendered"]


def test_a_box_is_a_div_on_the_page_and_html_in_a_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda bundle, raw: shown.append(bundle))
    plots.box("- a point", "callout-tip", title="Takeaway")
    assert shown[0]["text/markdown"] == '::: {.callout-tip title="Takeaway"}\n- a point\n:::'
    assert "<strong>Takeaway</strong>" in shown[0]["text/html"]
    assert "<li>a point</li>" in shown[0]["text/html"]


def test_widget_cells_are_dropped(project):
    site.prepare("quick")
    page = (project / "report/chapters/01_first.ipynb").read_text(encoding="utf-8")
    assert "slider" not in page
    assert "widgets" not in json.loads(page)["metadata"]
    assert "a progress bar" not in page
    assert "train()" in page


def test_html_outputs_do_not_make_quarto_load_scripts_from_a_network(project):
    site.prepare("quick")
    page = json.loads((project / "report/chapters/01_first.ipynb").read_text(encoding="utf-8"))
    outputs = [output["data"] for cell in page["cells"] for output in cell.get("outputs", [])]
    assert outputs
    assert all("text/html" not in data for data in outputs)


def test_pages_of_removed_chapters_and_of_other_profiles_go(project):
    site.prepare("quick")
    write(project / "report/chapters/02_gone.ipynb", "{}")
    site.prepare("medpix")
    assert not list((project / "report/chapters").iterdir())


def test_plotly_is_served_from_the_site(project):
    site.prepare("quick")
    assert (project / "report/assets/plotly.min.js").stat().st_size > 1_000_000


# ---------------------------------------------------------------- the rendered pages


def test_references_and_captions_are_numbered(project):
    page = chapter_html(project)
    assert re.search(r'<a href="#fig-loss"[^>]*>Figure\s1</a>', page)
    assert re.search(r'<a href="#tbl-rows"[^>]*>Table\s1</a>', page)
    assert re.search(r"Figure\s1: The loss, as in <a [^>]*>Equation\s1</a>", page)
    assert re.search(r"Table\s1: Some rows\.", page)
    assert 'id="fig-loss"' in page


def test_citations_are_resolved_and_listed(project):
    page = chapter_html(project)
    assert re.search(r'<a href="#ref-hu2021"[^>]*>Hu 2021</a>', page)
    assert re.search(r'id="ref-hu2021".*Low Ranks', page, re.S | re.I)


def test_math_is_mathml_and_its_signs_are_not_read_as_markup(project):
    page = chapter_html(project)
    assert page.count("<math") == 2
    assert "<em>" not in page.split('id="refs"')[0]
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_callouts_code_and_outputs_survive(project):
    page = chapter_html(project)
    assert re.search(r"callout-note.*Takeaway.*It holds\.", page, re.S)
    assert "@fig-kept" in page
    assert "<b>figure</b>" in page
    assert "Show the code" in page


def test_a_chapter_that_was_not_run_is_named(project):
    with pytest.raises(site.SiteError, match="medmm run --profile study --only 01_first"):
        site.build("study")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("As [@nobody2020] says.", "report/about.qmd: @nobody2020 is not in the bibliography"),
        ("See @fig-none.", "report/about.qmd: @fig-none refers to nothing"),
        ("[gone](missing.qmd)", r"report/about.html: broken link missing.html"),
        ("[gone](../index.qmd#nowhere)", r"report/about.html: broken link ../index.html#nowhere"),
        ("$\\frac{1$", "report/about.qmd: this math cannot be shown"),
        ("```{=html}\n<p>@raw2020</p>\n```", "report/about.html: @raw2020 was not resolved"),
    ],
)
def test_a_page_with_a_loose_end_is_not_published(project, text, message):
    old = project / "_site/index.html"
    write(old, "the old site")
    write(project / "report/about.qmd", f"---\ntitle: About\n---\n\n{text}\n")
    with pytest.raises(site.SiteError, match=message):
        site.build("quick")
    assert old.read_text() == "the old site"


def test_the_old_site_is_replaced_whole(project):
    write(project / "_site/old.html", "old")
    assert site.build("quick") == project / "_site/index.html"
    assert not (project / "_site/old.html").exists()
    assert not list(project.glob("_site.*"))


# ---------------------------------------------------------------- the check before Quarto renders


def test_quarto_is_stopped_when_something_is_missing(project):
    check = runpy.run_path(str(Path(__file__).parents[2] / "report/pre_render.py"))["missing"]
    assert any("medmm run --only 01_first" in line for line in check(project))
    site.prepare("quick")
    assert check(project) == []
    write(project / "report/chapters/01_first.ipynb", json.dumps(notebook()))
    assert "holds no results" in check(project)[0]
    (project / "_variables.yml").unlink()
    assert "medmm site" in check(project)[-1]


# ---------------------------------------------------------------- figures


@pytest.fixture
def bundle(monkeypatch):
    """What `show` displays for a figure, without a browser for the static picture."""
    shown = []
    monkeypatch.setattr(plots, "display", lambda data, raw: shown.append(data))
    monkeypatch.setattr(plots, "_picture", lambda figure: None)
    plots.show(go.Figure(go.Scatter(y=[1, 2], name="</script>")), alt='It "rises"')
    return shown[0]


def test_a_figure_is_shown_in_every_form(bundle):
    assert bundle["text/plain"] == 'It "rises"'
    assert bundle["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter"
    page = bundle["text/html"]
    assert 'class="medmm-figure" role="figure" aria-label="It &quot;rises&quot;"' in page
    assert 'src="../assets/figures.js"' in page
    assert len(page) < 10_000  # no copy of plotly.js


def test_a_figures_data_cannot_end_its_script(bundle):
    data = re.search(r'<script type="application/json">(.*?)</script>', bundle["text/html"], re.S)[1]
    assert json.loads(data)["data"][0]["name"] == "</script>"


def test_a_figure_needs_a_description():
    with pytest.raises(ValueError, match="say what the figure shows"):
        plots.show(go.Figure(), alt=" ")
