"""Masking one sample at a time in Python, the way 4M's data loader does it: what the kernels are measured against.

Written from the description of the public code (Mizrahi et al. 2023; commit cda590f), with the same steps: a Dirichlet
object per budget, a permutation and three full-length masks per dense modality, text tokenised for every sample and
corrupted in lists. Random numbers come from PyTorch's, NumPy's and Python's global generators, as there.
"""

import random

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.distributions import Dirichlet

from medmm_kernels import MaskSpec

PADDING, END = 0, 1


def word_tokenizer(sentinels: int, words: int = 2000) -> Tokenizer:
    """A WordPiece tokeniser that knows padding, end, sentinels and the words w0, w1, …"""
    names = ["[PAD]", "[EOS]", "[UNK]", *(f"[S_{k}]" for k in range(sentinels + 1)), *(f"w{k}" for k in range(words))]
    tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


class PerSampleMasking:
    """Masks dictionaries of one sample: tensors of image tokens and strings of text."""

    def __init__(self, spec: MaskSpec, tokenizer: Tokenizer) -> None:
        self.spec, self.tokenizer = spec, tokenizer
        self.modalities = [spec.modalities[name] for name in spec.names]
        self.most = torch.tensor([m.max_tokens for m in self.modalities])
        self.is_dense = torch.tensor([m.kind == "dense" for m in self.modalities])
        alphas = ([m.input_alpha for m in self.modalities], [m.target_alpha for m in self.modalities])
        self.dirichlets = [Dirichlet(torch.tensor(a).clamp(min=1e-9)) for a in alphas]
        self.sentinel = {k: tokenizer.token_to_id(f"[S_{k}]") for k in range(spec.sentinels + 1)}
        self.sentinel_ids = set(self.sentinel.values())

    def budget(self, side: int, total: int, most: torch.Tensor) -> torch.Tensor:
        """Token budgets: floor of the shares, the rest by arg-max of fresh samples, clamped."""
        dirichlet = self.dirichlets[side]
        budget = (dirichlet.sample() * total).floor().int()
        left = int(total - budget.sum())
        budget += torch.bincount(dirichlet.sample((left,)).argmax(dim=-1), minlength=len(budget))
        budget = torch.clamp(budget, max=most)
        if not (budget >= 0).all():
            raise RuntimeError("a budget is negative")
        return budget

    def dense(self, tokens: torch.Tensor, n_in: int, n_tgt: int) -> dict[str, torch.Tensor]:
        """Input and target masks (0: chosen) of a modality by a random permutation."""
        order = torch.argsort(torch.rand(len(tokens)), dim=0)
        input_mask = torch.ones(len(tokens), dtype=torch.bool)
        input_mask[:n_in] = 0
        input_mask = torch.gather(input_mask, dim=0, index=order)
        target_mask = torch.ones(len(tokens), dtype=torch.bool)
        target_mask[n_in : n_in + n_tgt] = 0
        target_mask = torch.gather(target_mask, dim=0, index=order)
        attention = torch.zeros(len(tokens), dtype=torch.int)
        attention[torch.argmin(target_mask + torch.arange(len(tokens)) * 1e-6)] = (~target_mask).sum()
        return {"tensor": tokens, "input_mask": input_mask, "target_mask": target_mask, "attention": attention}

    def spans(self, ids: list[int], keep: float) -> tuple[list[int], list[int]]:
        """Input and target of a text of which each token is kept with probability `keep`."""
        inputs, target, runs, before = [], [], 0, False
        for token, masked in zip(ids, torch.where(torch.rand(len(ids)) <= keep, 0, 1).bool().tolist(), strict=True):
            if masked:
                if not before:
                    runs += 1
                    inputs.append(self.sentinel[runs])
                    target.append(self.sentinel[runs])
                target.append(token)
            else:
                inputs.append(token)
            before = masked
        target.append(self.sentinel[runs + 1])
        return inputs, target

    def text(self, string: str, most: int, n_in: int, n_tgt: int) -> dict[str, torch.Tensor]:
        """Tokenise and corrupt a text, lowering keep until it fits; cut the target to its budget."""
        ids = [*self.tokenizer.encode(string).ids, END][:most]
        if n_in == 0:
            inputs, target = [], self.spans(ids, 0.0)[1]
        else:
            keep = random.uniform(0, 1)
            inputs, target = self.spans(ids, keep)
            while len(inputs) > n_in:
                keep *= 0.9
                inputs, target = self.spans(ids, keep)
        if len(target) > n_tgt:
            starts = [i for i, token in enumerate(target) if token in self.sentinel_ids]
            start = starts[np.random.randint(max(1, len(starts) - 1))]
            if len(target) - start >= n_tgt:
                target = target[start : start + n_tgt]
            else:
                target = target[next(s for s in starts if len(target) - s <= n_tgt) :]
        length = (most + 1) * 2
        tensor = torch.ones(length, dtype=torch.int) * PADDING
        input_mask, target_mask = (torch.ones(length, dtype=torch.bool) for _ in range(2))
        attention = torch.zeros(length, dtype=torch.int)
        tensor[: len(inputs)] = torch.tensor(inputs, dtype=torch.int)
        input_mask[: len(inputs)] = 0
        tensor[n_in : n_in + len(target)] = torch.tensor(target, dtype=torch.int)
        target_mask[n_in : n_in + len(target)] = 0
        attention[n_in : n_in + len(target)] = 1
        return {"tensor": tensor, "input_mask": input_mask, "target_mask": target_mask, "attention": attention}

    def __call__(self, sample: dict[str, torch.Tensor | str]) -> dict[str, dict[str, torch.Tensor]]:
        """Mask one sample."""
        totals = [random.randint(*self.spec.totals[:2]), random.randint(*self.spec.totals[2:])]
        n_in = self.budget(0, totals[0], self.most)
        n_tgt = self.budget(1, totals[1], torch.where(self.is_dense, self.most - n_in, self.most))
        result = {}
        for name, modality, shown, asked in zip(
            self.spec.names, self.modalities, n_in.tolist(), n_tgt.tolist(), strict=True
        ):
            if modality.kind == "dense":
                result[name] = self.dense(sample[name], shown, asked)
            else:
                result[name] = self.text(sample[name], modality.max_tokens, shown, asked)
        return result
