"""The CPU's default: the specification compiled with Numba, one core, a whole batch in a handful of calls."""

import hashlib
from pathlib import Path

import numba
import numpy as np
import torch

from medmm_kernels.batch import Inputs, empty_fields, place_mask, raise_length
from medmm_kernels.compiled.samples import budget_rows, mask_rows
from medmm_kernels.spec import MaskSpec

SOURCES = hashlib.sha256(
    b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.parent.rglob("*.py")))
).hexdigest()


def _cached(sources: str) -> tuple:
    """Both loops, kept on disk between runs.

    Numba compiles anew when a function's own file or what its closure holds has changed. The loops consist of functions
    of many files, so the closure holds a hash of all of them.
    """

    @numba.njit(cache=True, nogil=True)
    def mask(*arguments):
        assert sources
        return mask_rows(*arguments)

    @numba.njit(cache=True, nogil=True)
    def budget(*arguments):
        assert sources
        return budget_rows(*arguments)

    return mask, budget


_mask_rows, _budget_rows = _cached(SOURCES)


def _settings(spec: MaskSpec) -> tuple:
    block = spec.block if spec.strategy == "blockwise" else 0
    return spec.totals, spec.strategy == "cosine", spec.parity, block, spec.first_sentinel, spec.sentinels


def token_budgets(capacities: torch.Tensor, spec: MaskSpec, seed: int, sample_ids: torch.Tensor) -> list[torch.Tensor]:
    """Input and target budgets [B, M] of samples that hold `capacities` [B, M] tokens."""
    budgets = [torch.empty_like(capacities) for _ in range(2)]
    into = [b.numpy() for b in budgets]
    _budget_rows(capacities.numpy(), sample_ids.numpy(), seed, spec.arrays, _settings(spec), *into)
    return budgets


def _addresses(tensors: list[torch.Tensor | None]) -> np.ndarray:
    return np.array([0 if tensor is None else tensor.data_ptr() for tensor in tensors])


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch on the CPU: the fields of `empty_fields`. Raises ValueError where a length is negative or exceeds
    the columns."""
    fields = empty_fields(inputs, spec)
    wrong = _mask_rows(
        _addresses(inputs.tokens),
        np.array(inputs.widths),
        np.array([place_mask(width) for width in inputs.widths]),
        _addresses(inputs.lengths),
        _addresses(inputs.weights),
        np.empty(0, np.int64 if inputs.tokens[0].dtype == torch.int64 else np.int32),
        inputs.sample_ids.numpy(),
        seed,
        spec.arrays,
        _settings(spec),
        *(field.numpy() for field in fields),
    )
    if wrong >= 0:
        raise_length(inputs, spec, *divmod(wrong, len(spec.names)))
    return fields
