"""A training step of a small 4M-like encoder–decoder, the way 4M feeds it and the way these kernels do.

4M masks sample by sample, embeds every place of every modality, selects the chosen ones by a sort, and gives the
decoder a T×T mask. The other way masks the batch at once, embeds what was chosen and attends by segments. Weights and
loss are the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from medmm_kernels import MaskedBatch, MaskSpec, segment_attention


class FullLength(NamedTuple):
    """What 4M's data loader hands on: per modality a row of all places, and which of them are hidden. M × [B, C_m]."""

    ids: list[torch.Tensor]
    input_hidden: list[torch.Tensor]
    target_hidden: list[torch.Tensor]
    attention: list[torch.Tensor]  # summed up along the decoder's queries: up to where a query may look


class Block(nn.Module):
    """Pre-norm transformer block; the decoder's also attend to the encoder."""

    def __init__(self, width: int, heads: int, cross: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4 if cross else 2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if cross:
            self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
            self.cross_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def split(self, x: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
        """[B, T, parts · width] → parts × [B, H, T, D]."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(
        self, x: torch.Tensor, attend: Callable, memory: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x [B, T, width], memory [B, N, width], of which the places `seen` [B, 1, 1, N] hold something."""
        norms = iter(self.norms)
        attended = attend(*self.split(self.qkv(next(norms)(x)), 3))
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        if memory is not None:
            (q,), kv = self.split(self.query(next(norms)(x)), 1), self.split(self.memory(next(norms)(memory)), 2)
            x = x + self.cross_out(F.scaled_dot_product_attention(q, *kv, attn_mask=seen).transpose(1, 2).flatten(2))
        return x + self.mlp(next(norms)(x))


class EncoderDecoder(nn.Module):
    """A small model of all modalities with one vocabulary."""

    def __init__(self, spec: MaskSpec, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        modalities = [spec.modalities[name] for name in spec.names]
        self.spec, self.text = spec, [m.kind == "sequence" for m in modalities]
        self.asked = [m.target_alpha != 0 for m in modalities]  # the others have no decoder embedding
        spans = [2 * (m.max_tokens + 1) if m.kind == "sequence" else m.max_tokens for m in modalities]
        first = torch.tensor([0, *spans]).cumsum(0)
        self.register_buffer("first", first[:-1])
        self.register_buffer("is_text", torch.tensor(self.text))
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(int(first[-1]), width)
        self.kind, self.mask_token = nn.Embedding(len(spans), width), nn.Parameter(torch.randn(width) * 0.02)
        heads = width // 64
        self.encoder = nn.ModuleList(Block(width, heads, cross=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(width, heads, cross=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def loss(
        self, x: torch.Tensor, seen: torch.Tensor, queries: torch.Tensor, attend: Callable, targets: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of the targets [B, T], given embedded tokens x [B, N, width] and queries [B, T, width]."""
        seen = seen[:, None, None]
        for block in self.encoder:
            x = block(x, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen))
        for block in self.decoder:
            queries = block(queries, attend, x, seen)
        logits = self.norm(queries) @ self.token.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten().long())

    def of_batch(self, masked: MaskedBatch) -> torch.Tensor:
        """The loss from a masked batch: only what was chosen is embedded."""
        encoder, decoder = masked
        kind = encoder.modality.clamp(min=0)
        x = self.token(encoder.ids) + self.position(encoder.position + self.first[kind]) + self.kind(kind)
        kind = decoder.modality.clamp(min=0)
        content = torch.where(self.is_text[kind][..., None], self.token(decoder.ids), self.mask_token)
        queries = content + self.position(decoder.position + self.first[kind]) + self.kind(kind)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return segment_attention(q, k, v, decoder.start, decoder.end)

        return self.loss(x * encoder.valid[..., None], encoder.valid, queries, attend, decoder.targets)

    def placed(self, m: int, hidden: torch.Tensor) -> torch.Tensor:
        """Position and modality of all places: an image's are the same in every sample, a text's count its tokens."""
        if self.text[m]:
            where = (~hidden).cumsum(1).sub(1).clamp(min=0)
            return self.position(where + self.first[m]) + self.kind.weight[m]
        places = self.position.weight[self.first[m] : self.first[m] + hidden.shape[1]]
        return (places + self.kind.weight[m]).expand(len(hidden), -1, -1)

    def of_full_length(self, rows: FullLength) -> torch.Tensor:
        """The loss from rows of all places: all are embedded, then selected by a sort."""
        n_in, n_tgt = self.spec.widths
        embedded, places, hidden = [], [], []
        contents, wheres, asked, targets, attention, kinds = [], [], [], [], [], []
        for m, text in enumerate(self.text):
            ids, shown, wanted, extent = (field[m] for field in rows)
            embedded.append(self.token(ids))
            places.append(self.placed(m, shown))
            hidden.append(shown)
            if not self.asked[m]:
                continue
            if text:  # a place reads its token and predicts the next one
                content, target, wanted = self.token(ids[:, :-1]), ids[:, 1:], wanted[:, :-1] | wanted[:, 1:]
                extent = (~wanted).int()
            else:
                content, target = self.mask_token.expand(*ids.shape, -1), ids
            contents.append(content)
            wheres.append(self.placed(m, wanted))
            asked.append(wanted)
            targets.append(target)
            attention.append(extent)
            kinds.append(torch.full_like(target, m))

        x, place, hidden = select(torch.cat(hidden, 1), n_in, torch.cat(embedded, 1), torch.cat(places, 1))
        content, where, unasked, target, extent, kind = select(
            torch.cat(asked, 1), n_tgt, *(torch.cat(part, 1) for part in (contents, wheres)),
            more=[torch.cat(part, 1) for part in (targets, attention, kinds)],
        )  # fmt: skip
        x = (x + place).masked_fill(hidden[..., None], 0.0)
        limit = extent.masked_fill(unasked, 0).cumsum(1)
        column = torch.arange(n_tgt, device=limit.device)
        visible = (column < limit[..., None]) & (kind[..., None] == kind[:, None]) & ~unasked[:, None]
        visible |= torch.eye(n_tgt, dtype=torch.bool, device=limit.device) & unasked[..., None]  # or its output is NaN

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])

        return self.loss(x, ~hidden, content + where, attend, target.masked_fill(unasked, -100))


def select(
    hidden: torch.Tensor, count: int, *embeddings: torch.Tensor, more: list[torch.Tensor] | None = None
) -> list[torch.Tensor]:
    """The first `count` places that are not hidden, in order: of embeddings, of `hidden`, and of what else is given."""
    order = torch.argsort(hidden + torch.arange(hidden.shape[1], device=hidden.device) * 1e-6, dim=1)[:, :count]
    chosen = [torch.gather(x, 1, order[..., None].expand(-1, -1, x.shape[-1])) for x in embeddings]
    return [*chosen, *(torch.gather(x, 1, order) for x in (hidden, *(more or [])))]


def collated(samples: list[dict[str, dict[str, torch.Tensor]]], names: tuple[str, ...]) -> FullLength:
    """Stack what masking sample by sample gave."""
    fields = ("tensor", "input_mask", "target_mask", "attention")
    return FullLength(
        *([torch.stack([sample[name][field] for sample in samples]) for name in names] for field in fields)
    )


def full_length(masked: MaskedBatch, tokens: dict[str, torch.Tensor], spec: MaskSpec) -> FullLength:
    """A masked batch in the rows that 4M's data loader would have made of it."""
    rows = FullLength([], [], [], [])
    batch = len(masked.encoder.ids)
    for m, name in enumerate(spec.names):
        text, most = spec.modalities[name].kind == "sequence", spec.modalities[name].max_tokens
        columns = 2 * (most + 1) if text else most
        ids = torch.zeros(batch, columns, dtype=torch.int64) if text else tokens[name].clone()
        shown, asked = torch.ones(batch, columns, dtype=torch.bool), torch.ones(batch, columns, dtype=torch.bool)
        attention = torch.zeros(batch, columns, dtype=torch.int32)
        for b in range(batch):
            given, wanted = (side.modality[b] == m for side in masked)
            place, read = masked.encoder.position[b][given].long(), masked.decoder.ids[b][wanted].long()
            shown[b, place] = False
            if text:
                ids[b, place] = masked.encoder.ids[b][given].long()
                target = torch.cat([read[:1], masked.decoder.targets[b][wanted].long()])
                ids[b, len(place) : len(place) + len(target)] = target
                asked[b, len(place) : len(place) + len(target)] = False
            elif len(read):
                place = masked.decoder.position[b][wanted].long()
                asked[b, place] = False
                attention[b, place[0]] = len(place)
        for field, row in zip(rows, (ids, shown, asked, attention), strict=True):
            field.append(row)
    return rows
