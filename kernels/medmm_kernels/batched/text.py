"""Span corruption over the batch."""

import torch

from medmm_kernels import streams
from medmm_kernels.batched.bits import cosine_share, uniform
from medmm_kernels.batched.budgets import Draw
from medmm_kernels.batched.rows import Rows, shifted, sorted_rows
from medmm_kernels.spec import KEEPS

FULL = 1 << 32


class Text:
    """Span corruption of one modality of a batch. T columns."""

    def __init__(self, m: int, tokens: torch.Tensor, length: torch.Tensor, budget: torch.Tensor, draw: Draw) -> None:
        """tokens [B, T], length, budget [B]."""
        self.m, self.draw, self.length, self.budget, self.tokens = m, draw, length, budget, tokens.long()
        self.held = torch.arange(tokens.shape[1], device=length.device) < length[:, None]
        self.words = draw.words(tokens.shape[1], streams.SPAN, m)
        self.keep_word, self.window_word, _, _ = draw.of_modality[:, m].unbind(1)
        self.threshold = self.redraw_to_fit() if draw.spec.parity else self.fit()
        self.masked = self.held & (self.words >= self.threshold[:, None])
        self.starts = self.masked & ~shifted(self.masked)
        self.run = self.starts.cumsum(1)  # number of a masked token's run, from 1
        self.at = (self.masked.cumsum(1) + self.run - 1).clamp_(min=0)  # its place in the target
        self.runs, self.hidden = self.starts.sum(1), self.masked.sum(1)
        self.n_in = (length - self.hidden + self.runs) * (budget > 0)
        self.n_tgt = self.hidden + self.runs + 1

    def share(self) -> torch.Tensor:
        """The drawn share of kept tokens [B]."""
        keep = self.draw.tables.keep[self.draw.component, self.m]
        cosine = self.draw.spec.strategy == "cosine"
        drawn = cosine_share(self.keep_word) if cosine else uniform(self.keep_word)
        drawn = torch.where(keep == KEEPS.index("binary"), (self.keep_word >= 1 << 31).double(), drawn)
        return torch.where(keep == KEEPS.index("all"), 1.0, drawn)

    def fit(self) -> torch.Tensor:
        """The threshold [B] below which a token's word keeps it. See naive.corrupt_to_fit.

        In the order of their words, every token that becomes kept adds as many tokens as it has neighbours with larger
        words; the first that makes the input too long is the threshold.
        """
        before, after = shifted(self.words, -1), shifted(self.words * self.held + self.held.long() - 1, -1, left=True)
        gain = (before > self.words).long() + (after >= self.words)
        last = torch.full_like(self.budget[:, None], FULL << 2)
        ordered = sorted_rows(torch.where(self.held, (self.words << 2) + gain, last))
        size = 1 + (ordered & 3).cumsum(1)
        fitting = torch.cat([torch.where(size > self.budget[:, None], ordered, last), last], 1).amin(1) >> 2
        return (self.share() * FULL).long().minimum(fitting) * (self.budget > 0)

    def redraw_to_fit(self) -> torch.Tensor:
        """Parity: lower keep and redraw the samples whose input is too long, until all fit."""
        share = self.share()
        for attempt in range(1, streams.SHORTEST_KEEP):
            threshold = (share * FULL).long() * (self.budget > 0)
            masked = self.held & (self.words >= threshold[:, None])
            size = self.length - masked.sum(1) + (masked & ~shifted(masked)).sum(1)
            too_long = (size > self.budget) & (self.budget > 0)
            if not too_long.any():
                break
            share = torch.where(too_long, share * streams.KEEP_DECAY, share)
            drawn = self.draw.words(self.words.shape[1], streams.SPAN, self.m, attempt=attempt)
            self.words = torch.where(too_long[:, None], drawn, self.words)
        return threshold

    def cut_target(self, budget: torch.Tensor) -> None:
        """Where the target, cut to its budget [B], begins, and how many places it has for queries."""
        end = self.n_tgt[:, None] - 1
        sentinel_at = torch.where(self.starts, self.at - 1, end)
        chosen = self.window_word * self.runs.clamp(min=1) >> 32
        begin = (sentinel_at * (self.starts & (self.run - 1 == chosen[:, None]))).sum(1)
        tail = torch.where(sentinel_at >= (self.n_tgt - budget)[:, None], sentinel_at, end)
        begin = torch.where(self.n_tgt - begin >= budget, begin, torch.cat([tail, end], 1).amin(1))
        self.begin = begin * (self.n_tgt > budget)
        self.queries = ((self.n_tgt - self.begin).minimum(budget) - 1) * (budget > 0)

    def write(self, rows: Rows) -> None:
        """Write input and target: a sentinel stands for each run of masked tokens, a place of the target predicts the
        next."""
        shown = ((self.held & ~self.masked) | self.starts) & (self.budget > 0)[:, None]
        index = shown.cumsum(1).sub_(1)
        columns = torch.where(shown, index + rows.shown_at[:, self.m, None], rows.nowhere)
        sentinels = self.draw.spec.first_sentinel + (self.run - 1) % self.draw.spec.sentinels
        rows.write(self.m, columns, torch.where(self.masked, sentinels, self.tokens), index)

        target = self.target(sentinels)
        index = torch.arange(target.shape[1] - 1, device=target.device)
        source = self.begin[:, None] + index
        columns = torch.where(index < self.queries[:, None], rows.asked_at[:, self.m, None] + index, rows.nowhere)
        source.clamp_(max=len(index) - 1)
        rows.write(self.m, columns, target.gather(1, source + 1), index)
        rows.read.scatter_(1, columns, target.gather(1, source).int())

    def target(self, sentinels: torch.Tensor) -> torch.Tensor:
        """Sentinel and tokens of every run, and a last sentinel. → [B, 2 T + 2], of which n_tgt count."""
        spec, unused = self.draw.spec, 2 * self.tokens.shape[1] + 1
        target = self.tokens.new_zeros(len(self.tokens), unused + 1)
        target.scatter_(1, torch.where(self.masked, self.at, unused), self.tokens)
        target.scatter_(1, torch.where(self.starts, self.at - 1, unused), sentinels)
        return target.scatter_(1, self.n_tgt[:, None] - 1, spec.first_sentinel + (self.runs % spec.sentinels)[:, None])
