"""The studies of chapter 03: what each arm changes about a pretraining. Arms are compared to the first."""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from medmm_lib.fourm.experiment import Setup
from medmm_lib.fourm.generation import as_encoder
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.shape import SIZES
from medmm_lib.fourm.tokens import Tokens

BUDGETS = (1, 2, 4)
SHOWN = ("label map", "tissue", "caption", "image")  # modalities with a column of their own


def arms(study: str, setup: Setup) -> dict[str, Setup]:
    """The arms of a study, by name. Raises ValueError for a study that there is none of."""
    if study not in STUDIES:
        raise ValueError(f"studies names {study!r}; expected some of {', '.join(STUDIES)}")
    return STUDIES[study](setup)


def _heads(setup: Setup) -> dict[str, Setup]:
    heads = SIZES[setup.size][-1]
    kinds = {"multi-head": heads, "grouped-query": heads // 2, "multi-query": 1}
    return {name: _shaped(setup, kv_heads=count) for name, count in kinds.items()}


def _embeddings(setup: Setup) -> dict[str, Setup]:
    return {kind: _shaped(setup, embeddings=kind) for kind in ("per modality", "unified")}


def _masking(setup: Setup) -> dict[str, Setup]:
    small = tuple(max(1, n // 4) for n in setup.inputs)
    strategies: dict[str, Mapping[str, object]] = {
        "uniform": {}, "blockwise": {"strategy": "blockwise", "block": 2}, "cosine": {"strategy": "cosine"},
        "curriculum": {"strategy": "curriculum", "first_input_tokens": small},
    }  # fmt: skip
    return {name: replace(setup, strategy=options) for name, options in strategies.items()}


def _budgets(setup: Setup) -> dict[str, Setup]:
    """Longer sequences, fewer steps: every arm is meant to see as many tokens."""

    def times(factor: int) -> Setup:
        inputs, targets = (tuple(n * factor // BUDGETS[-1] for n in budget) for budget in (setup.inputs, setup.targets))
        return replace(setup, inputs=inputs, targets=targets, steps=setup.steps * BUDGETS[-1] // factor)

    return {f"× {factor}": times(factor) for factor in BUDGETS}


def _shaped(setup: Setup, **changes: int | str) -> Setup:
    return replace(setup, shape={**setup.shape, **changes})


STUDIES = {"heads": _heads, "embeddings": _embeddings, "masking": _masking, "budgets": _budgets}


def generation_cost(model: FourM, given: dict[str, torch.Tensor], text: str, rounds: int = 3) -> tuple[int, float]:
    """What it takes to generate a text: bytes of the keys and values kept for one, in fp32, and tokens a second.

    The cache is counted at its fullest, a text of full length; the speed is the median of `rounds` after a first one,
    all of `given` in one batch, up to the end tokens.
    """
    shape, seconds = model.shape, []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        made = model.generate(given, text)
        seconds.append(time.perf_counter() - start)
    places = sum(rows.shape[1] for rows in given.values())
    kept = 2 * shape.decoder_layers * shape.kv_heads * (shape.width // shape.heads)
    return kept * (places + shape.spaces[text].places) * torch.float32.itemsize, int((made >= 0).sum()) / float(
        np.median(seconds[1:])
    )


def encoded_tokens(model: FourM, studies: Tokens) -> dict[str, np.ndarray]:
    """Tokens after the encoder, all modalities given, in their first two principal components: name → [tokens, 2]."""
    device = model.context.weight.device
    given = {name: rows.to(device) for name, rows in studies.given(*model.shape.names).items()}
    encoder, pixels = as_encoder(model, given)
    with torch.no_grad():
        encoded, _ = model.encode(encoder, pixels)
    flat, kind = (part[encoder.valid].cpu().numpy() for part in (encoded, encoder.modality))
    places = PCA(2).fit_transform(flat)
    return {name: places[kind == number] for number, name in enumerate(model.shape.names) if (kind == number).any()}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `experiment.comparison` for a page: an arm a row, a modality a column, intervals in words."""
    rows = []
    for arm, part in table.groupby("arm", sort=False):
        losses = {row.modality: f"{row.loss:.3f}" for row in part.itertuples() if row.modality in SHOWN}
        mean = part[part["modality"] == "all"].iloc[0]
        rows.append({
            "arm": arm, **losses, "mean": f"{mean.loss:.3f}",
            "to the first [95 %]": f"{mean.difference:+.3f} [{mean.difference_low:+.3f}, {mean.difference_high:+.3f}]",
            "seeds": "" if np.isnan(mean.seeds) else f"± {mean.seeds:.3f}", "tokens seen": f"{mean.tokens:,}",
            "ms a step": f"{mean.step_ms:.0f}", "weights": f"{mean.parameters:,}",
        })  # fmt: skip
        if "cache_bytes" in part:
            rows[-1] |= {"KV cache, KiB": f"{mean.cache_bytes / 1024:.0f}", "tokens/s": f"{mean.tokens_per_s:,.0f}"}
    return pd.DataFrame(rows)


def told(table: pd.DataFrame) -> pd.DataFrame:
    """A table with a `difference` for a page: its interval in words, numbers with three digits."""
    shown = {name: list(map(_told, table[name])) for name in table if not name.startswith("difference")}
    parts = table[["difference", "difference_low", "difference_high"]].to_numpy(float)
    return pd.DataFrame(
        shown | {"difference [95 %]": [f"{d:+.3f} [{low:+.3f}, {high:+.3f}]" for d, low, high in parts]}
    )


def _told(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
