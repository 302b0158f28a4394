"""What the chapters left of their models' answers, each beside its controls, and what to run where nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medmm_lib import paths
from medmm_lib.evaluation import predictions
from medmm_lib.evaluation.closed import answer, is_closed
from medmm_lib.evaluation.intervals import interval, mean, paired_difference
from medmm_lib.evaluation.text import METRICS, text_scores

MODEL, MAJORITY = "model", "majority answer"  # the condition without a control, and the control without a model
LOWER_IS_BETTER = ("edit_distance",)


@dataclass(frozen=True)
class Answered:
    """One model of a chapter: its predictions by condition, `model` first, each a frame of `predictions.read`.

    All conditions have the same questions in the same order.
    """

    name: str
    chapter: str
    conditions: Mapping[str, pd.DataFrame]

    @property
    def rows(self) -> pd.DataFrame:
        """The model's own predictions."""
        return self.conditions[MODEL]


# Name → chapter and the folder that it leaves there.
MODELS = {
    "PaliGemma, base": ("02_lora_finetuning", "base"),
    "PaliGemma, fine-tuned": ("02_lora_finetuning", "tuned"),
    "4M, captions": ("03_fourm_pretraining", "captions"),
    "MAE + LLM tower, attention fusion": ("05_contrastive_pretraining", "fusion"),
}


def file_of(folder: Path, condition: str = MODEL) -> Path:
    """Where a chapter leaves a model's predictions under a condition, in the model's folder: `model`, or a control."""
    return folder / condition.replace(" ", "_").replace("'", "") / "predictions.jsonl"


def gather(profile: str) -> tuple[list[Answered], dict[str, str]]:
    """The models that chapters left predictions of under a profile, and for the others the command that makes them.

    The majority answer needs no model: one of a chapter's models has it for all that have no control of their own (an
    untuned base). Raises `ValueError` where conditions of one model have other questions than it.
    """
    found, missing = [], {}
    majorities: dict[str, dict[str, pd.DataFrame]] = {}
    for name, (chapter, folder) in MODELS.items():
        place = paths.artifacts(profile, chapter) / folder
        if not file_of(place).is_file():
            missing[name] = f"medmm run --profile {profile} --only {chapter}"
            continue
        files = {file.parent.name.replace("_", " "): file for file in sorted(place.glob("*/predictions.jsonl"))}
        own = {condition: predictions.read(file) for condition, file in files.items()}
        conditions = {MODEL: own.pop(MODEL)} | own
        if MAJORITY in own:
            majorities[chapter] = {MAJORITY: own[MAJORITY]}
        found.append(Answered(name, chapter, conditions))
    found = [
        replace(one, conditions={**one.conditions, **majorities.get(one.chapter, {})})
        if len(one.conditions) == 1
        else one
        for one in found
    ]
    for one in found:
        for condition, rows in one.conditions.items():
            if list(rows["question"]) != list(one.rows["question"]):
                raise ValueError(f"{one.name}: {condition} has other questions than the model; run {one.chapter} again")
    return found, missing


def example_scores(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores of every example, name → [N]: the text metrics; `closed`, `open` accuracy, NaN for the other kind.

    Closed questions (the reference is yes or no) are right by their first word, open ones word for word.
    """
    scores = text_scores(rows["prediction"].tolist(), rows["reference"].tolist())
    closed = np.array([is_closed(reference) for reference in rows["reference"]])
    same = [answer(said) == answer(known) for said, known in zip(rows["prediction"], rows["reference"], strict=True)]
    right = np.where(closed, np.array(same, dtype=float), scores["exact_match"])
    return {
        "closed": np.where(closed, right, np.nan), "open": np.where(closed, np.nan, right),
    } | {metric: np.asarray(scores[metric], dtype=float) for metric in METRICS}  # fmt: skip


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
    both = first.rows.reset_index().merge(second.rows.reset_index(), on=keys, suffixes=("", "_second"))
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
                "second": float(np.nanmean(b)), "difference": lead.value, "low": lead.low, "high": lead.high,
                "p": lead.p,
            })  # fmt: skip
    return pd.DataFrame(table)
