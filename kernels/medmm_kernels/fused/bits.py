"""Philox in registers: random words of a stream."""

import triton
import triton.language as tl

from medmm_kernels import streams

HALF_PI = tl.constexpr(1.5707963267948966)
ROUNDS, WORD = tl.constexpr(streams.PHILOX_ROUNDS), tl.constexpr(streams.WORD)


@triton.jit
def philox(block, stream, sample, seed):
    """The four words of a block."""
    low, high = (sample & 0xFFFFFFFF).to(tl.uint32), (sample >> 32 & 0xFFFFFFFF).to(tl.uint32)
    zero = (block * 0).to(tl.uint32)
    return tl.philox(seed, block.to(tl.uint32), zero + stream.to(tl.uint32), zero + low, zero + high, ROUNDS)


@triton.jit
def word(index, stream, sample, seed):
    """Word `index` of a stream, as int64. `index` and `stream` are scalars or broadcast."""
    w0, w1, w2, w3 = philox(index // 4, stream, sample, seed)
    lane = index % 4
    return tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3)).to(tl.int64)


@triton.jit
def uniform(drawn):
    """Numbers in (0, 1), float64."""
    return (drawn.to(tl.float64) + 0.5) * WORD
