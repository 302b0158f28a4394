"""From studies to tokens: tokenisers trained on the training split, and every split as tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict

from medmm_lib import sources
from medmm_lib.fourm import vq
from medmm_lib.fourm.experiment import Studies
from medmm_lib.fourm.modalities import REGISTRY, Row
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers
from medmm_lib.fourm.views import views
from medmm_lib.fourm.vq import VQShape, VQTokeniser


@dataclass(frozen=True)
class Codes:
    """How a VQ tokeniser is trained."""

    codes: int
    steps: int


def train_tokenisers(
    rows: Dataset, modalities: Sequence[str], folder: Path, *, side: int, patch: int, vocabulary_size: int,
    longest_text: int, visual: dict[str, Codes], seed: int,
) -> Tokenisers:  # fmt: skip
    """Tokenisers of the modalities, trained on the studies `rows` alone.

    `visual` says how the VQ tokeniser of each grid of tokens is trained. The longest text of a modality is that of the
    training studies, at most `longest_text` tokens. Raises ValueError for an unknown modality and for a grid of tokens
    that `visual` lacks.
    """
    if unknown := [name for name in modalities if name not in REGISTRY]:
        raise ValueError(f"modalities has {', '.join(unknown)}; expected some of {', '.join(REGISTRY)}")
    entries = {name: REGISTRY[name] for name in modalities}
    grids = {entry.vocabulary: entry for entry in entries.values() if entry.kind == "dense"}
    if missing := set(grids) - set(visual):
        raise ValueError(f"no codes and steps for {', '.join(sorted(missing))}; expected them for every grid of tokens")
    written = rows.remove_columns(["image", "mask"])  # which would be decoded for nothing
    texts = {
        name: [text for row in written if (text := entry.read(row, side)) is not None]
        for name, entry in entries.items()
        if entry.kind == "sequence"
    }
    if empty := [name for name, part in texts.items() if not part]:
        raise ValueError(f"no training study has {', '.join(empty)}; take it out of modalities")
    text = TextTokeniser.train((one for part in texts.values() for one in part), vocabulary_size)
    most = {name: min(longest_text, max(len(text.encode(one)) for one in part)) for name, part in texts.items()}
    trained = {}
    for name, entry in grids.items():
        torch.manual_seed(seed)
        settings = visual[name]
        tokeniser = VQTokeniser(VQShape(side=side, patch=patch, codes=settings.codes, classes=entry.classes))
        vq.train(tokeniser, pictures(rows, name, side), folder / name, steps=settings.steps, seed=seed)
        trained[name] = tokeniser
    return Tokenisers(modalities, text, trained, side=side, patch=patch, most=most)


def pictures(rows: Dataset, name: str, side: int) -> torch.Tensor:
    """The pictures of a modality [N, side, side] uint8, of the studies that have one."""
    read = [picture for row in rows if (picture := REGISTRY[name].read(row, side)) is not None]
    if not read:
        raise ValueError(f"no study has {name}; take it out of modalities")
    return torch.from_numpy(np.stack(read))


def as_studies(
    tokenisers: Tokenisers, parts: dict[str, DatasetDict], weights: Sequence[float], folder: Path, *,
    fingerprints: dict[str, str], count: int, seed: int,
) -> Studies:  # fmt: skip
    """The training splits of data sets, in `count` views a study, and the first one's other splits, as tokens.

    Tokens are kept in `folder`. The test split is what is held out.
    """

    def seen(part: Dataset) -> Iterator[Row]:
        return (view for row in part for view in views(row, count, seed))

    training = [
        tokenisers.cached(lambda part=part: seen(part["train"]), folder, f"{fingerprints[name]} train {count} {seed}")
        for name, part in parts.items()
    ]
    first, own = next(iter(parts.items()))
    validation, held_out = (
        tokenisers.cached(lambda split=split: own[split], folder, f"{fingerprints[first]} {split}")
        for split in ("validation", "test")
    )
    key = sources.json_hash([tokenisers.hash, fingerprints, list(weights), count, seed])
    return Studies(
        tokenisers.spaces, tokenisers.text, tokenisers.codebooks, training, weights, validation, held_out,
        own["test"]["patient_id"], key,
    )  # fmt: skip
