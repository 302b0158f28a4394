"""Trained on one kind of scan, tested on the others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medmm_lib.evaluation.intervals import paired_difference
from medmm_lib.fourm.experiment import Setup, Studies, arm


def transfer(
    setup: Setup, studies: Studies, kinds: Sequence[str | None], tested: Sequence[str | None], views: int, folder: Path,
    seeds: Sequence[int],
) -> pd.DataFrame:  # fmt: skip
    """Train on the most frequent kind alone and on as many studies of all kinds; test both on every kind.

    `kinds` are those of the first data set's training studies, which stand in `views` views each; `tested` those of the
    held-out studies. Columns: tested on, studies, the loss of both (nats a token, mean over the modalities of a study,
    then over studies and seeds), difference with its interval over patients.
    """
    known = pd.Series(kinds, dtype=object)
    common = known.value_counts().index[0]
    alone = np.flatnonzero(known == common)
    of_all = np.random.default_rng(setup.seed).permutation(len(known))[: len(alone)]
    losses = {}
    for name, rows in {f"{common} only": alone, "all kinds": of_all}.items():
        seen = torch.from_numpy((rows[:, None] * views + np.arange(views)).ravel())
        part = replace(studies, training=[studies.training[0].rows(seen)], weights=[1.0], key=f"{studies.key} {name}")
        runs = arm(setup, part, folder, seeds)
        losses[name] = np.mean([np.nanmean(run.losses[:, _asked(run.losses)], axis=1) for run in runs], axis=0)
    table, (narrow, wide) = [], losses.values()
    for kind in sorted(set(tested) - {None}):
        at = np.flatnonzero(np.array(tested, object) == kind)
        lead = paired_difference(narrow[at], wide[at], np.array(studies.patients)[at])
        table.append({
            "tested on": kind, "studies": len(at), **{name: float(part[at].mean()) for name, part in losses.items()},
            "difference": lead.value, "difference_low": lead.low, "difference_high": lead.high,
        })  # fmt: skip
    return pd.DataFrame(table)


def _asked(losses: np.ndarray) -> np.ndarray:
    """The modalities that are asked for at all."""
    return ~np.isnan(losses).all(axis=0)
