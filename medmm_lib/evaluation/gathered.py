"""What the chapters left of their models' answers, with and without the evidence, and what to run where nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from medmm_lib import paths
from medmm_lib.evaluation import predictions

MODEL, MAJORITY = "model", "majority answer"  # the condition without a control, and the control without a model
CONTROLS = (
    "blank image", "grey image", "blank scan", "shuffled image", "another patient's image", "another patient's scan",
    "text only", MAJORITY,
)  # fmt: skip
SAME = ("image_id", "question", "reference")  # what all conditions of a model have in common, row by row


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
        if not file_of(place).is_file() or not (place.parent / "results.json").is_file():  # written last
            missing[name] = f"medmm run --profile {profile} --only {chapter}"
            continue
        own = {
            condition: predictions.read(file)
            for condition in (MODEL, *CONTROLS)
            if (file := file_of(place, condition)).is_file()
        }
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
            if any(list(rows[name]) != list(one.rows[name]) for name in SAME):
                raise ValueError(f"{one.name}: {condition} has other questions than the model; run {one.chapter} again")
    return found, missing
