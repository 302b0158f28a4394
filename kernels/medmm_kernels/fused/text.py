"""Span corruption, on a lane per token."""

import triton
import triton.language as tl

from medmm_kernels import streams
from medmm_kernels.fused.bits import HALF_PI, uniform, word
from medmm_kernels.spec import KEEPS

MODALITY = tl.constexpr(streams.MODALITY)
SPAN = tl.constexpr(streams.SPAN)
MODALITY_STEP = tl.constexpr(streams.MODALITY_STEP)
ATTEMPT_STEP = tl.constexpr(streams.ATTEMPT_STEP)
KEEP_DECAY = tl.constexpr(streams.KEEP_DECAY)
SHORTEST_KEEP = tl.constexpr(streams.SHORTEST_KEEP)
ALL, BINARY = tl.constexpr(KEEPS.index("all")), tl.constexpr(KEEPS.index("binary"))


@triton.jit
def at(values, modality, m):
    """Element m of a vector over modalities."""
    return tl.sum(tl.where(modality == m, values, 0), 0)


@triton.jit
def text_words(lane, m, attempt, length, sample, seed):
    """A text token's word, and the words of its neighbours: −1 where there is none."""
    stream = m * MODALITY_STEP + attempt * ATTEMPT_STEP + SPAN
    own = word(lane, stream, sample, seed)
    before = tl.where(lane > 0, word(tl.maximum(lane - 1, 0), stream, sample, seed), -1)
    after = tl.where(lane + 1 < length, word(lane + 1, stream, sample, seed), -1)
    return own, before, after


@triton.jit
def corrupt_text(lane, m, length, budget, keep, sample, seed, COSINE: tl.constexpr, PARITY: tl.constexpr):
    """See naive.corrupt_to_fit: the threshold and attempt of text m, and the lengths of its input and target."""
    drawn = word(tl.full((), 0, tl.int32), m * MODALITY_STEP + MODALITY, sample, seed)
    share = uniform(drawn)
    if COSINE:
        share = 1 - tl.cos(share * HALF_PI)
    share = tl.where(keep == ALL, 1.0, tl.where(keep == BINARY, (drawn >= 1 << 31).to(tl.float64), share))
    shown = budget > 0
    threshold = tl.where(shown, (share * 4294967296.0).to(tl.int64), 0)
    attempt = tl.full((), 0, tl.int32)
    held = lane < length
    own, before, after = text_words(lane, m, attempt, length, sample, seed)
    gain = (before > own).to(tl.int64) + (after >= own).to(tl.int64)
    kept = tl.sum((held & (own < threshold)).to(tl.int64), 0)
    size = 1 + tl.sum(tl.where(held & (own < threshold), gain, 0), 0)
    if PARITY:
        while shown & (length > 0) & (size > budget) & (attempt < SHORTEST_KEEP - 1):
            attempt += 1
            share *= KEEP_DECAY
            threshold = (share * 4294967296.0).to(tl.int64)
            own, before, after = text_words(lane, m, attempt, length, sample, seed)
            gain = (before > own).to(tl.int64) + (after >= own).to(tl.int64)
            kept = tl.sum((held & (own < threshold)).to(tl.int64), 0)
            size = 1 + tl.sum(tl.where(held & (own < threshold), gain, 0), 0)
    else:
        low, few, high, many = threshold * 0, kept * 0, threshold, kept
        while shown & (length > 0) & (size > budget) & (many - few > 1):
            middle = (low + high) // 2
            count = tl.sum((held & (own < middle)).to(tl.int64), 0)
            fits = 1 + tl.sum(tl.where(held & (own < middle), gain, 0), 0) <= budget
            low, few = tl.where(fits, middle, low), tl.where(fits, count, few)
            high, many = tl.where(fits, high, middle), tl.where(fits, many, count)
        too_long = shown & (length > 0) & (size > budget)
        threshold, kept = tl.where(too_long, low, threshold), tl.where(too_long, few, kept)
        size = 1 + tl.sum(tl.where(held & (own < threshold), gain, 0), 0)
    size = tl.where(length > 0, size, 0)
    hidden = length - kept
    return threshold, attempt, tl.where(shown, size, 0), hidden + size - kept + 1


@triton.jit
def place_text(lane, modality, m, lengths, thresholds, attempts, sample, seed):
    """Of a corrupted text: which tokens are masked, which start a run, number of the run, place in the target."""
    length, threshold, attempt = at(lengths, modality, m), at(thresholds, modality, m), at(attempts, modality, m)
    stream = m * MODALITY_STEP + attempt * ATTEMPT_STEP + SPAN
    held = lane < length
    masked = held & (word(lane, stream, sample, seed) >= threshold)
    after_masked = (lane > 0) & (word(tl.maximum(lane - 1, 0), stream, sample, seed) >= threshold)
    starts = masked & ~after_masked
    run = tl.cumsum(starts.to(tl.int32), 0)
    return held, masked, starts, run, tl.cumsum(masked.to(tl.int32), 0) + run - 1


@triton.jit
def target_window(starts, run, place, m, size, budget, sample, seed):
    """See naive.cut_target. → first place of the window in the target, and how many queries it has."""
    drawn = word(tl.full((), 1, tl.int32), m * MODALITY_STEP + MODALITY, sample, seed)
    runs = tl.max(run, 0)
    chosen = (drawn * tl.maximum(runs, 1) >> 32).to(tl.int32)
    begin = tl.sum(tl.where(starts & (run - 1 == chosen), place - 1, 0), 0)
    tail = tl.min(tl.where(starts & (place - 1 >= size - budget), place - 1, size - 1), 0)
    begin = tl.where(size - begin >= budget, begin, tail)
    begin = tl.where(size <= budget, 0, begin)
    return begin, tl.where(budget > 0, tl.minimum(size - begin, budget) - 1, 0)


@triton.jit
def write_text(
    enc_row, dec_row, dec_plane, tokens, text, modality, m,
    length, threshold, attempt, b_in, size, begins, queries, enc_start, dec_start,
    first_sentinel, sentinels, sample, seed,
):  # fmt: skip
    """Write tokens and sentinels of text m: its input and the window of its target, a place predicting the next."""
    held, masked, starts, run, place = place_text(text, modality, m, length, threshold, attempt, sample, seed)
    token = tl.load(tokens + text, mask=held, other=0).to(tl.int32)
    sentinel = first_sentinel + (run - 1) % sentinels
    shown = ((held & ~masked) | starts) & (text * 0 < at(b_in, modality, m))
    slot = at(enc_start, modality, m) + tl.cumsum(shown.to(tl.int32), 0) - 1
    tl.store(enc_row + slot, tl.where(masked, sentinel, token), mask=shown)
    begin, count = at(begins, modality, m), at(queries, modality, m)
    to = at(dec_start, modality, m) - begin
    limit = at(dec_start, modality, m) + count
    first_place = at(dec_start, modality, m)
    for part in tl.static_range(2):
        element = to + place - part
        chosen = starts if part else masked
        value = sentinel if part else token
        tl.store(dec_row + element, value, mask=chosen & (element >= first_place) & (element < limit))
        element -= 1
        tl.store(dec_row + dec_plane + element, value, mask=chosen & (element >= first_place) & (element < limit))
    last = to + at(size, modality, m) - 2
    value = first_sentinel + tl.max(run, 0) % sentinels
    if (last >= first_place) & (last < limit):
        tl.store(dec_row + dec_plane + last, value)
