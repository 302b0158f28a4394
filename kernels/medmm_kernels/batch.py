"""What goes into masking and what comes out: the tensors of a batch, checked."""

from typing import NamedTuple

import torch

from medmm_kernels.spec import MOST_PLACES, MaskSpec

NO_TOKEN = 0  # `ids` of a place where nothing is read: padding, and dense queries, which embed a mask token
NO_MODALITY = -1  # `modality` of padding
IGNORE = -100  # `targets` of padding: what PyTorch's cross-entropy ignores


class Encoder(NamedTuple):
    """The visible tokens, packed to the left in the order of the modalities. All [B, N]; padding has modality −1."""

    ids: torch.Tensor  # int32 token id; 0 in padding
    modality: torch.Tensor  # int32 index into MaskSpec.names
    position: torch.Tensor  # int32 place of a dense token; index among the kept tokens of a text
    valid: torch.Tensor  # bool


class Decoder(NamedTuple):
    """The queries, packed to the left in blocks of one modality. All [B, N]; padding has modality −1."""

    ids: torch.Tensor  # int32 token a text query reads; 0 for dense queries, which embed a mask token instead
    targets: torch.Tensor  # int32 token to predict; −100 in padding
    modality: torch.Tensor  # int32 index into MaskSpec.names
    position: torch.Tensor  # int32 place of a dense token; index in the target of a text
    start: torch.Tensor  # int32: a query may attend to decoder places [start, end); both 0 in padding
    end: torch.Tensor
    valid: torch.Tensor  # bool


class MaskedBatch(NamedTuple):
    """A masked batch, on the device of its tokens."""

    encoder: Encoder
    decoder: Decoder


class Inputs(NamedTuple):
    """A batch as the kernels take it: modalities in the order of `MaskSpec.names`, missing ones with no columns."""

    tokens: list[torch.Tensor]  # M × [B, N_m], all int32 or all int64, contiguous
    widths: list[int]  # M × N_m
    lengths: list[torch.Tensor | None]  # M × [B] int64, contiguous: how many tokens a sample holds; None: all columns
    weights: list[torch.Tensor | None]  # M × [B, N_m] float32, contiguous
    sample_ids: torch.Tensor  # [B] int64


def place_mask(width: int) -> int:
    """The low bits of a key, in which a place of a row of `width` columns stands."""
    return (1 << max(width - 1, 0).bit_length()) - 1


def inputs(
    tokens: dict[str, torch.Tensor],
    lengths: dict[str, torch.Tensor],
    spec: MaskSpec,
    sample_ids: torch.Tensor,
    weights: dict[str, torch.Tensor] | None = None,
) -> Inputs:
    """Check a batch and put it in the order of the kernels.

    A modality without an entry in `lengths` holds all its columns. Raises ValueError that names what is wrong. What
    stands in `lengths` is checked by the kernels on the CPU; on a GPU, where that would wait for the device, it is
    clipped.
    """
    weights = weights or {}
    if bool(weights) != (spec.strategy == "weighted"):
        raise ValueError(
            f"the strategy is {spec.strategy!r} and weights has {sorted(weights)}; 'weighted' needs weights"
        )
    batch, device = len(sample_ids), sample_ids.device
    for argument, given in (("tokens", tokens), ("lengths", lengths), ("weights", weights)):
        for name, tensor in given.items():
            if name not in spec.modalities or name not in tokens:
                known = spec.names if argument == "tokens" else sorted(tokens)
                raise ValueError(f"{argument}[{name!r}] is of no known modality; expected one of {', '.join(known)}")
            expected, shape = ("[B]", [batch]) if argument == "lengths" else ("[B, N]", [batch, *tensor.shape[1:2]])
            if list(tensor.shape) != shape or tensor.device != device:
                raise ValueError(
                    f"{argument}[{name!r}] is {list(tensor.shape)} on {tensor.device}; expected {expected} with "
                    f"B = {batch} on {device}, as sample_ids"
                )
            if argument == "lengths":
                _check_whole(f"lengths[{name!r}]", tensor)
    dtype = next((rows.dtype for rows in tokens.values()), torch.int64)
    absent = torch.empty(batch, 0, dtype=dtype, device=device)
    rows = [_rows(tokens.get(name, absent), dtype, name, spec) for name in spec.names]
    weighed = [
        None if name not in weights else _weights(weights[name], tokens[name], name, spec) for name in spec.names
    ]
    widths = [row.shape[1] for row in rows]
    held = [lengths[name].long().contiguous() if name in lengths else None for name in spec.names]
    return Inputs(rows, widths, held, weighed, sample_ids.long().contiguous())


def check_samples(sample_ids: torch.Tensor, seed: int) -> None:
    """Raise ValueError unless sample ids are whole numbers [B] and the seed fits in 64 bits."""
    if sample_ids.ndim != 1:
        raise ValueError(f"sample_ids is {list(sample_ids.shape)}; expected [B]")
    _check_whole("sample_ids", sample_ids)
    if not -(1 << 63) <= seed < 1 << 63:
        raise ValueError(f"seed is {seed}; expected -2^63 to 2^63 - 1")


def _check_whole(name: str, tensor: torch.Tensor) -> None:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} is {tensor.dtype}; expected whole numbers, such as int64")


def _rows(rows: torch.Tensor, dtype: torch.dtype, name: str, spec: MaskSpec) -> torch.Tensor:
    modality = spec.modalities[name]
    if rows.dtype != dtype or dtype not in (torch.int32, torch.int64):
        raise ValueError(f"tokens[{name!r}] is {rows.dtype}; expected int32 or int64, the same in all modalities")
    if rows.ndim != 2 or (modality.kind == "dense" and rows.shape[1] > modality.max_tokens):
        raise ValueError(f"tokens[{name!r}] is {list(rows.shape)}; expected [B, at most {modality.max_tokens}]")
    if rows.shape[1] > MOST_PLACES:
        raise ValueError(f"tokens[{name!r}] has {rows.shape[1]} columns; at most {MOST_PLACES} can be masked")
    if spec.strategy == "blockwise" and modality.kind == "dense" and rows.shape[1] not in (0, modality.max_tokens):
        raise ValueError(f"tokens[{name!r}] has {rows.shape[1]} columns; its grid has {modality.max_tokens} places")
    return rows.contiguous()


def _weights(weights: torch.Tensor, tokens: torch.Tensor, name: str, spec: MaskSpec) -> torch.Tensor:
    if weights.shape != tokens.shape or spec.modalities[name].kind != "dense":
        raise ValueError(
            f"weights[{name!r}] is {list(weights.shape)}; expected {list(tokens.shape)}, of a dense modality"
        )
    if weights.device.type == "cpu" and not (weights >= 0).all():
        raise ValueError(f"weights[{name!r}] holds a negative number or NaN; expected numbers from 0 on")
    return weights.float().abs().contiguous()  # −0 would win every race


def raise_length(inputs: Inputs, spec: MaskSpec, sample: int, modality: int) -> None:
    """Say which length is out of range."""
    raise ValueError(
        f"lengths[{spec.names[modality]!r}][{sample}] is {int(inputs.lengths[modality][sample])}; "
        f"expected 0 to {inputs.widths[modality]}, the columns of its tokens"
    )


def held_lengths(inputs: Inputs, spec: MaskSpec) -> torch.Tensor:
    """How many tokens each sample holds of each modality, at most its max_tokens, as one tensor [M, B]."""
    ids = inputs.sample_ids
    whole = [
        torch.full_like(ids, width) if n is None else n for n, width in zip(inputs.lengths, inputs.widths, strict=True)
    ]
    held = torch.stack(whole)
    if ids.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = ((held < 0) | (held > torch.tensor(inputs.widths)[:, None])).nonzero()
        if len(wrong):
            modality, sample = wrong[0].tolist()
            raise_length(inputs, spec, sample, modality)
    most = [min(width, spec.modalities[name].max_tokens) for width, name in zip(inputs.widths, spec.names, strict=True)]
    return torch.stack([n.clamp(0, limit) for n, limit in zip(held, most, strict=True)])


def empty_fields(inputs: Inputs, spec: MaskSpec) -> list[torch.Tensor]:
    """Memory for a result: the encoder's int32 fields [3, B, N] and `valid`, the decoder's [6, B, N] and `valid`."""
    batch, device = len(inputs.sample_ids), inputs.sample_ids.device
    return [
        torch.empty(*count, batch, width, dtype=dtype, device=device)
        for side, width in zip((Encoder, Decoder), spec.widths, strict=True)
        for count, dtype in (((len(side._fields) - 1,), torch.int32), ((), torch.bool))
    ]


def as_batch(fields: list[torch.Tensor]) -> MaskedBatch:
    """Name the fields that `empty_fields` made."""
    encoder, encoder_valid, decoder, decoder_valid = fields
    return MaskedBatch(Encoder(*encoder, encoder_valid), Decoder(*decoder, decoder_valid))
