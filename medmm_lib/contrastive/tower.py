"""The image tower: an encoder that may come from an MAE, attention pooling, and a projection to the texts' space."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from medmm_lib.contrastive.images import as_input
from medmm_lib.contrastive.mae import MAE


class AttentionPooling(nn.Module):
    """The weighted mean of patches, one set of weights a head (as in Lee et al. 2019, arXiv:1810.00825, one seed).

    The query starts at zero, which makes it the plain mean.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(heads, width // heads))
        self.key = nn.Linear(width, width, bias=False)

    def weights(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, places, width] → [B, heads, places], which sum to 1."""
        keys = self.key(tokens).unflatten(-1, self.query.shape)
        return torch.einsum("bnhd,hd->bhn", keys, self.query).float().div(math.sqrt(keys.shape[-1])).softmax(-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, places, width] → [B, width]"""
        parts = tokens.unflatten(-1, self.query.shape).float()
        return torch.einsum("bhn,bnhd->bhd", self.weights(tokens), parts).flatten(1)


class Tower(nn.Module):
    """Images [B, side, side] uint8 → embeddings [B, dim] of length 1. The encoder starts as that of `mae`."""

    def __init__(self, mae: MAE, dim: int) -> None:
        super().__init__()
        self.shape = mae.shape
        self.encoder = copy.deepcopy(mae.model.vit)
        self.encoder.embeddings.config.mask_ratio = 0.0  # it sees everything
        self.pooling = AttentionPooling(mae.shape.width, mae.shape.heads)
        self.projection = nn.Linear(mae.shape.width, dim, bias=False)
        self.to(self.encoder.embeddings.cls_token.device)  # a trained MAE may be on a GPU

    def patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of every patch: [B, places, width]."""
        order = torch.arange(self.shape.grid**2, device=pixels.device, dtype=torch.float32)  # nothing is shuffled
        noise = order.expand(len(pixels), -1)
        return self.encoder(as_input(pixels), noise=noise).last_hidden_state[:, 1:]

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, width], before the projection: what classifiers are given."""
        return self.pooling(self.patches(pixels))

    def mean(self, pixels: torch.Tensor) -> torch.Tensor:
        """The plain mean over patches [B, width]: of an MAE alone, the same as `pooled`."""
        return self.patches(pixels).mean(1)

    def looks_at(self, pixels: torch.Tensor) -> torch.Tensor:
        """The pooling's weights, mean over heads: [B, grid, grid], which sum to 1."""
        grid = (self.shape.grid, self.shape.grid)
        return self.pooling.weights(self.patches(pixels)).mean(1).unflatten(1, grid)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, dim] of length 1."""
        return F.normalize(self.projection(self.pooled(pixels)).float(), dim=-1)
