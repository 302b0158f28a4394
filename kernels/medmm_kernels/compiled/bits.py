"""Philox in loops: random words of a stream."""

from numba import float64, int64, uint32, uint64

from medmm_kernels import streams
from medmm_kernels.compiled.jit import inline, jit

PHILOX_ROUNDS, WORD = streams.PHILOX_ROUNDS, streams.WORD


@inline
def philox(block, stream, sample, seed):
    """The four words of a block: Philox4x32-7."""
    a, b, c, d = uint32(block), uint32(stream), uint32(sample), uint32(sample >> 32)
    key0, key1 = uint32(seed), uint32(seed >> 32)
    for _ in range(PHILOX_ROUNDS):
        high, low = uint64(a) * uint64(0xD2511F53), uint64(c) * uint64(0xCD9E8D57)
        a, b, c, d = (
            uint32(uint32(low >> uint64(32)) ^ b ^ key0),
            uint32(low),
            uint32(uint32(high >> uint64(32)) ^ d ^ key1),
            uint32(high),
        )
        key0, key1 = uint32(key0 + uint32(0x9E3779B9)), uint32(key1 + uint32(0xBB67AE85))
    return a, b, c, d


@jit
def fill_words(out, count, stream, sample, seed):
    """The first `count` words of a stream. Whole vectors of blocks are made, so up to 31 more are written."""
    for block in range((count + 31) // 32 * 8):
        a, b, c, d = philox(block, stream, sample, seed)
        out[4 * block] = a
        out[4 * block + 1] = b
        out[4 * block + 2] = c
        out[4 * block + 3] = d


@inline
def uniform(word):
    """A number in (0, 1)."""
    return (float64(word) + 0.5) * WORD


@inline
def below(word, n):
    """An integer in [0, n)."""
    return (int64(word) * n) >> 32
