"""Batches to mask: modalities of odd sizes, texts, and how two results are compared."""

import torch

from medmm_kernels import MaskedBatch, MaskSpec, Modality, batch

EIGHT = (
    "caption",
    "det",
    "rgb@224",
    "tok_clip@224",
    "tok_depth@224",
    "tok_normal@224",
    "tok_rgb@224",
    "tok_semseg@224",
)
FIRST_TOKEN = 1000  # no token of a batch is a sentinel
FIRST_SENTINEL = 3


def eight(alpha: float = 0.5, budget: int = 256, **changes) -> MaskSpec:
    """4M's eight modalities: two texts, image tokens, and patches that are input only."""
    modalities = {
        name: Modality("sequence", 256, alpha, alpha)
        if name in ("caption", "det")
        else Modality("dense", 196, alpha, 0.0 if name.startswith("rgb") else alpha, grid=(14, 14))
        for name in EIGHT
    }
    return MaskSpec(modalities, budget, budget, first_sentinel=FIRST_SENTINEL, sentinels=200, **changes)


def eight_tokens(batch: int, seed: int = 0, words: tuple[int, int] = (8, 24)) -> tuple[dict, dict]:
    """Tokens and lengths for `eight`: a caption of so many words, one to six boxes of five, each ended by one token."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high + 1, shape, generator=generator)

    tokens = {name: integers(0, 16383, batch, 196) for name in EIGHT[2:]}
    tokens["caption"], tokens["det"] = (integers(FIRST_TOKEN, 30000, batch, n) for n in (words[1] + 1, 31))
    return tokens, {"caption": integers(*words, batch) + 1, "det": integers(1, 6, batch) * 5 + 1}


def assert_same(result: MaskedBatch, expected: MaskedBatch) -> None:
    for side in ("encoder", "decoder"):
        for field, value in getattr(expected, side)._asdict().items():
            torch.testing.assert_close(
                getattr(getattr(result, side), field), value, rtol=0, atol=0, msg=f"{side}.{field}"
            )


def masked(path, tokens, lengths, spec, *, seed=7, sample_ids=None, weights=None) -> MaskedBatch:
    """What one of the paths makes of a batch."""
    rows = len(next(iter(tokens.values())))
    ids = torch.arange(rows) if sample_ids is None else sample_ids
    given = batch.inputs(tokens, lengths, spec, ids, weights)
    return batch.as_batch(path.mask_fields(given, spec, seed))
