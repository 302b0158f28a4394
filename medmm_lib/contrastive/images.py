"""Images as tensors, and random views of them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from PIL import Image

SCALE, SHIFT, BRIGHTNESS = 0.03, 0.04, 0.05  # at most: of the size, of half the side, of the range of grey


def pictures(rows: Dataset, side: int) -> torch.Tensor:
    """The images of a data set in grey: [N, side, side] uint8."""
    size = (side, side)
    grey = [np.asarray(image.convert("L").resize(size, Image.Resampling.BOX)) for image in rows["image"]]
    return torch.from_numpy(np.stack(grey))


def as_input(pixels: torch.Tensor) -> torch.Tensor:
    """[B, side, side] uint8 → [B, 1, side, side] in −1 to 1."""
    return pixels[:, None].float() / 127.5 - 1


def moved(pixels: torch.Tensor, seed: int) -> torch.Tensor:
    """One random view of each image [B, side, side] uint8: moved, scaled, brighter or darker.

    Nothing is mirrored: texts say left and right.
    """
    random = torch.Generator().manual_seed(seed)

    def between(most: float, *shape: int) -> torch.Tensor:
        return (2 * torch.rand(*shape, generator=random) - 1) * most

    count = len(pixels)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = between(SCALE, count).exp()
    affine[:, :, 2] = between(SHIFT, count, 2)
    grid = F.affine_grid(affine, [count, 1, *pixels.shape[1:]], align_corners=False)
    views = F.grid_sample(pixels[:, None].float(), grid, padding_mode="border", align_corners=False)[:, 0]
    views = views + 255 * between(BRIGHTNESS, count)[:, None, None] * (views > 8)  # what is black stays black
    return views.round().clamp(0, 255).to(torch.uint8)


def patches(maps: torch.Tensor, patch: int) -> torch.Tensor:
    """[B, side, side] → [B, places, patch · patch], places row by row."""
    grid = maps.shape[-1] // patch
    parts = maps.unflatten(1, (grid, patch)).unflatten(3, (grid, patch)).transpose(2, 3)
    return parts.flatten(3).flatten(1, 2)


def unpatched(parts: torch.Tensor) -> torch.Tensor:
    """[B, places, patch · patch] → [B, side, side]"""
    grid, patch = (math.isqrt(parts.shape[k]) for k in (1, 2))
    maps = parts.unflatten(2, (patch, patch)).unflatten(1, (grid, grid)).transpose(2, 3)
    return maps.flatten(3).flatten(1, 2)
