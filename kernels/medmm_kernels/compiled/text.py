"""Span corruption of a text."""

import math

from numba import float64, int32, int64, uint32

from medmm_kernels import streams
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
from medmm_kernels.spec import KEEPS

MODALITY, SPAN = streams.MODALITY, streams.SPAN
MODALITY_STEP, ATTEMPT_STEP = streams.MODALITY_STEP, streams.ATTEMPT_STEP
KEEP_DECAY, SHORTEST_KEEP = streams.KEEP_DECAY, streams.SHORTEST_KEEP
ALL, BINARY = KEEPS.index("all"), KEEPS.index("binary")
FULL = 1 << 32


@jit
def draw_text(words, gain, length, stream, sample, seed):
    """The words of a text's tokens, and by how many tokens its input grows when a token becomes kept, the tokens with
    smaller words being kept before: it adds itself and splits, shortens or ends a run of masked tokens, so by as many
    as it has neighbours that are masked still. Both are filled up to whole vectors."""
    fill_words(words, length, stream, sample, seed)
    for i in range(length, (length + LANES - 1) // LANES * LANES):
        words[i] = uint32(FULL - 1)
        gain[i] = 0
    for i in range(1, length - 1):
        gain[i] = int32(words[i - 1] > words[i]) + int32(words[i + 1] >= words[i])
    gain[0] = int32(length > 1 and words[1] >= words[0])
    if length > 1:
        gain[length - 1] = int32(words[length - 2] > words[length - 1])


@jit
def measure(words, gain, length, threshold):
    """How many of a text's tokens are kept under a threshold, and how many its input has with the sentinels."""
    if threshold >= FULL:
        return length, length
    limit, kept, size = uint32(threshold), int32(0), int32(1)
    for i in range((length + LANES - 1) // LANES * LANES):
        under = int32(words[i] < limit)
        kept += under
        size += under * gain[i]
    return int64(kept), int64(size)


@jit
def largest_threshold(words, gain, length, budget, drawn, kept):
    """The largest threshold below `drawn`, which keeps `kept` tokens and too many, under which a text's input fits.

    By bisection, as the input never gets shorter when the threshold rises.
    """
    low, high, few, many = int64(0), int64(drawn), 0, kept
    while many - few > 1:
        middle = (low + high) // 2
        kept, size = measure(words, gain, length, middle)
        if size <= budget:
            low, few = middle, kept
        else:
            high, many = middle, kept
    return low


@glue
def corrupt_text(plan, m, length, keep, cosine, parity, sample, seed, words, gain):
    """Lengths of input and target of text m and the threshold of its mask into the plan, its words into `words`."""
    if length == 0:
        plan.n_in[m], plan.n_tgt[m], plan.threshold[m] = 0, 1, 0
        return
    budget, stream = plan.b_in[m], SPAN + MODALITY_STEP * m
    word, _, _, _ = philox(0, MODALITY + MODALITY_STEP * m, sample, seed)
    share = uniform(word)
    if keep == ALL:
        share = 1.0
    elif keep == BINARY:
        share = float64(int64(word) >= 1 << 31)
    elif cosine:
        share = 1 - math.cos(math.pi / 2 * share)
    threshold, tries = int64(share * FULL) if budget > 0 else 0, 0
    draw_text(words, gain, length, stream, sample, seed)
    kept, size = measure(words, gain, length, threshold)
    if budget > 0 and size > budget and not parity:
        threshold = largest_threshold(words, gain, length, budget, threshold, kept)
        kept, size = measure(words, gain, length, threshold)
    while budget > 0 and size > budget and tries < SHORTEST_KEEP - 1:
        tries += 1
        share *= KEEP_DECAY
        threshold = int64(share * FULL)
        draw_text(words, gain, length, stream + ATTEMPT_STEP * tries, sample, seed)
        kept, size = measure(words, gain, length, threshold)
    plan.n_in[m] = size if budget > 0 else 0
    plan.n_tgt[m] = length - kept + size - kept + 1  # masked tokens, a sentinel for each run, and the last one
    plan.threshold[m] = threshold


@glue
def write_text(plan, m, tokens, length, sentinel, sentinels, sample, seed, words, target, starts, enc, dec, b, at, to):
    """Write input and target of text m from places `at`, `to` on; returns the next free places."""
    budget, limit = plan.b_tgt[m], plan.threshold[m]
    size, runs, before, kept, shown = 0, 0, False, 0, plan.b_in[m] > 0
    for i in range(length):
        masked = words[i] >= limit
        if masked:
            if not before:
                starts[runs] = size
                target[size] = sentinel + runs % sentinels
                size += 1
                runs += 1
            target[size] = tokens[i]
            size += 1
        if shown and not (masked and before):
            enc[IDS, b, at + kept] = target[size - 2] if masked else tokens[i]
            enc[ENC_MODALITY, b, at + kept] = m
            enc[ENC_POSITION, b, at + kept] = kept
            kept += 1
        before = masked
    starts[runs] = size
    target[size] = sentinel + runs % sentinels
    size += 1
    begin, end = 0, min(size, budget)
    if size > budget > 0:
        _, word, _, _ = philox(0, MODALITY + MODALITY_STEP * m, sample, seed)
        begin = starts[below(word, max(1, runs))]
        if size - begin < budget:
            k = 0
            while size - starts[k] > budget:
                k += 1
            begin = starts[k]
        end = min(size, begin + budget)
    queries = max(end - begin - 1, 0)
    for i in range(queries):
        dec[IDS, b, to + i] = target[begin + i]
        dec[TARGETS, b, to + i] = target[begin + i + 1]
        dec[DEC_MODALITY, b, to + i] = m
        dec[DEC_POSITION, b, to + i] = i
        dec[START, b, to + i] = to
        dec[END, b, to + i] = to + i + 1
    return at + kept, to + queries
