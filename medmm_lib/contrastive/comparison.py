"""The four architectures on one task: what they cost, what they reach, and what a new kind of image takes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from medmm_lib.contrastive.answering import Answerer, Questions, right, train
from medmm_lib.contrastive.architectures import ARCHITECTURES, Adapters, Task, sized, train_language, weights
from medmm_lib.contrastive.fitting import Fitted, Schedule, kept_mib
from medmm_lib.evaluation.arms import beside_first, spread

WAYS = ("new parts only", "everything")


@dataclass(frozen=True)
class Exam:
    """Training and test questions with their images [images, side, side] uint8; `key` tells them from others.

    `questions[0]`, `pixels[0]` are for training, `[1]` for the test.
    """

    pixels: tuple[torch.Tensor, torch.Tensor]
    questions: tuple[Questions, Questions]
    words: int
    longest: int
    answers: int
    key: str

    def task(self, patch: int) -> Task:
        """With patches of so many pixels."""
        return Task(self.pixels[0].shape[-1], patch, self.words, self.longest, self.answers)

    def of_kind(self, kind: int) -> "Exam":
        """Only questions on images of that kind. Raises ValueError where training or test has none."""
        parts = tuple(part.select(np.flatnonzero(part.kind.numpy() == kind)) for part in self.questions)
        if not all(map(len, parts)):
            raise ValueError(
                f"no question is about an image of kind {kind}: new_kind names a modality that is not there"
            )
        return replace(self, questions=parts, key=f"{self.key} kind {kind}")

    def answered_as(self, other: "Exam") -> "Exam":
        """Only questions whose answers the training questions of `other` have: nobody can give one never heard of."""
        known = other.questions[0].answer.unique()
        parts = tuple(part.select(np.flatnonzero(torch.isin(part.answer, known).numpy())) for part in self.questions)
        return replace(self, questions=parts, key=f"{self.key} answered as {other.key}")

    def known_kinds(self) -> "Exam":
        """The same, all images taken for one kind."""
        parts = tuple(replace(part, kind=torch.zeros_like(part.kind)) for part in self.questions)
        return replace(self, questions=parts, key=f"{self.key} one kind")


def trained(
    name: str, exam: Exam, patch: int, budget: int, schedule: Schedule, folder: Path
) -> tuple[Answerer, Fitted, float]:
    """A new model of one architecture, trained; and seconds that its language model took before, where it has one."""
    torch.manual_seed(schedule.seed)
    model, before = sized(name, exam.task(patch), budget), 0.0
    key = f"{exam.key} {name} {patch} {budget}"
    if isinstance(model, Adapters):
        before = schedule.steps * train_language(model, exam.questions[0], schedule, folder, key=key).step_seconds
    return model, train(model, exam.pixels[0], exam.questions[0], schedule, folder, key=key), before


def compare(
    exam: Exam, patches: Sequence[int], budget: int, schedule: Schedule, seeds: Sequence[int], folder: Path
) -> pd.DataFrame:
    """All architectures at equal weights and steps, for each patch size; differences are to the first with that size.

    Columns: those of `beside_first` (share of test questions answered right), `anothers` (the same with another
    patient's image), patch, tokens (of an image), parameters, trained, memory_mib (weights, gradients, optimiser and
    what a step keeps for the backward pass, all in fp32), step_ms, language_s (the language model's own training
    before).
    """
    exam = exam.known_kinds()
    pixels, test = exam.pixels[1], exam.questions[1]
    blind = test.with_others_images(schedule.seed)
    tables = []
    for patch in patches:
        scores, costs = {}, []
        for name in ARCHITECTURES:
            runs = [trained(name, exam, patch, budget, replace(schedule, seed=seed), folder) for seed in seeds]
            model = runs[0][0]
            scores[name] = np.stack([right(one, pixels, test) for one, _, _ in runs])
            without = np.stack([right(one, pixels, blind) for one, _, _ in runs])
            own, learned = weights(model), weights(model, trained=True)
            kept = kept_mib(_one_step(model, exam, schedule.batch_size), model.parameters())
            costs.append({
                "arm": name, "patch": patch, "tokens": (pixels.shape[-1] // patch) ** 2, "parameters": own,
                "trained": learned, "memory_mib": kept + _training_mib(model),
                "step_ms": 1000 * float(np.median([fitted.step_seconds for _, fitted, _ in runs])),
                "language_s": float(np.mean([before for _, _, before in runs])), "anothers": float(without.mean()),
            })  # fmt: skip
        tables.append(beside_first(scores, test.patients).merge(pd.DataFrame(costs), on="arm"))
    return pd.concat(tables, ignore_index=True)


def _training_mib(model: Answerer) -> float:
    """MiB of all weights, and of gradients and running means of those that are trained, in fp32.

    Muon keeps one running mean of the matrices of linear layers, AdamW two of all others.
    """
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    kept = (1 + p.requires_grad * (2 if id(p) in matrices else 3) for p in model.parameters())
    return 4 * sum(count * p.numel() for count, p in zip(kept, model.parameters(), strict=True)) / 2**20


def _one_step(model: Answerer, exam: Exam, batch_size: int) -> Callable[[], torch.Tensor]:
    """The forward pass of one training step, in fp32 on the model's device."""
    place = next(model.parameters()).device
    part = exam.questions[0].select(range(min(batch_size, len(exam.questions[0]))))
    answer = part.answer.clamp(min=0)
    given = {"pixels": exam.pixels[0][part.image], "words": part.words, "kind": part.kind, "answer": answer}
    return lambda: model(**{name: value.to(place) for name, value in given.items()})["loss"]


def further(
    exam: Exam, patch: int, budget: int, schedule: Schedule, later: Sequence[int], seeds: Sequence[int], folder: Path
) -> pd.DataFrame:
    """What a new kind of image takes: trained on questions of kind 0, then on those of kind 1 alone.

    Either only what the new kind brings is trained (its patch projection and its embedding), or everything that was
    trained before, too, each for as many steps as `later` has. Only questions with answers that the old kinds have
    count. Columns: arm, way, steps, retrained (weights), seconds,
    and shares of test questions answered right: `new_before`, `new` and `old_before`, `old` after, each with `_seeds`.
    """
    old, new = exam.of_kind(0), exam.of_kind(1).answered_as(exam.of_kind(0))
    rows = []
    for name in ARCHITECTURES:
        firsts = [trained(name, old, patch, budget, replace(schedule, seed=seed), folder)[0] for seed in seeds]
        for way in WAYS:
            for steps in later:
                each = [
                    _extended(model, way, old, new, replace(schedule, steps=steps, seed=seed), folder, f"{name} {way}")
                    for model, seed in zip(firsts, seeds, strict=True)
                ]
                row = {"arm": name, "way": way, "steps": steps, "retrained": each[0]["retrained"]}
                row["seconds"] = float(np.mean([one["seconds"] for one in each]))
                for score in ("new_before", "new", "old_before", "old"):
                    values = [one[score] for one in each]
                    row |= {score: float(np.mean(values)), f"{score}_seeds": spread(values)}
                rows.append(row)
    return pd.DataFrame(rows)


def _extended(
    model: Answerer, way: str, old: Exam, new: Exam, schedule: Schedule, folder: Path, key: str
) -> dict[str, float]:
    """One model with a new kind of image; `model` itself stays as it is."""
    model = copy.deepcopy(model)
    known = right(model, old.pixels[1], old.questions[1]).mean()
    place = next(model.parameters()).device
    parts = model.patches.add_kind()
    model.to(place)
    before = right(model, new.pixels[1], new.questions[1]).mean()
    if way == WAYS[0]:
        model.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
    fitted = train(model, new.pixels[0], new.questions[0], schedule, folder, key=f"{new.key} {key}")
    return {
        "retrained": weights(model, trained=True), "seconds": schedule.steps * fitted.step_seconds,
        "new_before": before, "new": right(model, new.pixels[1], new.questions[1]).mean(),
        "old_before": known, "old": right(model, old.pixels[1], old.questions[1]).mean(),
    }  # fmt: skip
