"""The specification vectorised over the batch: plain PyTorch, any device.

By default there is no host synchronisation on a GPU and no data-dependent shape, so that it runs under `torch.compile`
and CUDA graphs. In `parity`, texts are redrawn until they fit, which waits for the device once a redraw.
"""

import torch

from medmm_kernels.batch import Inputs, held_lengths
from medmm_kernels.batched.budgets import Draw, fill
from medmm_kernels.batched.rows import Rows
from medmm_kernels.batched.subset import write_dense
from medmm_kernels.batched.text import Text
from medmm_kernels.spec import MaskSpec


def token_budgets(capacities: torch.Tensor, spec: MaskSpec, seed: int, sample_ids: torch.Tensor) -> list[torch.Tensor]:
    """Input and target budgets [B, M] of samples that hold `capacities` [B, M] tokens."""
    return list(Draw(spec, capacities.T, seed, sample_ids).budgets(capacities.T))


def settle_budgets(
    draw: Draw, lengths: torch.Tensor, b_in: torch.Tensor, b_tgt: torch.Tensor, texts: dict[int, Text]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn budgets into counts once the texts are corrupted. See naive.settle_budgets. → 2 × [B, M]."""
    length, sequence = lengths.T, draw.tables.sequence
    dense = 1 - sequence
    n_in = b_in.minimum(length) * dense
    n_tgt = torch.zeros_like(n_in)
    for m, text in texts.items():
        n_in[:, m], n_tgt[:, m] = text.n_in, text.n_tgt
    if draw.spec.parity:
        return n_in, torch.where(sequence.bool(), b_tgt, b_tgt.minimum(length - n_in))
    n_in = fill(n_in, draw.totals[0] - n_in.sum(1), draw.weights[0] * dense, length * dense, draw.round_in)
    room = (n_tgt - 1) * sequence + (length - n_in) * dense
    places = fill(torch.zeros_like(room), draw.totals[1], draw.weights[1], room, draw.round_tgt)
    return n_in, places + sequence * (places > 0)


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch on the device of its tokens: the fields of `batch.empty_fields`."""
    lengths = held_lengths(inputs, spec)
    draw = Draw(spec, lengths, seed, inputs.sample_ids)
    b_in, b_tgt = draw.budgets(lengths)
    texts = {}
    for m, name in enumerate(spec.names):
        if spec.modalities[name].kind == "sequence":
            tokens = inputs.tokens[m][:, : spec.modalities[name].max_tokens]
            texts[m] = Text(m, tokens, lengths[m], b_in[:, m], draw)
    n_in, n_tgt = settle_budgets(draw, lengths, b_in, b_tgt, texts)

    queries = n_tgt.clone()
    for m, text in texts.items():
        text.cut_target(n_tgt[:, m])
        queries[:, m] = text.queries
    rows = Rows(n_in, queries, spec.widths)
    for m, width in enumerate(inputs.widths):
        if m in texts:
            texts[m].write(rows)
        elif width:
            write_dense(m, inputs, lengths[m], n_in[:, m], n_tgt[:, m], draw, rows)
    return rows.fields(draw.tables.sequence)
