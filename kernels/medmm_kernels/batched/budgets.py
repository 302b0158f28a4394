"""Mixture component, totals and token budgets of a batch."""

import math
from collections.abc import Callable

import torch

from medmm_kernels import streams
from medmm_kernels.batched.bits import cosine_share, philox, uniform, words
from medmm_kernels.spec import MaskSpec, Tables


def gamma_variates(gamma: torch.Tensor, samples: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See naive.gamma_variate: all attempts at once, of which the first accepted counts. gamma [B, 2, M, 3] → 2 ×
    [B, 2, M]."""
    device = samples.device
    side = torch.arange(2, device=device)[:, None, None]
    modality = torch.arange(gamma.shape[2], device=device)[:, None]
    attempt = torch.arange(streams.GAMMA_ATTEMPTS, device=device)
    stream = streams.INPUT_SHARE + side + streams.MODALITY_STEP * modality  # [2, M, 1]
    drawn = philox(attempt, stream, samples[:, None, None, None], seed)  # [B, 2, M, attempts]
    u1, u2, u3 = (uniform(word) for word in drawn[:3])
    d, c, _ = gamma.unsqueeze(-2).unbind(-1)
    x = torch.special.ndtri(u1)
    root = (c * x).add_(1)
    v = root * root * root
    accepted = (root > 0) & (u2.log_() < (0.5 * x).mul_(x).add_(d).sub_(d * v).add_(d * v.abs().log_()))
    first = accepted.int().argmax(-1, keepdim=True)
    hit = accepted.gather(-1, first)
    g = d * torch.where(hit, v.gather(-1, first), 1.0)
    last = torch.where(hit, first, streams.GAMMA_ATTEMPTS - 1)
    return g[..., 0], u3.gather(-1, last)[..., 0].log()


def shares(
    tables: Tables, component: torch.Tensor, present: torch.Tensor, samples: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """See naive.shares; of inputs and of targets. component [B], present [B, M] → 2 × int64 [B, M]."""
    active = tables.active[component].bool() & present[:, None]  # [B, 2, M]
    gamma = tables.gamma[component]
    g, log_u = gamma_variates(gamma, samples, seed)
    exponent = torch.where(active, gamma[..., 2] * log_u, -math.inf)
    top = exponent.amax(2, keepdim=True).clamp_(min=-1e300)  # finite where nothing is active
    scaled = g * (exponent - top).exp_()
    largest = scaled.amax(2, keepdim=True).clamp_(min=1e-300)
    weights = (scaled / largest * streams.SHARE_ONE).floor_().long() + 1
    weights = torch.where(tables.even[component][..., None].bool(), 1, weights) * active
    return weights[:, 0], weights[:, 1]


def fill(
    budget: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor, room: torch.Tensor, word: torch.Tensor
) -> torch.Tensor:
    """See naive.fill. budget, weights, room [B, M], tokens, word [B] → [B, M]. As many rounds as modalities suffice."""
    for _ in range(budget.shape[1]):
        open_weights = weights * (budget < room)
        upto = open_weights.cumsum(1)
        total = upto[:, -1:].clamp(min=1)
        offset = word[:, None] * total >> 32
        upper = (tokens[:, None] * upto + offset) // total
        # No modality before the first: the offset is below the total.
        share = torch.diff(upper, dim=1, prepend=torch.zeros_like(upper[:, :1])).minimum((room - budget).clamp(min=0))
        budget = budget + share
        tokens = tokens - share.sum(1)
        if budget.device.type == "cpu" and not torch.compiler.is_compiling() and not (tokens > 0).any():
            break
    return budget


class Draw:
    """The random words of a batch, and what its budgets are drawn from: component, totals, shares. See naive.totals."""

    def __init__(self, spec: MaskSpec, lengths: torch.Tensor, seed: int, samples: torch.Tensor) -> None:
        """lengths [M, B]."""
        self.spec, self.seed, self.samples = spec, seed, samples
        self.tables = spec.tables(samples.device)
        # One call for the first words of many streams: it is the number of operations that costs in small ones.
        column = torch.arange(2 + len(spec.names), device=samples.device)
        stream = torch.where(column < 2, streams.SAMPLE, streams.MODALITY + streams.MODALITY_STEP * (column - 2))
        drawn = torch.stack(philox((column == 1).long(), stream, samples[:, None], seed), dim=-1)
        first, second, third, _ = drawn[:, 0].unbind(1)
        self.round_in, self.round_tgt, _, _ = drawn[:, 1].unbind(1)
        self.of_modality = drawn[:, 2:]  # [B, M, 4]: see streams.MODALITY
        self.component = (self.tables.component_cut <= first[:, None]).sum(1)
        self.totals = []
        for word, low, high in ((second, *spec.totals[:2]), (third, *spec.totals[2:])):
            span = high - low + 1
            self.totals.append(
                low + ((cosine_share(word) * span).long() if spec.strategy == "cosine" else word * span >> 32)
            )
        present = (lengths.T > 0) | spec.parity
        self.weights = shares(self.tables, self.component, present, samples, seed)

    def words(
        self, count: int, purpose: int, m: int = 0, convert: Callable | None = None, attempt: int = 0
    ) -> torch.Tensor:
        """The first words of a stream. → [B, count]."""
        stream = purpose + streams.MODALITY_STEP * m + streams.ATTEMPT_STEP * attempt
        return words(count, stream, self.samples, self.seed, convert)

    def budget(self, side: int, room: torch.Tensor) -> torch.Tensor:
        """Budgets [B, M] of one side, at most `room` [B, M]."""
        tokens, weights = self.totals[side], self.weights[side]
        if not self.spec.parity:
            return fill(torch.zeros_like(room), tokens, weights, room, (self.round_in, self.round_tgt)[side])
        budget = tokens[:, None] * weights // weights.sum(1, keepdim=True)
        drawn = self.words(weights.shape[1], streams.INPUT_REMAINDER + side)
        chosen = (self.tables.remainder_cut[self.component, side][:, None] <= drawn[..., None]).sum(
            -1
        )  # [B, left over]
        used = torch.arange(drawn.shape[1], device=drawn.device) < (tokens - budget.sum(1))[:, None]
        return budget.scatter_add(1, chosen, used.long()).minimum(room)

    def budgets(self, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See naive.token_budgets. lengths [M, B] → 2 × [B, M]."""
        room = self.tables.max_tokens.expand_as(lengths.T) if self.spec.parity else lengths.T
        b_in = self.budget(0, room)
        return b_in, self.budget(1, room - b_in * (1 - self.tables.sequence))
