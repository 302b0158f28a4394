"""PubMedCLIP's arrangement for questions (Eslami et al. 2021, arXiv:2112.13906, section 3.2).

A visual encoder, a question encoder, attention fusion and an answer classifier.
"""

import torch
import torch.nn.functional as F
from torch import nn

from medmm_lib.contrastive.answering import Answerer
from medmm_lib.contrastive.tower import Tower


class FusionNetwork(Answerer):
    """The visual encoder is an image tower's, of which patches are kept; the question encoder a GRU over words.

    Fusion: every word looks at the patches (bilinear attention, one map), and what it saw is multiplied into it. (The
    paper has QCR's or MEVF's bilinear attention networks over one image vector and its maps.)
    """

    def __init__(self, tower: Tower, words: int, answers: int) -> None:
        super().__init__()
        width = tower.shape.width
        self.tower = tower
        for unused in (tower.projection, tower.pooling):
            unused.requires_grad_(False)
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.question = nn.GRU(width, width, batch_first=True)
        self.look, self.seen = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.answer = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, answers))

    def scores(self, pixels: torch.Tensor, words: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        """[B, answers]"""
        patches, there = self.tower.patches(pixels), words > 0
        with torch.autocast(pixels.device.type, enabled=False):  # PyTorch has no bf16 GRU with gradients on a CPU
            states, _ = self.question(self.words(words))
        alike = torch.einsum("btw,bnw->btn", self.look(states), patches) / states.shape[-1] ** 0.5
        seen = torch.einsum("btn,bnw->btw", alike.float().softmax(-1), self.seen(patches).float())
        fused = (states * seen * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        last = states[torch.arange(len(words), device=words.device), (there.sum(1) - 1).clamp(min=0)]
        return self.answer(torch.cat([F.layer_norm(fused, fused.shape[-1:]), last], dim=-1))
