"""What the compared architectures are made of: transformer layers, images as patches, questions as words."""

import torch
import torch.nn.functional as F
from torch import nn

from medmm_lib.contrastive.images import as_input, patches
from medmm_lib.contrastive.mae import positions


class Attention(nn.Module):
    """Multi-head attention of x [B, T, width] to `context` [B, N, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, seen: torch.Tensor | None = None, *, causal: bool = False
    ) -> torch.Tensor:
        """→ [B, T, width]; `seen` [B, N] says which places of the context hold something."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(x), key, value))
        mask = None if seen is None or causal else seen[:, None, None]
        # In bf16 on a CPU, the fused kernel's backward takes four times as long.
        with torch.autocast(x.device.type, enabled=x.is_cuda and torch.is_autocast_enabled("cuda")):
            if not x.is_cuda:
                q, k, v = q.float(), k.float(), v.float()
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(attended.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Self-attention, with `cross` attention to another stream, and an MLP; each behind a norm, beside a residual.

    A `gated` cross-attention counts tanh(gate), which starts at 0: the layer starts as if there were none (Alayrac et
    al. 2022, arXiv:2204.14198, section 2.2; Llama 3 adds images in the same way).
    """

    def __init__(self, width: int, heads: int, *, cross: bool = False, gated: bool = False) -> None:
        super().__init__()
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.cross = Attention(width, heads) if cross else None
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.gate = nn.Parameter(torch.zeros(())) if gated else None

    def forward(
        self, x: torch.Tensor, seen: torch.Tensor | None = None, context: torch.Tensor | None = None,
        context_seen: torch.Tensor | None = None, *, causal: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        """x [B, T, width] → the same. Without a `context`, cross-attention is left out."""
        if self.cross is not None and context is not None:
            added = self.cross(self.cross_norm(x), context, context_seen)
            x = x + (added if self.gate is None else self.gate.tanh() * added)
        normed = self.norm(x)
        x = x + self.attention(normed, normed, seen, causal=causal)
        return x + self.mlp(self.mlp_norm(x))


class Patches(nn.Module):
    """Images [B, side, side] uint8 → [B, places, width]: projected patches with their places.

    Each kind of image has a projection and an embedding of its own; there is one at first.
    """

    def __init__(self, side: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch, self.width = patch, width
        self.project = nn.ModuleList([nn.Linear(patch * patch, width)])
        self.kinds = nn.ParameterList([nn.Parameter(torch.zeros(width))])
        self.register_buffer("places", positions(side // patch, width)[1:], persistent=False)

    def add_kind(self) -> list[nn.Parameter]:
        """Make room for another kind of image. It starts as the first one. → the new weights"""
        new = nn.Linear(self.patch * self.patch, self.width)
        new.load_state_dict(self.project[0].state_dict())
        embedding = nn.Parameter(self.kinds[0].detach().clone())
        self.project.append(new)
        self.kinds.append(embedding)
        return [*new.parameters(), embedding]

    def forward(self, pixels: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """`kind` [B]: which of the kinds each image is."""
        values = patches(as_input(pixels)[:, 0], self.patch)
        made = torch.stack([project(values) + own for project, own in zip(self.project, self.kinds, strict=True)])
        return made[kind, torch.arange(len(pixels), device=pixels.device)] + self.places


class Words(nn.Module):
    """Questions [B, T] → [B, T, width]: words with their places."""

    def __init__(self, count: int, longest: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.places = nn.Parameter(0.02 * torch.randn(longest, width))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Word numbers, 0: nothing."""
        return self.embedding(words) + self.places[: words.shape[1]]
