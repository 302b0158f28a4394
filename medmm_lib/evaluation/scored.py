"""Scores of answers beside their controls, of two models on the questions that both were asked, and which to show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medmm_lib.evaluation.closed import answer, is_closed
from medmm_lib.evaluation.facts import FACTS, named_right
from medmm_lib.evaluation.gathered import MODEL, Answered
from medmm_lib.evaluation.intervals import interval, mean, paired_difference
from medmm_lib.evaluation.text import METRICS, text_scores

LOWER_IS_BETTER = ("edit_distance", "edit_distance_normalised")


def example_scores(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores of every example, name → [N]: what is right, then the text metrics.

    `closed` (the reference is yes or no) is right by its first word, `open` word for word; `findings` are the closed
    questions of that type, which can't be answered from the kind of image alone. Of captions: whether they name the
    same `plane`, `side` and `finding` as the reference. NaN where a score does not apply.
    """
    scores = text_scores(rows["prediction"].tolist(), rows["reference"].tolist())
    closed = np.array([is_closed(reference) for reference in rows["reference"]])
    same = [answer(said) == answer(known) for said, known in zip(rows["prediction"], rows["reference"], strict=True)]
    right = np.where(closed, np.array(same, dtype=float), scores["exact_match"])
    kinds = rows["type"].to_numpy() if "type" in rows else np.full(len(rows), None)
    captions = kinds == "caption"
    facts = {
        fact: np.where(captions, named_right(rows["prediction"].tolist(), rows["reference"].tolist(), read), np.nan)
        for fact, read in (FACTS.items() if captions.any() else ())
    }
    kept = {
        "findings": np.where(closed & (kinds == "finding"), right, np.nan),
        "closed": np.where(closed, right, np.nan), "open": np.where(closed | captions, np.nan, right),
    }  # fmt: skip
    return kept | facts | {metric: np.asarray(scores[metric], dtype=float) for metric in METRICS}


def beside_controls(one: Answered) -> pd.DataFrame:
    """Every score of a model beside its best control, one a row.

    Columns: score, examples, value, low, high, control (the best one's name), control_value, and the model's lead over
    it, paired, with lead_low, lead_high and p; over patients. Where lower is better, a negative lead is good.
    """
    patients = one.rows["patient_id"].tolist()
    own = example_scores(one.rows)
    others = {name: example_scores(rows) for name, rows in one.conditions.items() if name != MODEL}
    table = []
    for score, values in own.items():
        if np.isnan(values).all():
            continue
        estimate = interval(mean(values), patients)
        row = {
            "score": score, "examples": int((~np.isnan(values)).sum()), "value": estimate.value, "low": estimate.low,
            "high": estimate.high,
        }  # fmt: skip
        if others:
            means = {name: float(np.nanmean(scores[score])) for name, scores in others.items()}
            best = (min if score in LOWER_IS_BETTER else max)(means, key=means.__getitem__)
            lead = paired_difference(values, others[best][score], patients)
            row |= {"control": best, "control_value": means[best], "lead": lead.value, "lead_low": lead.low}
            row |= {"lead_high": lead.high, "p": lead.p}
        table.append(row)
    return pd.DataFrame(table)


def neighbours(first: Answered, second: Answered) -> pd.DataFrame:
    """Two models on the questions that both were asked, paired, a score a row: both values and their difference.

    Raises `ValueError` where they share no question on the same image.
    """
    keys = ["image_id", "question"]
    both = first.rows.reset_index().merge(
        second.rows.reset_index(), on=keys, suffixes=("", "_second"), validate="one_to_one"
    )
    if both.empty:
        raise ValueError(f"{first.name} and {second.name} were asked no common question")
    patients = both["patient_id"].tolist()
    one, other = (example_scores(part.rows) for part in (first, second))
    table = []
    for score in one:
        a, b = one[score][both["index"]], other[score][both["index_second"]]
        known = ~np.isnan(a) & ~np.isnan(b)
        if known.any():
            lead = paired_difference(a, b, patients)
            table.append({
                "score": score, "examples": int(known.sum()), "first": float(np.nanmean(a)),
                "second": float(np.nanmean(b)), "difference": lead.value, "difference_low": lead.low,
                "difference_high": lead.high, "p": lead.p,
            })  # fmt: skip
    return pd.DataFrame(table)


def cases(scores: Sequence[float], count: int, seed: int = 0) -> dict[str, list[int]]:
    """Places of the best, median and worst of some scores, `count` of each; ties are broken at random, not by hand."""
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    order = shuffled[np.argsort(-np.asarray(scores)[shuffled], kind="stable")].tolist()
    middle = max(0, (len(order) - count) // 2)
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[-count:][::-1]}
