import numpy as np
import pytest

from medmm_lib.evaluation import gathered, scored


def test_every_score_stands_beside_its_best_control(artifacts):
    table = scored.beside_controls(gathered.gather("quick")[0][1]).set_index("score")
    assert table.loc["closed", "value"] == 1
    assert table.loc["closed", "examples"] == 10
    assert table.loc["closed", "control_value"] == pytest.approx(0.5)
    assert table.loc["closed", "lead"] == pytest.approx(0.5)
    assert table.loc["open", "lead"] == 1
    assert table.loc["edit_distance", "value"] == 0
    assert table.loc["edit_distance", "lead"] < 0  # the lower the better
    assert table["control"].notna().all()


def test_neighbours_are_paired_over_their_common_questions(artifacts):
    base, tuned = gathered.gather("quick")[0]
    table = scored.neighbours(tuned, base).set_index("score")
    assert table.loc["closed", "difference"] == 1
    assert table.loc["open", "examples"] == 10
    assert table.loc["open", "difference_low"] == table.loc["open", "difference_high"] == 1
    other = gathered.Answered(
        "other", "x", {"model": base.rows.assign(image_id=[f"elsewhere {k}" for k in range(len(base.rows))])}
    )
    with pytest.raises(ValueError, match="no common question"):
        scored.neighbours(tuned, other)


def test_open_answers_count_word_for_word_and_closed_ones_by_their_first_word(artifacts):
    rows = gathered.gather("quick")[0][1].rows.assign(prediction=["Yes, there is", "a cyst of the liver"] * 10)
    scores = scored.example_scores(rows)
    assert np.nanmean(scores["closed"]) == 0.5
    assert np.nanmean(scores["open"]) == 0


def test_the_best_control_of_a_distance_is_the_one_with_the_lowest(artifacts):
    table = scored.beside_controls(gathered.gather("quick")[0][1]).set_index("score")
    for score in scored.LOWER_IS_BETTER:
        others = {
            name: float(np.mean(scored.example_scores(rows)[score]))
            for name, rows in gathered.gather("quick")[0][1].conditions.items()
            if name != "model"
        }
        assert len(set(others.values())) == 2
        assert table.loc[score, "control_value"] == pytest.approx(min(others.values())), score


def test_findings_and_what_captions_name_are_scores_of_their_own(artifacts):
    rows = gathered.gather("quick")[0][1].rows.assign(type=["finding", "plane"] * 5 + ["caption"] * 10)
    rows.loc[10:, "reference"] = "Axial CT with a cyst on the left."
    rows.loc[10:14, "prediction"] = "Coronal CT with a cyst on the left."
    rows.loc[15:, "prediction"] = "Axial CT with a cyst on the right."
    scores = scored.example_scores(rows)
    assert np.isfinite(scores["findings"]).sum() == 5
    assert np.nanmean(scores["plane"]) == np.nanmean(scores["side"]) == 0.5
    assert np.nanmean(scores["finding"]) == 1
    assert np.isnan(scores["plane"][:10]).all()
    assert np.isnan(scores["open"][10:]).all()  # no caption is right word for word


def test_cases_are_picked_by_their_score():
    scores = np.arange(9) / 9
    picked = scored.cases(scores, 2)
    assert picked["best"] == [8, 7]
    assert picked["worst"] == [0, 1]
    assert {round(scores[k] * 9) for k in picked["median"]} == {4, 5}
    ties = scored.cases(np.zeros(100), 3)
    assert ties != {"best": [0, 1, 2], "median": [48, 49, 50], "worst": [99, 98, 97]}
    assert ties == scored.cases(np.zeros(100), 3)
