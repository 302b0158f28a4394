"""Training an image tower towards the texts' embeddings."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from medmm_lib import parallel
from medmm_lib.contrastive import losses
from medmm_lib.contrastive.fitting import Fitted, Schedule, fit
from medmm_lib.contrastive.images import moved
from medmm_lib.contrastive.tower import Tower

LOSSES = ("margin", "infonce", "sigmoid")


class Alignment(nn.Module):
    """An image tower and a linear layer for the frozen texts' embeddings, into one space.

    Temperature and bias start as in CLIP (1 / 0.07) and SigLIP (10, −10). Raises ValueError for an unknown loss.
    """

    def __init__(self, tower: Tower, text_width: int, loss: str) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; expected {', '.join(LOSSES)}")
        self.tower, self.loss = tower, loss
        self.text = nn.Linear(text_width, tower.projection.out_features, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10 if loss == "sigmoid" else 1 / 0.07)))
        self.bias = nn.Parameter(torch.tensor(-10.0))
        for unused in {"margin": (self.log_scale, self.bias), "infonce": (self.bias,)}.get(loss, ()):
            unused.requires_grad_(False)

    def texts(self, targets: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, dim] of length 1 of texts' targets [B, text width]."""
        return F.normalize(self.text(targets).float(), dim=-1)

    def forward(self, pixels: torch.Tensor, targets: torch.Tensor, caption: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of a batch; rows with the same `caption` [B] have the same text."""
        images, texts = parallel.gathered(self.tower(pixels)), parallel.gathered(self.texts(targets))
        caption = parallel.gathered(caption)
        if self.loss == "infonce":
            self.log_scale.data.clamp_(max=math.log(100))  # as CLIP caps it
        scale = self.log_scale.exp()
        with torch.autocast(images.device.type, enabled=False):
            if self.loss == "margin":
                return {"loss": losses.margin(images, texts, caption)}
            if self.loss == "infonce":
                return {"loss": losses.infonce(images, texts, caption, scale)}
            return {"loss": losses.sigmoid(images, texts, caption, scale, self.bias)}


def align(
    tower: Tower, pixels: torch.Tensor, targets: torch.Tensor, captions: Sequence[str], loss: str, schedule: Schedule,
    folder: Path, *, key: str, **options: float,
) -> tuple[Alignment, Fitted]:  # fmt: skip
    """Train `tower` on images [N, side, side] uint8 and their captions' targets [N, text width]; `options` go to `fit`.

    Identical captions are not negatives.
    """
    number = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    caption = torch.tensor([number[text] for text in captions])
    torch.manual_seed(schedule.seed)
    model = Alignment(tower, targets.shape[1], loss)

    def collate(rows: torch.Tensor, draw: int) -> dict[str, torch.Tensor]:
        views = moved(pixels[rows], schedule.seed * 1_000_003 + draw)
        return {"pixels": views, "targets": targets[rows], "caption": caption[rows]}

    fitted = fit(model, collate, len(pixels), schedule, folder, key=f"{key} {loss} {targets.shape}", **options)
    return model, fitted
