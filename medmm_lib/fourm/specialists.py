"""Separate models: for each thing that the one model does, the smallest model of its own that does it as well."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medmm_lib.evaluation.intervals import paired_difference
from medmm_lib.fourm.experiment import Setup, Studies, Trained, train
from medmm_lib.fourm.mixture import mask_spec
from medmm_lib.fourm.pretraining import sample_losses
from medmm_lib.fourm.shape import Space
from medmm_lib.fourm.text import SENTINELS
from medmm_lib.fourm.tokens import Tokens

BYTES = 4  # of a weight in fp32


def specialists(
    whole: Trained, setup: Setup, studies: Studies, folder: Path, targets: Sequence[str], widths: Sequence[int]
) -> pd.DataFrame:
    """Train scan → target models of growing width until one is as good as `whole`, for each target.

    All have the layers of `setup` and its number of steps, all of which they spend on their one target. As good: the
    loss on validation studies, every token of the target asked for from all patches, is no higher. Columns: target,
    width, parameters, bytes, and of held-out studies: loss, `whole` (its loss), `difference` with its interval over
    patients; reached.
    """
    rows = []
    for target in targets:
        names = (*(name for name, space in studies.spaces.items() if space.kind == "patches"), target)
        own = replace(
            studies, spaces={name: studies.spaces[name] for name in names}, held_out=studies.held_out.only(*names),
            validation=studies.validation.only(*names), training=[part.only(*names) for part in studies.training],
        )  # fmt: skip
        chosen_by, known = (_losses(whole, studies, part, target) for part in (studies.validation, studies.held_out))
        for width in widths:
            trained = train(_alone(setup, studies.spaces[target], target, width), own, folder, evaluations=0)
            reached = np.nanmean(_losses(trained, own, own.validation, target)) <= np.nanmean(chosen_by)
            losses = _losses(trained, own, own.held_out, target)
            lead = paired_difference(losses, known, studies.patients)
            rows.append({
                "target": target, "width": width, "parameters": trained.parameters, "bytes": BYTES * trained.parameters,
                "loss": float(np.nanmean(losses)), "whole": float(np.nanmean(known)), "difference": lead.value,
                "difference_low": lead.low, "difference_high": lead.high, "reached": bool(reached),
            })  # fmt: skip
            if reached:
                break
    return pd.DataFrame(rows)


def _alone(setup: Setup, space: Space, target: str, width: int) -> Setup:
    """The settings of a model that only makes `target` from a scan. A text may need twice its places, for sentinels."""
    places = space.places * (2 if space.kind == "sequence" else 1)
    return replace(
        setup, mixture=(f"1: patches -> {target}",), shape={**setup.shape, "width": width, "heads": 4, "kv_heads": 4},
        inputs=(setup.inputs[1], setup.inputs[1]), targets=(places, places),
    )  # fmt: skip


def _losses(trained: Trained, studies: Studies, part: Tokens, target: str) -> np.ndarray:
    """Nats a token of the target of every study of a split, all patches given and all of the target asked for: [N]."""
    patches = sum(studies.spaces[name].places for name in trained.model.shape.of_kind("patches"))
    spec = mask_spec(
        trained.model.shape.spaces, studies.text.first_sentinel, SENTINELS, mixture=(f"1: patches -> {target}",),
        inputs=patches, targets=2 * studies.spaces[target].places,
    )  # fmt: skip
    sums, counts = sample_losses(trained.model, part, spec)
    at = trained.model.shape.names.index(target)
    return (sums[:, at] / counts[:, at]).numpy()
