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
