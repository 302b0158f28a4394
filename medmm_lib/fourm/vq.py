"""VQ tokenisers: an image or a label map as a small grid of code numbers, and back.

A convolutional encoder, a codebook (van den Oord et al. 2017; k-means start and replacement of dead codes: Łańcucki et
al. 2020; `vector-quantize-pytorch`) and a decoder. Trained on the training split, then frozen.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from transformers import Trainer
from vector_quantize_pytorch import VectorQuantize

from medmm_lib import parallel, training


@dataclass(frozen=True)
class VQShape:
    """Shape of a tokeniser. `classes` of a label map, 0 for grey images; `patch`: pixels along the side of a code."""

    side: int = 64
    patch: int = 8
    codes: int = 512
    classes: int = 0
    width: int = 32
    code_width: int = 16

    def __post_init__(self) -> None:
        """Check that the parts fit. Raises ValueError."""
        if self.side % self.patch or self.patch < 4 or self.patch & (self.patch - 1):
            raise ValueError(
                f"side {self.side}, patch {self.patch}: expected a patch of 4, 8, 16 … that divides the side"
            )

    @property
    def grid(self) -> int:
        """Codes along a side."""
        return self.side // self.patch


class Residual(nn.Module):
    """Two convolutions beside a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, C, H, W] → the same."""
        return x + self.block(x)


class VQTokeniser(nn.Module, PyTorchModelHubMixin, tags=["vq"]):
    """Images [B, side, side] uint8, grey or label maps, to codes [B, grid · grid] and back."""

    def __init__(self, shape: VQShape) -> None:
        super().__init__()
        self.shape = shape
        channels = max(1, shape.classes)
        self.register_buffer("class_weights", torch.ones(shape.classes), persistent=False)
        # The side is halved by rearranging pixels, then by strided convolutions; each doubles the channels.
        halvings = shape.patch.bit_length() - 2
        widths = [shape.width // 2 * 2**k for k in range(halvings)] + [shape.width * 3 * 2**halvings // 4]
        self.encoder = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1))
        for narrow, wide in itertools.pairwise(widths):
            self.encoder += nn.Sequential(nn.Conv2d(narrow, wide, 4, 2, 1), Residual(wide))
        last = nn.Conv2d(wide, shape.code_width, 1)
        self.encoder += nn.Sequential(Residual(wide), nn.GroupNorm(8, wide), nn.SiLU(), last)
        self.codebook = VectorQuantize(
            dim=shape.code_width, codebook_size=shape.codes, decay=0.9, kmeans_init=True,
            threshold_ema_dead_code=1, accept_image_fmap=True,
            sync_codebook=False,  # `forward` gives every process the whole batch
        )  # fmt: skip
        self.decoder = nn.Sequential(nn.Conv2d(shape.code_width, wide, 3, padding=1), Residual(wide))
        for narrow, wide in reversed(list(itertools.pairwise(widths))):
            self.decoder += nn.Sequential(Residual(wide), nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2))
        self.decoder += nn.Sequential(nn.SiLU(), nn.Conv2d(widths[0], 4 * channels, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """The training loss of pictures [B, side, side] uint8: reconstruction and commitment."""
        given = self._prepare(pictures)
        quantised, _, commitment = self.codebook(parallel.gathered(self.encoder(given).float()))
        made = self.decoder(parallel.own(quantised)).float()
        if self.shape.classes:
            weighed = parallel.share(self.class_weights[pictures.long()].sum())
            reconstruction = F.cross_entropy(made, pictures.long(), self.class_weights) * weighed
        else:
            reconstruction = 4 * F.mse_loss(made, given) + 0.2 * F.l1_loss(made, given)
        return {"loss": reconstruction + commitment.sum()}

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Code numbers [B, grid · grid] int32 of pictures [B, side, side] uint8."""
        if pictures.shape[1:] != (self.shape.side, self.shape.side) or pictures.dtype != torch.uint8:
            raise ValueError(
                f"pictures are {list(pictures.shape)} {pictures.dtype}; expected [B, {self.shape.side}, "
                f"{self.shape.side}] uint8"
            )
        self.eval()
        return torch.cat([
            self.codebook(self.encoder(self._prepare(part)))[1].flatten(1).int() for part in pictures.split(64)
        ])  # fmt: skip

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Pictures [B, side, side] uint8 of code numbers [B, grid · grid]."""
        self.eval()
        return torch.cat([self._draw(part) for part in codes.split(64)])

    def _draw(self, codes: torch.Tensor) -> torch.Tensor:
        grid = self.shape.grid
        made = self.decoder(self.codebook.get_output_from_indices(codes.long().unflatten(1, (grid, grid))))
        if self.shape.classes:
            return made.argmax(1).to(torch.uint8)
        return ((made[:, 0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def _prepare(self, pictures: torch.Tensor) -> torch.Tensor:
        """[B, side, side] uint8 → [B, C, side, side] in −1 to 1, or one channel a class."""
        if self.shape.classes:
            channels = F.one_hot(pictures.long(), self.shape.classes).permute(0, 3, 1, 2).float()
        else:
            channels = pictures[:, None].float() / 127.5 - 1
        return channels.contiguous(memory_format=torch.channels_last)


def train(
    tokeniser: VQTokeniser, pictures: torch.Tensor, folder: Path, *, steps: int, seed: int, batch_size: int = 16,
    max_minutes: float = 0.0, **others: object,
) -> list[dict[str, float]]:  # fmt: skip
    """Train on pictures [N, side, side] uint8, and freeze. → the log of the losses."""
    tokeniser.to(memory_format=torch.channels_last)
    if classes := tokeniser.shape.classes:  # small organs and lesions would not be worth a code otherwise
        share = torch.bincount(pictures.flatten().int(), minlength=classes) / pictures.numel()
        tokeniser.class_weights = share.clamp(min=1e-4).rsqrt()
    settings = training.arguments(folder, steps=steps, batch_size=batch_size, learning_rate=4e-3, seed=seed, **others)
    trainer = Trainer(
        tokeniser,
        settings,
        data_collator=lambda items: {"pictures": pictures[[row for _, row in items]]},
        train_dataset=training.Draws([len(pictures)], [1.0], steps * batch_size, seed),
    )
    training.train(trainer, max_minutes)
    tokeniser.requires_grad_(False).eval().cpu()
    return [entry for entry in trainer.state.log_history if "loss" in entry]
