"""Masked autoencoder (He et al. 2021, arXiv:2111.06377): three quarters of an image are hidden, and filled in again."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from medmm_lib.contrastive.fitting import Collate, asked
from medmm_lib.contrastive.images import as_input, patches, unpatched

ROUNDS = 8  # masks an image, when errors are measured
SEED = 20_260_102  # of these masks, the same in every run


@dataclass(frozen=True)
class MAEShape:
    """Everything that decides which weights a model has. `side` and `patch` in pixels, `mask_ratio`: share hidden."""

    side: int = 64
    patch: int = 8
    width: int = 128
    layers: int = 4
    heads: int = 4
    decoder_width: int = 64
    decoder_layers: int = 2
    mask_ratio: float = 0.75

    def __post_init__(self) -> None:
        """Check what does not fit together. Raises ValueError that names it."""
        if self.side % self.patch:
            raise ValueError(f"side {self.side}, patch {self.patch}: expected a patch that divides the side")
        for name, width in (("width", self.width), ("decoder_width", self.decoder_width)):
            if width % self.heads or width % 4:
                raise ValueError(f"{name} is {width}, heads {self.heads}: expected a multiple of both heads and 4")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio is {self.mask_ratio}; expected a share above 0 and below 1")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.side // self.patch


class MAE(nn.Module):
    """`ViTMAEForPreTraining` with positions, for grey images [B, side, side] uint8."""

    def __init__(self, shape: MAEShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = ViTMAEForPreTraining(
            ViTMAEConfig(
                image_size=shape.side, patch_size=shape.patch, num_channels=1, mask_ratio=shape.mask_ratio,
                hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
                intermediate_size=4 * shape.width, decoder_hidden_size=shape.decoder_width,
                decoder_num_hidden_layers=shape.decoder_layers, decoder_num_attention_heads=shape.heads,
                decoder_intermediate_size=4 * shape.decoder_width,
                attn_implementation="eager",  # in bf16 on a CPU, the fused kernel's backward takes four times as long
            )
        )  # fmt: skip
        # Built from a configuration, transformers' model has all-zero positions, frozen.
        for table in (self.model.vit.embeddings.position_embeddings, self.model.decoder.decoder_pos_embed):
            table.data = positions(shape.grid, table.shape[-1])[None]

    def forward(self, pixels: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        """The training loss: mean squared error over hidden pixels, which are −1 to 1. `noise` as of `filled_in`."""
        return {"loss": self.model(as_input(pixels), noise=noise).loss}

    def filled_in(self, pixels: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model puts in place of every patch, [B, side, side] in −1 to 1, and which were hidden, [B, places].

        `noise` [B, places]: the patches with the largest values are hidden.
        """
        made = self.model(as_input(pixels), noise=noise)
        return unpatched(made.logits), made.mask


def positions(grid: int, width: int) -> torch.Tensor:
    """Sine–cosine positions [1 + places, width], zeros first for the class token.

    The longest wavelength fits the grid: with the usual 10,000, neighbours on a grid of 8 × 8 look alike.
    """
    return build_2d_sinusoidal_position_embedding(grid, grid, width, temperature=float(grid), cls_token=True)


def hiding(pixels: torch.Tensor, shape: MAEShape, seed: int) -> Collate:
    """What `fit` gives a MAE: rows of images [N, side, side] uint8, and the noise that says what is hidden of them."""

    def collate(rows: torch.Tensor, draw: int) -> dict[str, torch.Tensor]:
        random = torch.Generator().manual_seed(seed * 1_000_003 + draw)
        return {"pixels": pixels[rows], "noise": torch.rand(len(rows), shape.grid**2, generator=random)}

    return collate


def masks(count: int, places: int) -> torch.Tensor:
    """Noise for `ROUNDS` fixed masks an image: [count, ROUNDS, places]."""
    return torch.rand(count, ROUNDS, places, generator=torch.Generator().manual_seed(SEED))


def errors(mae: MAE, pixels: torch.Tensor) -> torch.Tensor:
    """Squared error of every patch when it was hidden, mean over fixed masks: [N, places], pixels as shares of 1.

    NaN where no mask hid a patch, which for eight masks of three quarters is one patch in 65,000.
    """
    shape = mae.shape

    def one(part: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        made, hidden = mae.filled_in(part, noise)
        wrong = patches((made.float() - as_input(part)[:, 0]) / 2, shape.patch).square().mean(2)
        return torch.stack([wrong * hidden, hidden], 1)

    noise = masks(len(pixels), shape.grid**2)
    summed = sum(asked(mae, one, pixels, noise[:, k]) for k in range(ROUNDS))
    return summed[:, 0] / summed[:, 1]


def mean_image_errors(training: torch.Tensor, pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """What `errors` would be for the mean of the training images: [N, places]."""
    mean = training.float().mean(0)
    return patches((pixels.float() - mean) / 255, patch).square().mean(2)
