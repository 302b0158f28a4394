"""What an image tower looks at, told in three ways: its pooling, attention rollout, and gradient × attention."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.images import as_input
from medmm_lib.contrastive.mae import MAE
from medmm_lib.contrastive.tower import Tower
from medmm_lib.evaluation.explained import RANDOM, Explained
from medmm_lib.evaluation.rollout import gradient_rollout, rollout

KINDS = ("pooling", "rollout", "gradient × attention")
BATCH = 32  # images at once: all attention of a batch is in memory


def explained(tower: Tower, pixels: torch.Tensor, wanted: torch.Tensor, patients: Sequence[str]) -> Explained:
    """Maps of N images by a tower and by one with random weights, as of `maps`, and the likeness that they explain."""
    torch.manual_seed(RANDOM)
    random = Tower(MAE(tower.shape), tower.projection.out_features).to(tower.projection.weight.device)
    torch.nn.init.normal_(random.pooling.query)  # which starts at zero: its map would be flat

    def score(n: int, images: np.ndarray) -> np.ndarray:
        return (asked(tower, tower, torch.from_numpy(images)) @ wanted[n]).numpy()

    return Explained(
        "how near the image lies to its own report", pixels.numpy(), list(patients), maps(tower, pixels, wanted),
        maps(random, pixels, wanted), score,
    )  # fmt: skip


def maps(tower: Tower, pixels: torch.Tensor, wanted: torch.Tensor) -> dict[str, np.ndarray]:
    """Saliency maps of images [N, side, side] uint8 by kind: [N, grid, grid], a value a patch.

    `wanted` [N, dim] of length 1 is the text embedding that each image is compared with. `pooling` is where the
    pooling's weight lies, whatever is wanted; `rollout` follows it through the encoder's attention; `gradient ×
    attention` follows what raises the likeness to the text.
    """
    tower.eval()
    place = next(tower.parameters()).device
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for images, texts in zip(pixels.split(BATCH), wanted.split(BATCH), strict=True):
        for kind, values in zip(KINDS, _of_batch(tower, images.to(place), texts.to(place)), strict=True):
            found[kind].append(values)
    grid = tower.shape.grid
    return {kind: np.concatenate(parts).reshape(-1, grid, grid) for kind, parts in found.items()}


def _of_batch(tower: Tower, pixels: torch.Tensor, wanted: torch.Tensor) -> list[np.ndarray]:
    """The three kinds [B, places], the class token left out."""
    order = torch.arange(tower.shape.grid**2, device=pixels.device, dtype=torch.float32)
    made = tower.encoder(as_input(pixels), noise=order.expand(len(pixels), -1), output_attentions=True)
    tokens = made.last_hidden_state[:, 1:]
    likeness = (F.normalize(tower.projection(tower.pooling(tokens)), dim=-1) * wanted).sum()
    gradients = torch.autograd.grad(likeness, made.attentions)
    read = tower.pooling.weights(tokens).mean(1).detach().cpu().numpy()  # [B, places]
    attention, gradient = (
        torch.stack(list(part), 1).detach().float().cpu().numpy() for part in (made.attentions, gradients)
    )  # [B, layers, heads, N, N]
    pairs = list(zip(read, attention, gradient, strict=True))
    rolled = [(weights @ rollout(own)[1:])[1:] for weights, own, _ in pairs]
    raised = [(weights @ gradient_rollout(own, slope)[1:])[1:] for weights, own, slope in pairs]
    return [read, np.stack(rolled), np.stack(raised)]
