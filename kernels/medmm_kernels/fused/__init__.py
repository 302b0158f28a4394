"""The whole of masking in one Triton kernel: one program a sample, one launch a batch.

Nothing leaves the registers but the result. A program draws the budgets on as many lanes as there are modalities,
corrupts the texts on a lane per token, and picks the dense places on a tile of modalities × places: the bounds between
shown, asked and other places are found for all rows of the tile at once, by bisecting on the keys, and a cumulative sum
gives every place its slot. For GPUs of compute capability 8.0 or higher; runs in Triton's interpreter on a CPU for
tests.
"""

import torch

from medmm_kernels.batch import Inputs, empty_fields, place_mask
from medmm_kernels.fused.kernel import mask_kernel
from medmm_kernels.spec import MaskSpec

TILE = 4096  # dense places that a program holds at a time
CHUNK = 1024  # places of a row that a program completes at a time


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def launch_arguments(inputs: Inputs, spec: MaskSpec, seed: int, fields: list[torch.Tensor]) -> dict[str, object]:
    """The kernel's arguments by name. What is known before a batch comes is compiled into the kernel."""
    count, modalities = len(spec.names), [spec.modalities[name] for name in spec.names]
    sequence = tuple(int(m.kind == "sequence") for m in modalities)
    dense = tuple(m for m in range(count) if not sequence[m] and inputs.widths[m])
    lanes = _power(max([1, *(inputs.widths[m] for m in dense)]))
    texts = [min(w, m.max_tokens) for w, m in zip(inputs.widths, modalities, strict=True) if m.kind == "sequence"]
    low_in, high_in, low_tgt, high_tgt = spec.totals
    tables = spec.tables(inputs.sample_ids.device)
    tensors = dict(
        tokens=tuple(inputs.tokens),
        lengths=tuple(inputs.sample_ids if held is None else held for held in inputs.lengths),
        weights=tuple(inputs.sample_ids if weights is None else weights for weights in inputs.weights),
        sample_ids=inputs.sample_ids,
        component_cut=tables.component_cut,
        gamma=tables.gamma,
        active_at=tables.active,
        even_at=tables.even,
        remainder_cut=tables.remainder_cut,
        keep_at=tables.keep,
        **dict(zip(("enc", "enc_valid", "dec", "dec_valid"), fields, strict=True)),
    )
    numbers = dict(
        seed=seed, batch=len(inputs.sample_ids), low_in=low_in, span_in=high_in - low_in + 1, low_tgt=low_tgt,
        span_tgt=high_tgt - low_tgt + 1, first_sentinel=spec.first_sentinel, sentinels=max(spec.sentinels, 1),
    )  # fmt: skip
    compiled_in = dict(
        M=count, MP=_power(count), C=spec.components, WIDTHS=tuple(inputs.widths),
        MOST=tuple(m.max_tokens for m in modalities), SEQUENCE=sequence,
        HELD=tuple(int(held is not None) for held in inputs.lengths),
        RACED=tuple(int(weights is not None) for weights in inputs.weights),
        COLUMNS=tuple((m.grid or (1, 1))[1] for m in modalities), LOW=tuple(map(place_mask, inputs.widths)),
        DENSE=dense, D=len(dense), R=max(1, min(_power(len(dense)), TILE // lanes)), LP=lanes,
        TP=_power(max([1, *texts])),
        N_IN=spec.widths[0], N_TGT=spec.widths[1], CHUNK=min(CHUNK, _power(max(1, *spec.widths))),
        TOP=1 << 52 if spec.strategy == "weighted" else 1 << 32,
        COSINE=spec.strategy == "cosine", PARITY=spec.parity,
        BLOCK=spec.block if spec.strategy == "blockwise" else 0, WEIGHTED=spec.strategy == "weighted",
    )  # fmt: skip
    return tensors | numbers | compiled_in


def launch_options(arguments: dict[str, object]) -> dict[str, object]:
    """How the kernel is compiled: contracting a·b + c would round differently than the other paths do."""
    return {"num_warps": 4 if arguments["R"] * arguments["LP"] <= 2048 else 8, "enable_fp_fusion": False}


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch in one launch, on the GPU of its tokens: the fields of `empty_fields`. Lengths out of range are
    clipped."""
    fields = empty_fields(inputs, spec)
    if len(inputs.sample_ids):
        arguments = launch_arguments(inputs, spec, seed, fields)
        mask_kernel[(len(inputs.sample_ids),)](**arguments, **launch_options(arguments))
    return fields
