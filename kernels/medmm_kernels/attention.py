"""Attention by segments: every query attends to the places [start, end) that masking wrote for it, and no T×T mask
exists.

4M separates its decoder's self-attention by modality and keeps text causal (Mizrahi et al. 2023, section 2.2). The
blocks of the modalities are contiguous, so two integers a query say what a T×T mask says. PyTorch does the attention
itself: on a CPU `scaled_dot_product_attention` of every segment, elsewhere FlexAttention (Dong et al. 2024) with a
block mask. Short rows are the exception on a CPU: there one masked call takes less time than a call a segment.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCK = 128  # FlexAttention's tile
SHORT = 192  # places of a row, up to which a CPU is faster with a mask


def segment_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """softmax(q kᵀ / √D) v over the keys [start, end) of each query; 0 where there are none.

    q [B, H, T, D], k and v [B, H / groups, T, D] (grouped-query attention: Ainslie et al. 2023), start and end [B, T]
    as `MaskedBatch.decoder` holds them: contiguous segments, causal (end = own place + 1) or full (end = that of the
    segment). → [B, H, T, D]. Raises ValueError where the shapes don't fit, and on a CPU where start and end are
    anything else.
    """
    batch, heads, length, _ = q.shape
    if k.shape != v.shape or k.shape[0] != batch or k.shape[2] != length or heads % k.shape[1]:
        raise ValueError(
            f"q is {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; expected [B, H, T, D] and twice "
            "[B, H / groups, T, D]"
        )
    if start.shape != (batch, length) or end.shape != (batch, length):
        raise ValueError(f"start is {list(start.shape)}, end {list(end.shape)}; expected {[batch, length]}")
    if q.device.type == "cpu":
        if q.numel() == 0:
            return torch.zeros_like(q)
        if torch.compiler.is_compiling():
            # A compiler can't follow segments, whose number depends on the batch; FlexAttention has no backward here.
            return _attend_masked(q, k, v, start, end)
        parts = segments(start, end)
        return _attend_masked(q, k, v, start, end) if length <= SHORT else _attend_segments(q, k, v, parts)
    return _compiled_flex()(q, k, v, block_mask=block_mask(start, end), enable_gqa=heads != k.shape[1])


def _attend_masked(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    place = torch.arange(q.shape[2])
    visible = (place >= start[..., None]) & (place < end[..., None])  # [B, T, T]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None], enable_gqa=q.shape[1] != k.shape[1])
    return attended.masked_fill((end <= start)[:, None, :, None], 0.0)


def segments(start: torch.Tensor, end: torch.Tensor) -> list[tuple[int, bool | None]]:
    """The segments of all rows in order: how many places, and whether causal (None: padding). start, end [B, T]."""
    batch, length = start.shape
    place = torch.arange(length, device=start.device)
    valid = end > start
    first = (valid & (start == place)) | (
        ~valid & (torch.diff(valid.int(), dim=1, prepend=valid[:, :1].int() * 0 + 1) != 0)
    )
    first[:, :1] = True
    at = first.flatten().nonzero()[:, 0]
    sizes = torch.diff(at, append=torch.tensor([batch * length]))
    causal = (end - place == 1).flatten()[at] & (sizes > 1)
    padding = ~valid.flatten()[at]

    begin = (at % length).repeat_interleave(sizes).view(batch, length)
    full_end = begin + sizes.repeat_interleave(sizes).view(batch, length)
    expected = torch.where(causal.repeat_interleave(sizes).view(batch, length), place + 1, full_end)
    described = torch.where(
        valid, (start == begin) & (end == expected), padding.repeat_interleave(sizes).view(batch, length)
    )
    if not described.all():
        row, column = described.logical_not().nonzero()[0].tolist()
        raise ValueError(
            f"query {column} of row {row} attends to [{int(start[row, column])}, {int(end[row, column])}), which is "
            "neither the whole of a contiguous segment nor its places up to the query; expected start and end of a "
            "MaskedBatch"
        )
    kinds = [None if p else c for p, c in zip(padding.tolist(), causal.tolist(), strict=True)]
    return list(zip(sizes.tolist(), kinds, strict=True))


def _attend_segments(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, parts: list[tuple[int, bool | None]]
) -> torch.Tensor:
    sizes = [size for size, _ in parts]
    grouped = q.shape[1] != k.shape[1]
    # One split: its backward is one concatenation, where a slice's would be a whole tensor of zeros each.
    split = [x.transpose(1, 2).flatten(0, 1).split(sizes) for x in (q, k, v)]
    outputs = []
    for (_, causal), *qkv in zip(parts, *split, strict=True):
        if causal is None:
            outputs.append(torch.zeros_like(qkv[0]))
            continue
        heads_first = (x.transpose(0, 1)[None] for x in qkv)
        attended = F.scaled_dot_product_attention(*heads_first, is_causal=causal, enable_gqa=grouped)
        outputs.append(attended[0].transpose(0, 1))
    batch, heads, length, width = q.shape
    return torch.cat(outputs).view(batch, length, heads, width).transpose(1, 2)


def block_mask(start: torch.Tensor, end: torch.Tensor) -> BlockMask:
    """FlexAttention's block mask from [start, end) of each query, without a T×T mask: a tile of queries needs the tiles
    of keys from its smallest start to its largest end."""
    batch, length = start.shape
    tiles = -(-length // BLOCK)
    missing = tiles * BLOCK - length
    start, end = (F.pad(x, (0, missing)) for x in (start, end))
    valid = end > start
    low = torch.where(valid, start, tiles * BLOCK).view(batch, tiles, BLOCK).amin(2) // BLOCK
    high = (torch.where(valid, end, 0).view(batch, tiles, BLOCK).amax(2) + BLOCK - 1) // BLOCK
    count = (high - low).clamp(min=0)
    index = (low[..., None] + torch.arange(tiles, device=start.device)).clamp(max=tiles - 1)

    def attends(b: torch.Tensor, _: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key >= start[b, query]) & (key < end[b, query])

    return BlockMask.from_kv_blocks(
        count[:, None].int(), index[:, None].int(), BLOCK_SIZE=BLOCK, mask_mod=attends, seq_lengths=(length, length)
    )


@cache
def _compiled_flex() -> object:
    return torch.compile(flex_attention)
