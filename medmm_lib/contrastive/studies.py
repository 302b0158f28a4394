"""The studies of chapter 05 on encoders: what is changed about how they learn, and what a linear probe then finds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medmm_lib.contrastive.alignment import LOSSES, Alignment, align
from medmm_lib.contrastive.classifiers import LOSSES as CLASSIFIER_LOSSES
from medmm_lib.contrastive.classifiers import probe, share, tune
from medmm_lib.contrastive.fitting import Fitted, Schedule, asked
from medmm_lib.contrastive.mae import MAE
from medmm_lib.contrastive.material import BAG_OF_WORDS, Material
from medmm_lib.contrastive.tower import Tower
from medmm_lib.evaluation.arms import auc_beside_first, beside_first, spread
from medmm_lib.evaluation.controls import of_other_patients
from medmm_lib.evaluation.retrieval import retrieval_metrics

SHARES = (1.0, 0.1, 0.01)  # of the training patients whose labels are given


@dataclass(frozen=True)
class Setup:
    """What all arms share: the images, the pretrained MAE, and how towers are aligned and tuned."""

    material: Material
    mae: MAE
    dim: int  # of the space that images and texts are compared in
    loss: str
    language_model: str
    pooling: str
    aligning: Schedule
    tuning: Schedule
    folder: Path
    key: str  # tells material and MAE from others

    def tower(self, seed: int, mae: MAE | None = None) -> Tower:
        """A tower that starts as the MAE's encoder, or as that of another `mae`; its other weights by the seed."""
        torch.manual_seed(seed)
        return Tower(mae or self.mae, self.dim)

    def aligned(
        self, seed: int, *, loss: str | None = None, targets: torch.Tensor | None = None,
        captions: Sequence[str] | None = None, name: str = "", **options: float,
    ) -> tuple[Alignment, Fitted]:  # fmt: skip
        """A tower trained towards the texts' targets; `name` tells other `targets` and `captions` from the usual."""
        part, rows = self.material.train, torch.from_numpy(self.material.train.told)
        targets = self.targets()[0] if targets is None else targets
        key = f"{self.key} {self.language_model} {self.pooling} {self.dim} {name}"
        return align(
            self.tower(seed), part.pixels[rows], targets, captions or part.said, loss or self.loss,
            replace(self.aligning, seed=seed), self.folder / "alignment", key=key, **options,
        )  # fmt: skip

    def targets(self, pooling: str | None = None) -> list[torch.Tensor]:
        """The language model's, of training and test texts."""
        return self.material.targets(self.language_model, pooling or self.pooling, self.folder / "texts")

    def features(self, tower: Tower, compute: str = "pooled") -> list[np.ndarray]:
        """What a linear probe is given of training and test images: twice [N, width]."""
        parts = (self.material.train, self.material.test)
        return [asked(tower, getattr(tower, compute), part.pixels).numpy() for part in parts]

    def probed(self, tower: Tower, rows: np.ndarray | None = None, compute: str = "pooled") -> np.ndarray:
        """Probabilities [N, C] of test images by a linear probe, trained on `rows` or on all of the training images."""
        learned, held_out = self.features(tower, compute)
        rows = np.arange(len(learned)) if rows is None else rows
        return probe(learned[rows], self.material.train.values[rows], held_out)

    def tuned(self, tower: Tower, seed: int, rows: np.ndarray | None = None, *, loss: str = "bce") -> np.ndarray:
        """Probabilities [N, C] of test images by a fine-tuned copy of `tower`."""
        part = self.material.train
        rows = np.arange(len(part.values)) if rows is None else rows
        model, _ = tune(
            copy.deepcopy(tower), part.pixels[torch.from_numpy(rows)], part.values[rows], loss,
            replace(self.tuning, seed=seed), self.folder / "tuning", key=self.key,
        )  # fmt: skip
        return asked(model, model.logits, self.material.test.pixels).sigmoid().numpy()

    def table(self, arms: dict[str, list[np.ndarray]]) -> pd.DataFrame:
        """Mean AUCs of arms of test probabilities, one [N, C] a seed, beside the first arm."""
        test = self.material.test
        return auc_beside_first(arms, test.values, self.material.labels.names, test.patients)

    def found(self, model: Alignment, targets: torch.Tensor) -> dict[str, object]:
        """Retrieval of test texts by test images: `retrieval_metrics`."""
        test = self.material.test
        images = asked(model, model.tower, test.pixels[torch.from_numpy(test.told)])
        groups = [test.patients[k] for k in test.told]
        similarity = (images @ asked(model, model.texts, targets).T).numpy()
        return retrieval_metrics(similarity, test.said, test.said, groups)


def losses(setup: Setup, seeds: Sequence[int]) -> pd.DataFrame:
    """The three contrastive losses: AUC of a linear probe, and recall of the right text among the first five."""
    targets = setup.targets()
    return _aligned_arms(setup, {loss: (targets, {"loss": loss}) for loss in LOSSES}, seeds)


def targets(setup: Setup, seeds: Sequence[int]) -> pd.DataFrame:
    """What is aimed at: the language model's mean or last token, which words a text has, and another patient's text."""
    learned, held_out = setup.targets()
    part = setup.material.train
    exchanged = of_other_patients([part.patients[k] for k in part.told], setup.aligning.seed)
    last = "last" if setup.pooling == "mean" else "mean"
    words = setup.material.targets(BAG_OF_WORDS, "", setup.folder)
    kinds = {
        f"language model, {setup.pooling}": ([learned, held_out], {}),
        f"language model, {last}": (setup.targets(last), {"name": last}),
        BAG_OF_WORDS: (words, {"name": BAG_OF_WORDS}),
        "another patient's text": (
            [learned[torch.from_numpy(exchanged)], held_out],
            {"name": "exchanged", "captions": [part.said[k] for k in exchanged]},
        ),
    }
    return _aligned_arms(setup, kinds, seeds)


def _aligned_arms(
    setup: Setup, kinds: dict[str, tuple[list[torch.Tensor], dict[str, object]]], seeds: Sequence[int]
) -> pd.DataFrame:
    arms, recalls, ms = {}, {}, {}
    for name, ((learned, held_out), changes) in kinds.items():
        runs = [setup.aligned(seed, targets=learned, **changes) for seed in seeds]
        arms[name] = [setup.probed(model.tower) for model, _ in runs]
        recalls[name] = [setup.found(model, held_out)["r_at_5"].value for model, _ in runs]
        ms[name] = 1000 * float(np.median([fitted.step_seconds for _, fitted in runs]))
    table = setup.table(arms)
    table["r_at_5"] = [float(np.mean(recalls[name])) for name in table["arm"]]
    table["r_at_5_seeds"] = [spread(recalls[name]) for name in table["arm"]]
    return table.assign(step_ms=[ms[name] for name in table["arm"]])


def efficiency(setup: Setup, starts: dict[str, Sequence[Tower]], seeds: Sequence[int]) -> pd.DataFrame:
    """Where encoders start, with all labels, a tenth and a hundredth; each seed draws other patients and other heads.

    `starts`: a tower a seed. `way` is a linear probe or fine-tuning; differences are to the first start with the same
    share and way.
    """
    tables = []
    for part in SHARES:
        rows = [share(setup.material.train.patients, part, seed) for seed in seeds]
        ways = {
            "linear probe": lambda tower, k, rows=rows: setup.probed(tower, rows[k]),
            "fine-tuned": lambda tower, k, rows=rows: setup.tuned(tower, seeds[k], rows[k]),
        }
        for way, run in ways.items():
            arms = {name: [run(tower, k) for k, tower in enumerate(towers)] for name, towers in starts.items()}
            images = int(np.mean([len(chosen) for chosen in rows]))
            tables.append(setup.table(arms).assign(share=part, way=way, images=images))
    return pd.concat(tables, ignore_index=True)


def printed(setup: Setup, tower: Tower, seeds: Sequence[int]) -> pd.DataFrame:
    """Fine-tuned with binary cross-entropy and with the loss that the poster prints: AUC, and all labels right."""
    arms = {loss: [setup.tuned(tower, seed, loss=loss) for seed in seeds] for loss in CLASSIFIER_LOSSES}
    values = setup.material.test.values
    known = ~np.isnan(values)
    rows = known.any(1)
    right = {
        name: np.stack([(((run >= 0.5) == (values == 1)) | ~known).all(1)[rows] for run in runs]).astype(float)
        for name, runs in arms.items()
    }
    patients = [setup.material.test.patients[k] for k in np.flatnonzero(rows)]
    whole = beside_first(right, patients).rename(columns={"value": "all_right", "low": "all_low", "high": "all_high"})
    above = [float(np.mean([(run >= 0.5).mean() for run in runs])) for runs in arms.values()]
    table = setup.table(arms).merge(whole[["arm", "all_right", "all_low", "all_high"]], on="arm")
    return table.assign(said_present=above)
