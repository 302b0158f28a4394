import pandas as pd
import pytest

from medmm_lib.evaluation import comparable

ROW = {"system": "A", "field": "licence", "value": "MIT", "source": "https://a.b", "locator": "README"}


def test_every_cell_of_the_report_has_a_source():
    frame = comparable.read()
    assert frame["system"].nunique() >= 10
    for system in ("PubMedCLIP", "BiomedCLIP", "LLaVA-Med", "MedVInT", "RadFM", "CheXagent", "MedGemma", "4M"):
        assert frame["system"].str.startswith(system).any(), system
    assert (frame[frame["field"] == "licence"]["system"].nunique()) == frame["system"].nunique()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"locator": " "}, "line 2 .*no locator"),
        ({"source": "a paper"}, "expected an address"),
        ({"field": "speed"}, "unknown field"),
        ({"field": "commercial use", "value": "maybe"}, "with conditions"),
    ],
)
def test_a_cell_that_can_not_be_traced_is_refused(change, said, tmp_path):
    file = tmp_path / "comparable.csv"
    pd.DataFrame([ROW | change]).to_csv(file, index=False)
    with pytest.raises(comparable.ComparableError, match=said):
        comparable.read(file)


def test_a_fact_is_told_once(tmp_path):
    file = tmp_path / "comparable.csv"
    pd.DataFrame([ROW, ROW | {"value": "GPL"}]).to_csv(file, index=False)
    with pytest.raises(comparable.ComparableError, match="twice"):
        comparable.read(file)
    pd.DataFrame([ROW]).drop(columns="locator").to_csv(file, index=False)
    with pytest.raises(comparable.ComparableError, match="expected system"):
        comparable.read(file)


def test_systems_are_sorted_by_their_weights_and_every_cell_leads_to_its_source():
    facts = comparable.read()
    page = comparable.systems(facts).data
    assert page.count("<tr>") == 1 + facts["system"].nunique()
    assert page.count("<a href=") == (~facts["field"].str.startswith(comparable.RESULT)).sum()
    assert 'data-sort="4200000000.0"' in page
    figures = comparable.published(facts).data
    assert figures.count("<a href=") == facts["field"].str.startswith(comparable.RESULT).sum()


@pytest.mark.parametrize(("text", "number"), [("7B", 7e9), ("8 Billion", 8e9), ("198M (B), 705M (L)", 1.98e8)])
def test_weights_are_read_as_they_are_written(text, number):
    assert comparable.weights(text) == pytest.approx(number)


def test_a_text_without_a_size_is_refused():
    with pytest.raises(ValueError, match="names no number of weights"):
        comparable.weights("large")
