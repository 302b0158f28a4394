"""Transformer layers of 4M: pre-norm, without biases, with fewer key than query heads where asked for.

4M: Mizrahi et al. 2023, section 2.2. Grouped-query attention: Ainslie et al. 2023; multi-query: Shazeer 2019.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

# q [B, H, T, D], k, v [B, Hkv, N, D] → [B, H, T, D]
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Memory = tuple[torch.Tensor, torch.Tensor]  # keys and values, twice [B, Hkv, N, D]


class Attention(nn.Module):
    """Attention of `heads` query heads over `kv_heads` key and value heads.

    `kv_heads` equal to `heads` is multi-head attention, 1 multi-query, anything between grouped-query.
    """

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.head_width, self.kv_heads = width // heads, kv_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * kv_heads * self.head_width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def keys_values(self, x: torch.Tensor) -> Memory:
        """Keys and values of x [B, N, width]: twice [B, Hkv, N, D]."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(self, x: torch.Tensor, keys_values: Memory, attend: Attend) -> torch.Tensor:
        """What x [B, T, width] gathers from keys and values. → [B, T, width]"""
        q, k, v = self._split(self.query(x)), *keys_values
        if q.device.type == "cpu" and q.dtype != torch.float32:
            # PyTorch's backward of bf16 attention takes four times as long there.
            with torch.autocast("cpu", enabled=False):
                attended = attend(q.float(), k.float(), v.float()).to(q.dtype)
        else:
            attended = attend(q, k, v)
        return self.out(attended.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def start_alike(self) -> None:
        """Let keys start as queries, so that what is alike, in place or content, attends to each other from the start.

        Trockman and Kolter 2023 ("mimetic initialization") find the same in trained networks.
        """
        heads = self.query.weight.unflatten(0, (-1, self.head_width))
        groups = heads.unflatten(0, (self.kv_heads, -1))[:, 0]  # the first query head of each group
        self.key_value.weight[: self.kv_heads * self.head_width] = groups.flatten(0, 1)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, heads · D] → [B, heads, T, D]"""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)


class MLP(nn.Sequential):
    """Two layers with a GELU between them."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__(
            nn.Linear(width, ratio * width, bias=False), nn.GELU(), nn.Linear(ratio * width, width, bias=False)
        )


class EncoderLayer(nn.Module):
    """Self-attention and an MLP, each behind a norm and beside a residual connection."""

    def __init__(self, width: int, heads: int, kv_heads: int, ratio: int) -> None:
        super().__init__()
        self.norm, self.mlp_norm = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attention, self.mlp = Attention(width, heads, kv_heads), MLP(width, ratio)

    def forward(self, x: torch.Tensor, attend: Attend) -> torch.Tensor:
        """x [B, N, width] → the same."""
        normed = self.norm(x)
        x = x + self.attention(normed, self.attention.keys_values(normed), attend)
        return x + self.mlp(self.mlp_norm(x))


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder, and an MLP, each behind a norm and beside a residual connection."""

    def __init__(self, width: int, heads: int, kv_heads: int, ratio: int) -> None:
        super().__init__()
        self.norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width, bias=False) for _ in range(3))
        self.attention, self.cross = Attention(width, heads, kv_heads), Attention(width, heads, kv_heads)
        self.mlp = MLP(width, ratio)

    def forward(
        self,
        x: torch.Tensor,
        attend: Attend,
        memory: Memory,
        attend_memory: Attend,
        cache: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """x [B, T, width] → the same.

        `memory` are the keys and values of what the encoder gave (`self.cross.keys_values`). `cache`, when given, holds
        the keys and values of the queries before x; those of x are appended to it.
        """
        normed = self.norm(x)
        keys_values = self.attention.keys_values(normed)
        if cache is not None:
            if cache:
                keys_values = tuple(torch.cat(pair, dim=2) for pair in zip(cache, keys_values, strict=True))
            cache[:] = keys_values
        x = x + self.attention(normed, keys_values, attend)
        x = x + self.cross(self.cross_norm(x), memory, attend_memory)
        return x + self.mlp(self.mlp_norm(x))


def attend_where(seen: torch.Tensor | None) -> Attend:
    """Attention to the places where `seen` [B, N] is true, or to all."""
    mask = None if seen is None else seen[:, None, None]

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])

    return attend
