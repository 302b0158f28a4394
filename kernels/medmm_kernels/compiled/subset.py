"""Which dense places are shown and asked for.

Rows are not sorted and no full-length mask is written. The key of a place is random; the k places with the smallest
keys are found by searching for the k-th smallest key: a histogram brackets it, and where that is not enough, counting
passes over the row (interpolation search), each a few vector instructions.
"""

import math

import numpy as np
from numba import float64, int32, int64, uint32, uint64

from medmm_kernels import streams
from medmm_kernels.batch import NO_TOKEN
from medmm_kernels.compiled.bits import below, fill_words, philox, uniform
from medmm_kernels.compiled.jit import glue, jit
from medmm_kernels.compiled.rows import (
    DEC_MODALITY,
    DEC_POSITION,
    ENC_MODALITY,
    ENC_POSITION,
    END,
    IDS,
    LANES,
    START,
    TARGETS,
)

MODALITY, SUBSET = streams.MODALITY, streams.SUBSET
MODALITY_STEP, RACE_SHIFT = streams.MODALITY_STEP, streams.RACE_SHIFT


@jit
def kth_smallest(keys, last, k, low, few, high, many):
    """A bound such that exactly k keys are not above it, between `low`, below which are `few` keys, and `high`, above
    which all but `many` are. Keys are unique and below 2^53. Interpolation search, bisecting now and then; the last
    step goes to the next key directly."""
    step, type_of = 0, keys.dtype.type
    low, few, high, many = float64(low), float64(few), float64(high), float64(many)
    while many != k:
        step += 1
        middle = 0.5 if step % 4 == 0 else (k - few) / (many - few)
        bound = min(math.floor(low + (high - low) * middle), high - 1.0)
        limit, found = type_of(int64(bound)), int32(0)
        for i in range(last):
            found += int32(keys[i] <= limit)
        if found == k + 1:
            below = type_of(1)
            for i in range(last):
                below = max(below, keys[i] if keys[i] <= limit else type_of(1))
            return type_of(below - type_of(1))
        if found < k:
            low, few = bound + 1.0, float64(found)
        else:
            high, many = bound, float64(found)
    return type_of(int64(high))


@jit
def uniform_keys(keys, count, mask, m, sample, seed):
    """Keys of the places: a random word that ends in the place itself."""
    fill_words(keys, count, SUBSET + MODALITY_STEP * m, sample, seed)
    low = uint32(mask)
    for i in range(count):
        keys[i] = (keys[i] & ~low) | uint32(i)


@jit
def block_keys(keys, count, mask, m, sample, seed, columns, block, words):
    """Keys of the places: the word of their block, after a random shift of the blocks."""
    first, second, _, _ = philox(0, MODALITY + MODALITY_STEP * m, sample, seed)
    shift_y, shift_x, stride = below(first, block), below(second, block), columns // block + 2
    rows = (count + columns - 1) // columns
    fill_words(words, ((rows - 1 + shift_y) // block + 1) * stride, SUBSET + MODALITY_STEP * m, sample, seed)
    low, i = uint32(mask), 0
    for y in range(rows):
        at, x_in_block = (y + shift_y) // block * stride, shift_x
        for _ in range(min(columns, count - i)):  # along a row the block is counted on, as dividing takes longer
            keys[i] = (words[at] & ~low) | uint32(i)
            x_in_block += 1
            if x_in_block == block:
                at, x_in_block = at + 1, 0
            i += 1


@jit
def draw_race(keys, count, mask, m, sample, seed, weights, words, race, race_bits):
    """Keys of the places: bits of −log u / weight, an exponential race. `race` and `race_bits` share memory."""
    fill_words(words, count, SUBSET + MODALITY_STEP * m, sample, seed)
    for i in range(count):
        race[i] = -math.log(uniform(words[i])) / float64(weights[i]) if weights[i] > 0 else np.inf
    for i in range(count):
        keys[i] = ((race_bits[i] >> uint64(RACE_SHIFT)) & ~uint64(mask)) | uint64(i)


@jit
def partition(keys, count, bits, inputs, targets, histogram, picked):
    """The places with the `inputs` smallest keys and the next `targets` ones, each in order, into picked [2, …].

    Keys, of `bits` bits, are counted by their first bits, in about as many classes as there are keys. That brackets the
    two bounds; most often nothing is left to search. Behind the keys the last value of their type is written up to a
    multiple of `LANES`, so that counting loops have no remainder.
    """
    type_of = keys.dtype.type
    last, classes, shift = (count + LANES - 1) // LANES * LANES, 2, bits - 1
    while classes < count:
        classes, shift = 2 * classes, shift - 1
    for i in range(count, last):
        keys[i] = type_of(type_of(0) - type_of(1))
    for i in range(classes):
        histogram[i] = 0
    for i in range(count):
        histogram[keys[i] >> type_of(shift)] += 1
    few, at = int64(0), int64(0)
    while few + histogram[at] < inputs:
        few += histogram[at]
        at += 1
    shown = type_of(0)
    if inputs > 0:
        shown = kth_smallest(keys, last, inputs, at << shift, few, ((at + 1) << shift) - 1, few + histogram[at])
    while few + histogram[at] < inputs + targets:
        few += histogram[at]
        at += 1
    asked = kth_smallest(keys, last, inputs + targets, at << shift, few, ((at + 1) << shift) - 1, few + histogram[at])
    first, second = uint64(0), uint64(0)
    for i in range(count):  # without a branch: which places are chosen can't be predicted
        is_shown = uint64(keys[i] <= shown) if inputs > 0 else uint64(0)
        picked[0, first] = i
        picked[1, second] = i
        first += is_shown
        second += uint64(keys[i] <= asked) - is_shown


@glue
def write_places(m, tokens, picked, inputs, targets, enc, dec, b, at, to):
    """Write the picked places of modality m from places `at`, `to` on."""
    row, first, last = uint64(b), uint64(at), uint64(at + inputs)  # unsigned indices need no check for negative ones
    for j in range(uint64(inputs)):
        place = picked[0, j]
        enc[IDS, row, first + j] = tokens[place]
        enc[ENC_POSITION, row, first + j] = place
    for i in range(first, last):
        enc[ENC_MODALITY, row, i] = m
    first, last = uint64(to), uint64(to + targets)
    for j in range(uint64(targets)):
        place = picked[1, j]
        dec[TARGETS, row, first + j] = tokens[place]
        dec[DEC_POSITION, row, first + j] = place
    for i in range(first, last):
        dec[DEC_MODALITY, row, i] = m
        dec[START, row, i] = first
        dec[END, row, i] = last
        dec[IDS, row, i] = NO_TOKEN
