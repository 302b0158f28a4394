"""The CPU's default: the specification compiled with Numba, one core, a whole batch in a handful of calls.

Rows are not sorted and no full-length mask is written. The key of a place is random; the k places with the smallest
keys are found by searching for the k-th smallest key, which takes four or five counting passes over a row
(interpolation search), each a few vector instructions.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
import torch
from numba import carray, float64, int32, int64, types, uint32, uint64
from numba.core import cgutils
from numba.extending import intrinsic

from . import streams
from .batch import IGNORE, NO_MODALITY, Decoder, Encoder, Inputs, empty_fields, place_mask, raise_length
from .naive import NO_TOKEN
from .spec import KEEPS, MaskSpec

SAMPLE, INPUT_SHARE, INPUT_REMAINDER = streams.SAMPLE, streams.INPUT_SHARE, streams.INPUT_REMAINDER
MODALITY, SPAN, SUBSET = streams.MODALITY, streams.SPAN, streams.SUBSET
MODALITY_STEP, ATTEMPT_STEP = streams.MODALITY_STEP, streams.ATTEMPT_STEP
WORD, GAMMA_ATTEMPTS, SHARE_ONE = streams.WORD, streams.GAMMA_ATTEMPTS, streams.SHARE_ONE
RACE_SHIFT, RACE_BITS = streams.RACE_SHIFT, 63 - streams.RACE_SHIFT
PHILOX_ROUNDS = streams.PHILOX_ROUNDS
KEEP_DECAY, SHORTEST_KEEP = streams.KEEP_DECAY, streams.SHORTEST_KEEP
IDS, ENC_MODALITY, ENC_POSITION = (Encoder._fields.index(field) for field in ("ids", "modality", "position"))
TARGETS, DEC_MODALITY, DEC_POSITION, START, END = (
    Decoder._fields.index(field) for field in ("targets", "modality", "position", "start", "end")
)
ALL, BINARY = KEEPS.index("all"), KEEPS.index("binary")
CENTRE, CENTRE_BELOW, MIDDLE, MIDDLE_BELOW, TAIL, TAIL_BELOW = streams.NORMAL_QUANTILE
FULL = 1 << 32
LANES = 32  # keys that a counting loop takes at a time

# Three ways to compile, by measurement. Loops over a row are functions of their own, or they are vectorised less well.
# What takes many arrays is inlined by LLVM, as handing these on costs more than the work; a few operations by Numba.
jit = numba.njit(cache=True, nogil=True, error_model="numpy")
glue = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
inline = numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")


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


@inline
def polynomial(coefficients, x):
    """Horner's scheme, the constant last."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@inline
def class_of(cuts, word):
    """How many cuts are not above the word."""
    found = 0
    for cut in cuts:
        found += int64(cut <= int64(word))
    return found


@jit
def normal_quantile(u):
    """Φ⁻¹(u): Wichura 1988, algorithm AS 241 (PPND16), about 1e-16 relative."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * polynomial(CENTRE, r) / polynomial(CENTRE_BELOW, r)
    r = math.sqrt(-math.log(min(u, 1 - u)))
    if r <= 5:
        x = polynomial(MIDDLE, r - 1.6) / polynomial(MIDDLE_BELOW, r - 1.6)
    else:
        x = polynomial(TAIL, r - 5) / polynomial(TAIL_BELOW, r - 5)
    return x if q > 0 else -x


@jit
def gamma_variate(stream, d, c, sample, seed):
    """A gamma variate but for the factor U^(1/α), and log U. See naive.gamma_variate."""
    v, last = 1.0, 0.5
    for attempt in range(GAMMA_ATTEMPTS):
        w1, w2, w3, _ = philox(attempt, stream, sample, seed)
        last = uniform(w3)
        x, u = normal_quantile(uniform(w1)), uniform(w2)
        root = 1 + c * x
        v = root * root * root
        # The first condition implies the second, and spares two logarithms nearly always.
        if root > 0 and (u < 1 - 0.0331 * (x * x) * (x * x) or math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v)):
            break
        v = 1.0
    return d * v, math.log(last)


@glue
def draw_shares(weights, shares, exponents, tables, component, side, length, parity, sample, seed):
    """Dirichlet shares as integers into `weights` [M], 0 where a modality is left out. See naive.shares."""
    even = tables.even[component, side]
    top, largest = -np.inf, 0.0
    for m in range(len(weights)):
        weights[m] = tables.active[component, side, m] and (parity or length[m] > 0)
        if weights[m] and not even:
            stream, gamma = INPUT_SHARE + side + MODALITY_STEP * m, tables.gamma[component, side, m]
            shares[m], log_u = gamma_variate(stream, gamma[0], gamma[1], sample, seed)
            exponents[m] = gamma[2] * log_u
            top = max(top, exponents[m])
    for m in range(len(weights)):
        if weights[m] and not even:
            shares[m] *= math.exp(exponents[m] - top)
            largest = max(largest, shares[m])
    for m in range(len(weights)):
        if weights[m] and not even:
            weights[m] = int64(shares[m] / largest * SHARE_ONE) + 1


@jit
def fill(budget, tokens, weights, room, word):
    """See naive.fill; in place. Quotients are below 2^17 and divisors below 2^30, so that their floor is exact in
    float64."""
    while tokens > 0:
        total = 0
        for m in range(len(budget)):
            if budget[m] < room[m]:
                total += weights[m]
        if total == 0:
            return
        offset, divisor = (int64(word) * total) >> 32, float64(total)
        upto, lower, placed = 0, int64(0), 0
        for m in range(len(budget)):
            if budget[m] < room[m]:
                upto += weights[m]
                upper = int64(float64(tokens * upto + offset) / divisor)
                share = min(upper - lower, room[m] - budget[m])
                lower = upper
                budget[m] += share
                placed += share
        tokens -= placed


@jit
def parity_budget(budget, tokens, weights, room, cuts, purpose, sample, seed):
    """See naive.parity_budget; in place."""
    total, left = weights.sum(), tokens
    for m in range(len(budget)):
        budget[m] = tokens * weights[m] // total
        left -= budget[m]
    words = np.empty(4, np.uint32)
    for r in range(left):
        if r % 4 == 0:
            words[0], words[1], words[2], words[3] = philox(r // 4, purpose, sample, seed)
        budget[class_of(cuts, words[r % 4])] += 1
    for m in range(len(budget)):
        budget[m] = min(budget[m], room[m])


@glue
def draw_totals(tables, totals, cosine, sample, seed):
    """Mixture component, input and target total of a sample. See naive.totals."""
    first, second, third, _ = philox(0, SAMPLE, sample, seed)
    inputs, targets = below(second, totals[1] - totals[0] + 1), below(third, totals[3] - totals[2] + 1)
    if cosine:
        inputs = int64((1 - math.cos(math.pi / 2 * uniform(second))) * (totals[1] - totals[0] + 1))
        targets = int64((1 - math.cos(math.pi / 2 * uniform(third))) * (totals[3] - totals[2] + 1))
    return class_of(tables.component_cut, first), totals[0] + inputs, totals[2] + targets


@glue
def draw_budget(plan, budget, weights, room, tokens, side, component, length, tables, parity, sample, seed):
    """Shares into `weights` and budgets into `budget` [M]: one side of naive.token_budgets."""
    draw_shares(weights, plan.shares, plan.exponents, tables, component, side, length, parity, sample, seed)
    if parity:
        parity_budget(
            budget, tokens, weights, room, tables.remainder_cut[component, side], INPUT_REMAINDER + side, sample, seed
        )
    else:
        words = philox(1, SAMPLE, sample, seed)
        budget[:] = 0
        fill(budget, tokens, weights, room, words[1] if side else words[0])


@glue
def draw_budgets(plan, room, length, component, inputs, targets, tables, parity, sample, seed):
    """Budgets of a sample before any text is corrupted. See naive.token_budgets."""
    for m in range(len(length)):
        room[m] = tables.max_tokens[m] if parity else length[m]
    draw_budget(plan, plan.b_in, plan.w_in, room, inputs, 0, component, length, tables, parity, sample, seed)
    for m in range(len(length)):
        if not tables.sequence[m]:
            room[m] -= plan.b_in[m]
    draw_budget(plan, plan.b_tgt, plan.w_tgt, room, targets, 1, component, length, tables, parity, sample, seed)


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
def settle_budgets(plan, room, length, sequence, inputs, targets, parity, sample, seed):
    """Turn budgets into counts once the texts are corrupted. See naive.mask_sample.

    `n_in`, `n_tgt` hold the texts' lengths; `n_in` becomes the input counts, `b_tgt` the target budgets.
    """
    for m in range(len(length)):
        if not sequence[m]:
            plan.n_in[m] = min(plan.b_in[m], length[m])
            plan.b_tgt[m] = min(plan.b_tgt[m], length[m] - plan.n_in[m])
        room[m] = 0 if sequence[m] else length[m]
    if parity:
        return
    round_in, round_tgt, _, _ = philox(1, SAMPLE, sample, seed)
    fill(plan.n_in, inputs - plan.n_in.sum(), plan.w_in, room, round_in)
    for m in range(len(length)):
        room[m] = plan.n_tgt[m] - 1 if sequence[m] else length[m] - plan.n_in[m]
        plan.b_tgt[m] = 0
    fill(plan.b_tgt, targets, plan.w_tgt, room, round_tgt)
    for m in range(len(length)):
        if sequence[m] and plan.b_tgt[m] > 0:
            plan.b_tgt[m] += 1


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
    low = uint32(mask)
    for i in range(count):
        place = (i // columns + shift_y) // block * stride + (i % columns + shift_x) // block
        keys[i] = (words[place] & ~low) | uint32(i)


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


@glue
def finish_row(enc, enc_valid, dec, dec_valid, b, at, to):
    """Mark what is written as valid and fill what is left of a row."""
    enc_valid[b, :at], enc_valid[b, at:] = True, False
    dec_valid[b, :to], dec_valid[b, to:] = True, False
    for i in range(at, enc.shape[2]):
        enc[IDS, b, i], enc[ENC_MODALITY, b, i], enc[ENC_POSITION, b, i] = NO_TOKEN, NO_MODALITY, 0
    for i in range(to, dec.shape[2]):
        dec[IDS, b, i], dec[TARGETS, b, i], dec[DEC_MODALITY, b, i] = NO_TOKEN, IGNORE, NO_MODALITY
        dec[DEC_POSITION, b, i] = dec[START, b, i] = dec[END, b, i] = 0


class Plan(NamedTuple):
    """What a sample's masking is decided by. All [M], int64 but for the last two."""

    b_in: np.ndarray  # budgets
    b_tgt: np.ndarray
    w_in: np.ndarray  # shares
    w_tgt: np.ndarray
    n_in: np.ndarray  # counts
    n_tgt: np.ndarray
    threshold: np.ndarray  # a text token whose word is not below is masked
    shares: np.ndarray  # float64, on the way to the integer shares
    exponents: np.ndarray


@glue
def new_plan(count):
    """A plan, not filled."""
    rows, shares = np.empty((7, count), np.int64), np.empty((2, count))
    return Plan(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], shares[0], shares[1])


@intrinsic
def pointer(context, address):
    """The address of a tensor's memory as a pointer."""

    def build(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), build


@jit
def mask_rows(
    rows, widths, masks, held, weights, token, samples, seed, tables, settings, enc, enc_valid, dec, dec_valid
):
    """Mask every sample; returns −1, or b · M + m where a length is out of range.

    `rows`, `held` and `weights` [M] hold the addresses of tensors: tokens [B, N_m] of the type of `token`, int64
    lengths [B] (0: all places), float32 weights [B, N_m] (0: none). A tuple of arrays would be compiled anew for every
    number of modalities.
    """
    totals, cosine, parity, block, sentinel, sentinels = settings
    count, widest = len(rows), max(widths.max(), 1)
    plan, room, length = new_plan(count), np.empty(count, np.int64), np.empty(count, np.int64)
    words, gain = (
        np.empty((count, (8 * widest if block else widest) + 64), np.uint32),
        np.empty(widest + LANES, np.int32),
    )
    target, starts = np.empty(2 * widest + 2, np.int32), np.empty(widest + 2, np.int64)
    keys, histogram = np.empty(widest + LANES, np.uint32), np.empty(2 * widest + 2, np.int32)
    race_keys, race = np.empty(widest + LANES, np.uint64), np.empty(widest)
    race_bits, picked = race.view(np.uint64), np.empty((2, widest + 1), np.uint32)
    for b in range(len(samples)):
        sample = samples[b]
        for m in range(count):
            length[m] = carray(pointer(held[m]), (len(samples),), np.int64)[b] if held[m] else widths[m]
            if not 0 <= length[m] <= widths[m]:
                return b * count + m
            length[m] = min(length[m], tables.max_tokens[m])
        component, inputs, targets = draw_totals(tables, totals, cosine, sample, seed)
        draw_budgets(plan, room, length, component, inputs, targets, tables, parity, sample, seed)
        for m in range(count):
            if tables.sequence[m]:
                keep = tables.keep[component, m]
                corrupt_text(plan, m, length[m], keep, cosine, parity, sample, seed, words[m], gain)
        settle_budgets(plan, room, length, tables.sequence, inputs, targets, parity, sample, seed)

        at, to = 0, 0
        for m in range(count):
            n_in, n_tgt, width = plan.n_in[m], plan.b_tgt[m], widths[m]
            if n_in + n_tgt == 0:
                continue
            tokens = carray(pointer(rows[m]), (len(samples), width), token.dtype)[b]
            if tables.sequence[m]:
                at, to = write_text(
                    plan, m, tokens, length[m], sentinel, sentinels, sample, seed,
                    words[m], target, starts, enc, dec, b, at, to,
                )  # fmt: skip
                continue
            if weights[m]:
                weight = carray(pointer(weights[m]), (len(samples), width), np.float32)[b]
                draw_race(race_keys, length[m], masks[m], m, sample, seed, weight, words[m], race, race_bits)
                partition(race_keys, length[m], RACE_BITS, n_in, n_tgt, histogram, picked)
            else:
                if block:
                    block_keys(keys, length[m], masks[m], m, sample, seed, tables.grid[m, 1], block, words[m])
                else:
                    uniform_keys(keys, length[m], masks[m], m, sample, seed)
                partition(keys, length[m], 32, n_in, n_tgt, histogram, picked)
            write_places(m, tokens, picked, n_in, n_tgt, enc, dec, b, at, to)
            at, to = at + n_in, to + n_tgt
        finish_row(enc, enc_valid, dec, dec_valid, b, at, to)
    return -1


@jit
def budget_rows(capacities, samples, seed, tables, settings, b_in, b_tgt):
    """Budgets of every sample into b_in, b_tgt [B, M]."""
    totals, cosine, parity, _, _, _ = settings
    plan, room = new_plan(capacities.shape[1]), np.empty(capacities.shape[1], np.int64)
    for b in range(len(samples)):
        component, inputs, targets = draw_totals(tables, totals, cosine, samples[b], seed)
        draw_budgets(plan, room, capacities[b], component, inputs, targets, tables, parity, samples[b], seed)
        b_in[b], b_tgt[b] = plan.b_in, plan.b_tgt


def _settings(spec: MaskSpec) -> tuple:
    block = spec.block if spec.strategy == "blockwise" else 0
    return spec.totals, spec.strategy == "cosine", spec.parity, block, spec.first_sentinel, spec.sentinels


def token_budgets(capacities: torch.Tensor, spec: MaskSpec, seed: int, sample_ids: torch.Tensor) -> list[torch.Tensor]:
    """Input and target budgets [B, M] of samples that hold `capacities` [B, M] tokens."""
    budgets = [torch.empty_like(capacities) for _ in range(2)]
    into = [b.numpy() for b in budgets]
    budget_rows(capacities.numpy(), sample_ids.numpy(), seed, spec.arrays, _settings(spec), *into)
    return budgets


def _addresses(tensors: list[torch.Tensor | None]) -> np.ndarray:
    return np.array([0 if tensor is None else tensor.data_ptr() for tensor in tensors])


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch on the CPU: the fields of `empty_fields`. Raises ValueError where a length is negative or exceeds
    the columns."""
    fields = empty_fields(inputs, spec)
    wrong = mask_rows(
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
