"""4M's masking for a whole batch at once, and attention by segments.

`mask_batch` draws token budgets, picks dense places, corrupts text and packs encoder and decoder rows, on the device of
the tokens. Four paths give the same result bit for bit in the tests: `naive` (the specification), `batched` (PyTorch),
`compiled` (CPU) and `fused` (one Triton kernel); `mask_batch` takes the fastest that the device can run.
"""

import logging
from functools import cache

import torch

from medmm_kernels import batch
from medmm_kernels.attention import segment_attention
from medmm_kernels.batch import Decoder, Encoder, MaskedBatch
from medmm_kernels.spec import MaskSpec, Modality

__all__ = [
    "Decoder",
    "Encoder",
    "MaskSpec",
    "MaskedBatch",
    "Modality",
    "mask_batch",
    "segment_attention",
    "token_budgets",
]

FUSED_CAPABILITY = (8, 0)  # what Triton needs


def mask_batch(
    tokens: dict[str, torch.Tensor],
    lengths: dict[str, torch.Tensor],
    spec: MaskSpec,
    *,
    seed: int,
    sample_ids: torch.Tensor,
    weights: dict[str, torch.Tensor] | None = None,
) -> MaskedBatch:
    """Mask a batch the way 4M does (Mizrahi et al. 2023, section 2.2), on the device of its tokens.

    `tokens[name]` [B, N] int32 or int64 are token ids, text with its end-of-sequence token; a modality that is not
    there is missing. `lengths[name]` [B] says how many columns of a row are held (all, when absent). `weights[name]`
    [B, N] is for the strategy `weighted`.

    A sample is masked by the bits of (seed, sample id) alone, int64, whatever the batch or the rank: pass other seeds
    or ids in every epoch. Under CUDA graphs call it once before the capture; the seed is part of the
    capture, the ids are read anew.

    Raises ValueError that names what does not fit the spec.
    """
    batch.check_samples(sample_ids, seed)
    given = batch.inputs(tokens, lengths, spec, sample_ids, weights)
    if torch.compiler.is_compiling():
        # An operator of its own: it is opaque to the compiler, which knows the shapes of its result.
        return batch.as_batch(torch.ops.medmm.mask_batch(*given, spec.handle, seed))
    return batch.as_batch(_path(sample_ids.device).mask_fields(given, spec, seed))


def token_budgets(
    spec: MaskSpec, capacities: torch.Tensor, *, seed: int, sample_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and target budgets [B, M] of samples that hold `capacities` [B, M] tokens, M in the order of `spec.names`.

    They are what `mask_batch` starts from; by default it hands on what a text, once corrupted, does not use.
    """
    batch.check_samples(sample_ids, seed)
    if capacities.shape != (len(sample_ids), len(spec.names)):
        expected = [len(sample_ids), len(spec.names)]
        raise ValueError(
            f"capacities is {list(capacities.shape)}; expected {expected}: samples × {', '.join(spec.names)}"
        )
    most = spec.tables(capacities.device).max_tokens
    from medmm_kernels import batched

    path = batched if capacities.device.type != "cpu" else _path(capacities.device)
    b_in, b_tgt = path.token_budgets(capacities.long().minimum(most).contiguous(), spec, seed, sample_ids.long())
    return b_in, b_tgt


@cache
def _path(device: torch.device) -> object:
    """The module that masks fastest on a device. The modules are imported when needed: their compilers take a while."""
    log = logging.getLogger(__name__)
    if device.type == "cpu":
        from medmm_kernels import compiled

        log.info("masking on the CPU with compiled loops")
        return compiled
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FUSED_CAPABILITY:
        from medmm_kernels import fused

        log.info("masking on %s with one fused kernel", torch.cuda.get_device_name(device))
        return fused
    from medmm_kernels import batched

    log.warning("masking on %s with batched PyTorch: the fused kernel needs CUDA compute capability 8.0", device)
    return batched


@torch.library.custom_op("medmm::mask_batch", mutates_args=())
def _mask_batch(
    tokens: list[torch.Tensor],
    widths: list[int],
    lengths: list[torch.Tensor | None],
    weights: list[torch.Tensor | None],
    sample_ids: torch.Tensor,
    handle: int,
    seed: int,
) -> list[torch.Tensor]:
    given, spec = batch.Inputs(tokens, widths, lengths, weights, sample_ids), MaskSpec.of_handle(handle)
    return _path(sample_ids.device).mask_fields(given, spec, seed)


@_mask_batch.register_fake
def _(tokens, widths, lengths, weights, sample_ids, handle, seed):  # noqa: ANN001, ANN202
    return batch.empty_fields(batch.Inputs(tokens, widths, lengths, weights, sample_ids), MaskSpec.of_handle(handle))
