"""Text tokenisers compared: how many pieces a word falls into, and what a caption costs a model that reads them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmm_lib.data.schema import topic_parts
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


def fully_known(tokenisers: Sequence[TextTokeniser], texts: Sequence[str]) -> np.ndarray:
    """Which texts [N] no tokeniser has an unknown piece in: only there do all of them say the same."""
    return np.array([all(one.unknown not in one.encode(text) for one in tokenisers) for text in texts])


def caption_losses(
    tokeniser: TextTokeniser, setup: Setup, training: Sequence[Row], held_out: Sequence[Row], folder: Path,
    side: int, patch: int,
) -> np.ndarray:  # fmt: skip
    """Train scan → caption with a tokeniser; nats a character of every held-out caption [N], which tokenisers share."""
    most = {"caption": max(len(tokeniser.encode(row["caption"])) for row in (*training, *held_out))}
    own = Tokenisers(("patches", "caption"), tokeniser, {}, side=side, patch=patch, most=most)
    tokens, places = own.encode(held_out), 2 * most["caption"]
    studies = Studies(
        own.spaces, tokeniser, {}, [own.encode(training)], [1.0], tokens, tokens,
        [row["patient_id"] for row in held_out], own.hash,
    )  # fmt: skip
    one = replace(setup, mixture=("1: patches -> caption",), inputs=(setup.inputs[1],) * 2, targets=(places, places))
    trained = train(one, studies, folder, evaluations=1)
    spec = mask_spec(
        own.spaces, tokeniser.first_sentinel, SENTINELS, mixture=one.mixture, inputs=one.inputs, targets=one.targets
    )
    sums, _ = sample_losses(trained.model, tokens, spec)
    return sums.sum(1).numpy() / EVALUATION_DRAWS / np.array([len(row["caption"]) for row in held_out])
