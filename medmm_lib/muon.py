"""Muon for matrices, AdamW for the rest, as one optimiser that the Trainer can use.

Muon (Jordan et al. 2024) makes the steps of a matrix orthogonal; PyTorch has it, for matrices only. Embeddings, norms
and biases take AdamW, as its authors advise. Steps have AdamW's size (Liu et al. 2025, arXiv:2502.16982).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from transformers import TrainingArguments


class MuonAdamW(Optimizer):
    """Muon for the weights of a model's linear layers, AdamW for all other parameters that are trained.

    Muon's learning rate is `rate` times that of the arguments.
    """

    def __init__(self, model: nn.Module, arguments: TrainingArguments, rate: float) -> None:
        linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
        matrices = {id(weight) for weight in linear}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in matrices]
        lr, shared = arguments.learning_rate, {"weight_decay": arguments.weight_decay}
        betas = (arguments.adam_beta1, arguments.adam_beta2)
        self.parts: list[Optimizer] = []  # either kind may be frozen, and an optimiser of nothing is refused
        if linear:
            self.parts.append(Muon(linear, lr=rate * lr, adjust_lr_fn="match_rms_adamw", **shared))
        if others:
            self.parts.append(AdamW(others, lr=lr, betas=betas, fused=True, **shared))
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What both remember."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what both remembered."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
