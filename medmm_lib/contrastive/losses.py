"""Contrastive losses between B image and B text embeddings [B, D], all of length 1.

`caption` [B] numbers the texts: rows of the same number have the same text and are not told apart. The temperature
`scale` and `bias` are learned with the model.
"""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from medmm_lib.contrastive.fitting import kept_mib

MARGIN = 1.0  # ε of the poster's loss; distances go from 0 to 2


def margin(images: torch.Tensor, texts: torch.Tensor, caption: torch.Tensor, epsilon: float = MARGIN) -> torch.Tensor:
    """The pairwise loss with margin as the poster prints it, after Hadsell et al. 2006, equation 4.

    Σ over pairs: ‖x − y‖² where the captions are the same, max(0, ε − ‖x − y‖)² where they are not; summed over all B²
    pairs and divided by B, as the poster does not say which mean it takes.
    """
    same = caption[:, None] == caption
    squared = (2 - 2 * images @ texts.T).clamp(min=1e-12)
    return torch.where(same, squared, (epsilon - squared.sqrt()).clamp(min=0).square()).sum() / len(images)


def infonce(images: torch.Tensor, texts: torch.Tensor, caption: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss (Radford et al. 2021, arXiv:2103.00020, figure 3): each image finds its text among the batch's, each
    text its image. Identical captions are left out of the others."""
    own = torch.arange(len(images), device=images.device)
    other = (caption[:, None] == caption) & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    logits = (scale * images @ texts.T).masked_fill(other, -torch.inf)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def sigmoid(
    images: torch.Tensor, texts: torch.Tensor, caption: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """SigLIP's loss (Zhai et al. 2023, arXiv:2303.15343, equation 1): every pair by itself, its own or not.

    Pairs of identical captions that are not an image's own are left out.
    """
    return _pairs(images, texts, caption, 0, scale, bias) / len(images)


def sigmoid_in_blocks(
    images: torch.Tensor,
    texts: torch.Tensor,
    caption: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    block: int,
) -> torch.Tensor:
    """`sigmoid`, `block` texts at a time: pairs do not depend on each other, so B × block of them are in memory at once
    (section 3.3 of the SigLIP paper, which moves blocks between devices). Computed again in the backward pass."""
    total = images.new_zeros(())
    for start in range(0, len(texts), block):
        part = slice(start, start + block)
        total = total + checkpoint(_pairs, images, texts[part], caption, start, scale, bias, use_reentrant=False)
    return total / len(images)


def _pairs(
    images: torch.Tensor,
    texts: torch.Tensor,
    caption: torch.Tensor,
    start: int,
    scale: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """The sum over pairs of images [B] and texts [b], which are the batch's from number `start` on."""
    rows = torch.arange(len(images), device=images.device)[:, None]
    own = rows == torch.arange(start, start + len(texts), device=images.device)
    same = caption[:, None] == caption[start : start + len(texts)]
    logits = scale * images @ texts.T + bias
    return -torch.where(own | ~same, F.logsigmoid(torch.where(own, logits, -logits)), 0).sum()


def loss_mib(name: str, batch_size: int, dim: int, block: int = 256) -> float:
    """MiB that a loss keeps for its backward pass, in fp32, embeddings not counted; told from shapes alone.

    `name` is margin, infonce, sigmoid or `sigmoid in blocks`. The last one's blocks are computed again one at a time,
    and one of them is counted.
    """
    place = {"device": "meta"}
    images, texts = (torch.empty(batch_size, dim, requires_grad=True, **place) for _ in range(2))
    caption = torch.empty(batch_size, dtype=torch.int64, **place)
    scale, bias = (torch.empty((), requires_grad=True, **place) for _ in range(2))
    computed = {
        "margin": lambda: margin(images, texts, caption),
        "infonce": lambda: infonce(images, texts, caption, scale),
        "sigmoid": lambda: sigmoid(images, texts, caption, scale, bias),
        "sigmoid in blocks": lambda: _pairs(images, texts[:block], caption, 0, scale, bias),
    }
    return kept_mib(computed[name], (images, texts))
