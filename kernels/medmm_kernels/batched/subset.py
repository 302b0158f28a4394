"""Dense modalities over the batch: which places are shown, and which are asked for."""

import torch

from medmm_kernels import streams
from medmm_kernels.batch import Inputs, place_mask
from medmm_kernels.batched.bits import signed, uniform
from medmm_kernels.batched.budgets import Draw
from medmm_kernels.batched.rows import Rows, sorted_rows


def keys(m: int, inputs: Inputs, draw: Draw) -> torch.Tensor:
    """Keys of the places of modality m: unique in a row, ending in the place. → int32 [B, N_m], int64 if weighted."""
    spec, width, weights = draw.spec, inputs.widths[m], inputs.weights[m]
    low, place = place_mask(width), torch.arange(width, device=inputs.sample_ids.device)
    if weights is not None:
        race = -uniform(draw.words(width, streams.SUBSET, m)).log() / weights.double()
        return race.view(torch.int64) >> streams.RACE_SHIFT & ~low | place
    if spec.strategy == "blockwise":
        rows, columns = spec.modalities[spec.names[m]].grid
        shift = draw.of_modality[:, m] * spec.block >> 32
        y, x = place // columns + shift[:, :1], place % columns + shift[:, 1:2]
        stride = columns // spec.block + 2
        blocks = draw.words((rows // spec.block + 2) * stride, streams.SUBSET, m, signed)
        drawn = blocks.gather(1, y // spec.block * stride + x // spec.block)
    else:
        drawn = draw.words(width, streams.SUBSET, m, signed)
    return (drawn & ~low).bitwise_or_(place.int())


def write_dense(
    m: int, inputs: Inputs, length: torch.Tensor, n_in: torch.Tensor, n_tgt: torch.Tensor, draw: Draw, rows: Rows
) -> None:
    """Show the n_in [B] places of modality m with the smallest keys, and ask for the next n_tgt [B]."""
    place, key = torch.arange(inputs.widths[m], device=length.device), keys(m, inputs, draw)
    if inputs.lengths[m] is not None:
        key = key.masked_fill(place >= length[:, None], torch.iinfo(key.dtype).max)
    ordered = sorted_rows(key)
    shown, chosen = (smallest(key, ordered, count) for count in (n_in, n_in + n_tgt))
    index = shown.cumsum(1)
    asked_at = chosen.cumsum(1).sub_(index).add_(rows.asked_at[:, m, None] - 1)
    at = torch.where(shown, index.add_(rows.shown_at[:, m, None] - 1), asked_at)
    rows.write(m, torch.where(chosen, at, rows.nowhere), inputs.tokens[m], place)


def smallest(key: torch.Tensor, ordered: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Whether a key is one of the `count` [B] smallest of its row. key, ordered [B, N] → bool [B, N]."""
    last = ordered.gather(1, (count - 1).clamp(min=0)[:, None])
    return (key <= last).logical_and_(count[:, None] > 0)
