"""What stands in a row besides tokens: modalities, positions of text, extents of attention, and padding."""

import triton
import triton.language as tl

from medmm_kernels.batch import IGNORE as _IGNORE

IGNORE = tl.constexpr(_IGNORE)


@triton.jit
def complete_encoder(
    row, plane, valid_row, modality, known, dense, starts, ends, WIDTH: tl.constexpr, CHUNK: tl.constexpr
):
    """Write all of an encoder's row but the ids of tokens and the positions of dense ones. `row` points to its ids; the
    fields are `plane` elements apart. modality, known, dense, starts, ends [MP]."""
    lanes = tl.arange(0, CHUNK)
    for chunk in range(0, WIDTH, CHUNK):
        column = chunk + lanes
        inside = column < WIDTH
        of = tl.sum((ends[None, :] <= column[:, None]).to(tl.int32) * known[None, :].to(tl.int32), 1)
        valid = column < tl.max(ends, 0)
        start = tl.sum(tl.where(modality[None, :] == of[:, None], starts[None, :], 0), 1)
        is_dense = tl.sum(tl.where(modality[None, :] == of[:, None], dense[None, :], 0), 1) > 0
        tl.store(row + column, 0, mask=inside & ~valid)
        tl.store(row + plane + column, tl.where(valid, of, -1), mask=inside)
        tl.store(row + 2 * plane + column, tl.where(valid, column - start, 0).to(tl.int32), mask=inside & ~is_dense)
        tl.store(valid_row + column, valid, mask=inside)


@triton.jit
def complete_decoder(
    row, plane, valid_row, modality, known, dense, starts, ends, WIDTH: tl.constexpr, CHUNK: tl.constexpr
):
    """Write all of a decoder's row but ids, targets, and the positions of dense tokens. See complete_encoder."""
    lanes = tl.arange(0, CHUNK)
    for chunk in range(0, WIDTH, CHUNK):
        column = chunk + lanes
        inside = column < WIDTH
        of = tl.sum((ends[None, :] <= column[:, None]).to(tl.int32) * known[None, :].to(tl.int32), 1)
        valid = column < tl.max(ends, 0)
        mine = modality[None, :] == of[:, None]
        start = tl.sum(tl.where(mine, starts[None, :], 0), 1)
        end = tl.sum(tl.where(mine, ends[None, :], 0), 1)
        is_dense = tl.sum(tl.where(mine, dense[None, :], 0), 1) > 0
        tl.store(row + column, 0, mask=inside & (~valid | is_dense))
        tl.store(row + plane + column, IGNORE, mask=inside & ~valid)
        tl.store(row + 2 * plane + column, tl.where(valid, of, -1), mask=inside)
        tl.store(row + 3 * plane + column, tl.where(valid, column - start, 0).to(tl.int32), mask=inside & ~is_dense)
        tl.store(row + 4 * plane + column, tl.where(valid, start, 0).to(tl.int32), mask=inside)
        end = tl.where(is_dense, end, column + 1)
        tl.store(row + 5 * plane + column, tl.where(valid, end, 0).to(tl.int32), mask=inside)
        tl.store(valid_row + column, valid, mask=inside)
