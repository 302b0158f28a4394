import pandas as pd
import pytest
from rapidfuzz import fuzz, process

from medmm_lib.guard import cases

SETS = {
    "training": cases.training,
    "validation": cases.validation,
    "held_out": cases.held_out,
    "rewritten": cases.rewritten,
}


@pytest.mark.parametrize("name", SETS)
def test_every_topic_is_there_in_both_languages(name):
    counts = SETS[name]().groupby(["language", "topic"]).size()
    assert set(counts.index.get_level_values("language")) == {"en", "nl"}
    assert counts["en"].drop("finding", errors="ignore").min() >= 10
    assert set(counts["en"].index) >= {"diagnosis", "prognosis", "medication", "emergency", "self_harm", "harmless"}


@pytest.mark.parametrize("name", ["validation", "held_out", "rewritten"])
def test_what_measures_is_no_paraphrase_of_what_teaches(name):
    asked, taught = SETS[name]()["question"], cases.training()["question"]
    long = asked[asked.str.split().str.len() >= 6].tolist()
    near = process.cdist(long, taught.tolist(), scorer=fuzz.token_sort_ratio, score_cutoff=85, workers=2).max(axis=1)
    assert (near > 0).mean() <= 0.01, [text for text, score in zip(long, near, strict=True) if score]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"topic": ["weather"]}, "row 2: topic is 'weather'"),
        ({"language": ["de"]}, "row 2: language is 'de'"),
        ({"answer": [" "]}, "row 2: answer is empty"),
        ({"more": [""]}, "has the columns"),
    ],
)
def test_a_file_of_no_cases_is_refused(tmp_path, changed, told):
    row = {"question": ["a"], "answer": ["b"], "language": ["en"], "topic": ["harmless"]} | changed
    pd.DataFrame(row).to_csv(tmp_path / "cases.csv", index=False)
    with pytest.raises(ValueError, match=told):
        cases.read(tmp_path / "cases.csv")
