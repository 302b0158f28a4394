"""Text tokenisers compared: how many pieces a word falls into, and what a caption costs a model that reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from medmm_lib.data.schema import topic_parts
from medmm_lib.evaluation.intervals import paired_difference
from medmm_lib.fourm.experiment import Setup, Studies, train
from medmm_lib.fourm.mixture import mask_spec
from medmm_lib.fourm.modalities import Row
from medmm_lib.fourm.pretraining import EVALUATION_DRAWS, sample_losses
from medmm_lib.fourm.text import SENTINELS, TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers


def literature(rows: Sequence[Row]) -> list[str]:
    """What studies' cases say of the disease and not of the patient: discussions and topics, each once."""
    texts = {row["discussion"] for row in rows} | {topic_parts(row["topic"])[1] for row in rows if row["topic"]}
    return sorted(text for text in texts if text)


def pieces_per_word(tokeniser: TextTokeniser, texts: Sequence[str]) -> float:
    """Tokens a word, words being what stands between spaces; the end token is not counted."""
    pieces = sum(len(tokeniser.encode(text)) - 1 for text in texts)
    return pieces / sum(len(text.split()) for text in texts)


def unknown(tokeniser: TextTokeniser, texts: Sequence[str]) -> float:
    """The share of pieces that the tokeniser has no token for."""
    pieces = [piece for text in texts for piece in tokeniser.encode(text)[:-1]]
    return float(np.mean([piece == tokeniser.unknown for piece in pieces]))


def comparison(
    tokenisers: Mapping[str, TextTokeniser], setup: Setup, training: Dataset, held_out: Dataset, folder: Path,
    seeds: Sequence[int], side: int, patch: int,
) -> pd.DataFrame:  # fmt: skip
    """Train scan → caption with each tokeniser and each seed. The first is what the others are compared to.

    Only held-out captions without an unknown piece in any of the vocabularies count: there all of them say the same.
    Raises ValueError where there is none. Columns: learned from, tokens, captions (that count), pieces a word, unknown
    (share of pieces), nats a character, difference with its interval over patients.
    """
    training, held_out = (
        part.select([k for k, text in enumerate(part["caption"]) if text]) for part in (training, held_out)
    )
    texts, rows, first = held_out["caption"], [], None
    count = np.array([all(one.unknown not in one.encode(text) for one in tokenisers.values()) for text in texts])
    if not count.any():
        raise ValueError(f"no caption is without unknown pieces in all of {', '.join(tokenisers)}; leave one out")
    for name, tokeniser in tokenisers.items():
        losses = np.mean(
            [
                caption_losses(tokeniser, replace(setup, seed=seed), training, held_out, folder / name, side, patch)
                for seed in seeds
            ],
            axis=0,
        )
        losses = np.where(count, losses, np.nan)
        first = losses if first is None else first
        lead = paired_difference(losses, first, held_out["patient_id"])
        rows.append({
            "learned from": name, "tokens": tokeniser.size, "captions": int(count.sum()),
            "pieces a word": pieces_per_word(tokeniser, texts), "unknown": unknown(tokeniser, texts),
            "nats a character": float(np.nanmean(losses)), "difference": lead.value, "difference_low": lead.low,
            "difference_high": lead.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def caption_losses(
    tokeniser: TextTokeniser, setup: Setup, training: Dataset, held_out: Dataset, folder: Path, side: int, patch: int
) -> np.ndarray:  # fmt: skip
    """Train scan → caption with a tokeniser; nats a character of every held-out caption [N], which tokenisers share."""
    most = {"caption": max(len(tokeniser.encode(text)) for part in (training, held_out) for text in part["caption"])}
    own = Tokenisers(("patches", "caption"), tokeniser, {}, side=side, patch=patch, most=most)
    tokens, places = own.encode(held_out), 2 * most["caption"]
    studies = Studies(
        own.spaces, tokeniser, {}, [own.encode(training)], [1.0], tokens, tokens,
        held_out["patient_id"], own.hash,
    )  # fmt: skip
    one = replace(setup, mixture=("1: patches -> caption",), inputs=(setup.inputs[1],) * 2, targets=(places, places))
    trained = train(one, studies, folder, evaluations=0)
    spec = mask_spec(
        own.spaces, tokeniser.first_sentinel, SENTINELS, mixture=one.mixture, inputs=one.inputs, targets=one.targets
    )
    sums, _ = sample_losses(trained.model, tokens, spec)
    return sums.sum(1).numpy() / EVALUATION_DRAWS / np.array([len(text) for text in held_out["caption"]])
