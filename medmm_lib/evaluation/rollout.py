"""What an output depends on, told from a transformer's attention: saliency maps for `medmm_lib.evaluation.saliency`.

Attention and its gradients come as arrays [layers, heads, N, N]: row i says what token i read from each token.
"""

import numpy as np
import torch

RESIDUAL = 0.5  # how much of a token comes from itself, past the attention


def rollout(attention: np.ndarray) -> np.ndarray:
    """Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928, equation 1): [N, N], rows sum to 1.

    Row i says what share of token i's last state comes from each input token, when heads count alike and half of
    every state passes by the attention. It does not know what is predicted.
    """
    attention = _checked(attention)
    own = np.eye(attention.shape[-1])
    found = own
    for layer in attention.mean(1):
        mixed = RESIDUAL * own + (1 - RESIDUAL) * layer
        found = mixed / mixed.sum(-1, keepdims=True) @ found
    return found


def gradient_rollout(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Gradient × attention through all layers (Chefer et al. 2021, arXiv:2103.15679, equations 5 and 6): [N, N].

    `gradient` [layers, heads, N, N] is that of one output by the attention. Only what raises the output counts. Row i:
    relevance of every input token for token i's last state, with that output in mind; the rows do not sum to 1. Give it
    the gradient of a raw score (logit), as published: that of log-odds told much less where the truth is known (the
    journal of 2026-11-23 has the figures).
    """
    attention, gradient = _checked(attention), np.asarray(gradient, dtype=float)
    if gradient.shape != attention.shape:
        raise ValueError(f"attention is {attention.shape}, its gradient {gradient.shape}; expected the same")
    found = np.eye(attention.shape[-1])
    for layer, raised in zip(attention, gradient, strict=True):
        found = found + (layer * raised).clip(min=0).mean(0) @ found
    return found


def log_odds(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """How much likelier each token is than all others together, log p / (1 − p): [...].

    `scores` (logits) are [..., vocabulary], `tokens` [...]. This is what deletion and insertion look at: a score by
    itself also rises where all scores do.
    """
    at = tokens.long()[..., None]
    rivals = scores.scatter(-1, at, float("-inf"))
    return scores.gather(-1, at)[..., 0] - rivals.logsumexp(-1)


def _checked(attention: np.ndarray) -> np.ndarray:
    attention = np.asarray(attention, dtype=float)
    if attention.ndim != 4 or attention.shape[2] != attention.shape[3]:
        raise ValueError(f"attention is {attention.shape}; expected [layers, heads, N, N]")
    if (attention < 0).any() or not np.allclose(attention.sum(-1), 1, atol=1e-2):
        raise ValueError("rows of attention must be shares that sum to 1: give them after the softmax")
    return attention
