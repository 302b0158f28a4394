"""The whole of masking in one Triton kernel: one program a sample, one launch a batch.

Nothing leaves the registers but the result. A program draws the budgets on as many lanes as there are modalities,
corrupts the texts on a lane per token, and picks the dense places on a tile of modalities × places: the bounds between
shown, asked and other places are found for all rows of the tile at once, by bisecting on the keys, and a cumulative sum
gives every place its slot. For GPUs of compute capability 8.0 or higher; runs in Triton's interpreter on a CPU for
tests.
"""

import torch
import triton
import triton.language as tl

from . import streams
from .batch import IGNORE as _IGNORE
from .batch import Inputs, empty_fields, place_mask
from .spec import KEEPS, MaskSpec

SAMPLE = tl.constexpr(streams.SAMPLE)
INPUT_SHARE = tl.constexpr(streams.INPUT_SHARE)
INPUT_REMAINDER = tl.constexpr(streams.INPUT_REMAINDER)
MODALITY = tl.constexpr(streams.MODALITY)
SPAN = tl.constexpr(streams.SPAN)
SUBSET = tl.constexpr(streams.SUBSET)
MODALITY_STEP = tl.constexpr(streams.MODALITY_STEP)
ATTEMPT_STEP = tl.constexpr(streams.ATTEMPT_STEP)
ROUNDS = tl.constexpr(streams.PHILOX_ROUNDS)
GAMMA_ATTEMPTS = tl.constexpr(streams.GAMMA_ATTEMPTS)
SHARE_ONE = tl.constexpr(streams.SHARE_ONE)
KEEP_DECAY = tl.constexpr(streams.KEEP_DECAY)
SHORTEST_KEEP = tl.constexpr(streams.SHORTEST_KEEP)
RACE_SHIFT = tl.constexpr(streams.RACE_SHIFT)
CENTRE, CENTRE_BELOW, MIDDLE, MIDDLE_BELOW, TAIL, TAIL_BELOW = (tl.constexpr(c) for c in streams.NORMAL_QUANTILE)
ALL, BINARY = tl.constexpr(KEEPS.index("all")), tl.constexpr(KEEPS.index("binary"))
IGNORE = tl.constexpr(_IGNORE)
HALF_PI = tl.constexpr(1.5707963267948966)
NEVER = tl.constexpr(-1e300)

TILE = 4096  # dense places that a program holds at a time
CHUNK = 1024  # places of a row that a program completes at a time


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
    return (drawn.to(tl.float64) + 0.5) * 2.3283064365386963e-10


@triton.jit
def polynomial(coefficients: tl.constexpr, x):
    """Horner's scheme, the constant last."""
    value = x * 0
    for i in tl.static_range(8):
        value = value * x + coefficients[i]
    return value


@triton.jit
def normal_quantile(u):
    """Φ⁻¹(u): Wichura 1988, algorithm AS 241."""
    q = u - 0.5
    central = tl.abs(q) <= 0.425
    r = tl.where(central, 0.180625 - q * q, 0.1)
    centre = q * polynomial(CENTRE, r) / polynomial(CENTRE_BELOW, r)
    r = tl.sqrt(-tl.log(tl.minimum(u, 1 - u)))
    middle = polynomial(MIDDLE, r - 1.6) / polynomial(MIDDLE_BELOW, r - 1.6)
    tail = polynomial(TAIL, r - 5) / polynomial(TAIL_BELOW, r - 5)
    outer = tl.where(r <= 5, middle, tail)
    return tl.where(central, centre, tl.where(q > 0, outer, -outer))


@triton.jit
def shares(modality, side: tl.constexpr, active, even, gamma, sample, seed, M: tl.constexpr):
    """See naive.shares. `modality` and `active` are [MP]; `gamma` points to [2, M, 3]. → int64 [MP]."""
    at = gamma + (side * M + modality) * 3
    held = modality < M
    d = tl.load(at, mask=held, other=1.0)
    c = tl.load(at + 1, mask=held, other=0.0)
    boost = tl.load(at + 2, mask=held, other=0.0)
    stream = modality * MODALITY_STEP + (INPUT_SHARE + side)
    v = d * 0 + 1
    u3 = d * 0 + 0.5
    accepted = modality < 0
    for attempt in tl.static_range(GAMMA_ATTEMPTS):
        w1, w2, w3, _ = philox(modality * 0 + attempt, stream, sample, seed)
        x = normal_quantile(uniform(w1))
        root = 1 + c * x
        cube = root * root * root
        log_cube = tl.log(tl.where(root > 0, cube, 1.0))
        good = (root > 0) & (tl.log(uniform(w2)) < 0.5 * x * x + d - d * cube + d * log_cube)
        v = tl.where(good & ~accepted, cube, v)
        u3 = tl.where(accepted, u3, uniform(w3))
        accepted = accepted | good
    exponent = tl.where(active, boost * tl.log(u3), NEVER)
    top = tl.max(exponent, 0)
    scaled = tl.where(active, d * v * tl.exp(exponent - top), 0.0)
    largest = tl.maximum(tl.max(scaled, 0), 1e-300)
    weights = (scaled / largest * SHARE_ONE).to(tl.int64) + 1
    return tl.where(active, tl.where(even, 1, weights), 0)


@triton.jit
def fill(budget, tokens, weights, room, drawn):
    """See naive.fill. budget, weights, room [MP] int64."""
    total = tl.sum(tl.where(budget < room, weights, 0), 0)
    while (tokens > 0) & (total > 0):
        open_weights = tl.where(budget < room, weights, 0)
        upto = tl.cumsum(open_weights, 0)
        offset = drawn * total >> 32
        upper = (tokens * upto + offset) // total
        lower = (tokens * (upto - open_weights) + offset) // total
        share = tl.minimum(upper - lower, tl.maximum(room - budget, 0))
        budget += share
        tokens -= tl.sum(share, 0)
        total = tl.sum(tl.where(budget < room, weights, 0), 0)
    return budget


@triton.jit
def budgets(
    modality, side: tl.constexpr, tokens, weights, room, cuts, sample, seed, M: tl.constexpr, PARITY: tl.constexpr
):
    """See naive.token_budgets: one side. `cuts` points to [2, M]."""
    if PARITY:
        budget = tokens * weights // tl.sum(weights, 0)
        left = tokens - tl.sum(budget, 0)
        cut = tl.load(cuts + side * M + modality, mask=modality < M, other=1 << 40)
        for r in range(left):
            stream = tl.full((), INPUT_REMAINDER + side, tl.int32)
            drawn = word(stream * 0 + r, stream, sample, seed)
            chosen = tl.sum((cut <= drawn).to(tl.int32), 0)
            budget += (modality == chosen).to(tl.int64)
        budget = tl.minimum(budget, room)
    else:
        stream = tl.full((), SAMPLE, tl.int32)
        drawn = word(tl.full((), 4 + side, tl.int32), stream, sample, seed)
        budget = fill(weights * 0, tokens, weights, room, drawn)
    return budget


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
def smallest_keys(key, wanted, TOP: tl.constexpr):
    """For each row of keys [R, L] a bound such that exactly `wanted` [R] keys are not above it, by bisection."""
    low = wanted.to(tl.int64) * 0 - 1
    high = tl.where(wanted > 0, low + TOP, low)
    while tl.max(high - low, 0) > 0:
        middle = low + (high - low) // 2
        count = tl.sum((key <= middle[:, None]).to(tl.int32), 1)
        found = count == wanted
        low = tl.where(found, middle, tl.where(count < wanted, middle + 1, low))
        high = tl.where(found | (count > wanted), middle, high)
        low = tl.minimum(low, high)
    return high


@triton.jit
def draw_keys(row, lane, m, columns, low, weight, race, sample, seed, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr):
    """Keys of dense places: random words that end in the place itself. row (modality) [R, 1], lane [1, L] → int64 [R,
    L]."""
    stream = m * MODALITY_STEP + SUBSET
    if BLOCK:
        step = m * MODALITY_STEP + MODALITY
        shift_y = (word(m * 0, step, sample, seed) * BLOCK >> 32).to(tl.int32)
        shift_x = (word(m * 0 + 1, step, sample, seed) * BLOCK >> 32).to(tl.int32)
        block = (lane // columns + shift_y) // BLOCK * (columns // BLOCK + 2) + (lane % columns + shift_x) // BLOCK
        drawn = word(block, stream, sample, seed)
    else:
        drawn = word(lane + row * 0, stream, sample, seed)
    key = (drawn & ~low) | lane
    if WEIGHTED:
        time = -tl.log(uniform(drawn)) / weight
        bits = time.to(tl.int64, bitcast=True) >> RACE_SHIFT
        key = tl.where(race, (bits & ~low) | lane, key)
    return key


@triton.jit
def mask_kernel(
    tokens, lengths, weights, sample_ids, seed,
    component_cut, gamma, active_at, even_at, remainder_cut, keep_at,
    enc, enc_valid, dec, dec_valid, batch,
    low_in, span_in, low_tgt, span_tgt, first_sentinel, sentinels,
    M: tl.constexpr, MP: tl.constexpr, C: tl.constexpr, WIDTHS: tl.constexpr, MOST: tl.constexpr,
    SEQUENCE: tl.constexpr, HELD: tl.constexpr, RACED: tl.constexpr, COLUMNS: tl.constexpr, LOW: tl.constexpr,
    DENSE: tl.constexpr, D: tl.constexpr, R: tl.constexpr, LP: tl.constexpr, TP: tl.constexpr,
    N_IN: tl.constexpr, N_TGT: tl.constexpr, CHUNK: tl.constexpr, TOP: tl.constexpr,
    COSINE: tl.constexpr, PARITY: tl.constexpr, BLOCK: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """Mask one sample. M modalities on MP lanes; D dense ones, R at a time, on LP lanes; texts on TP lanes."""
    b = tl.program_id(0)
    sample = tl.load(sample_ids + b)
    modality = tl.arange(0, MP)
    known = modality < M

    # What the sample holds, per modality.
    length, most, dense = tl.zeros([MP], tl.int64), tl.zeros([MP], tl.int64), tl.zeros([MP], tl.int64)
    for m in tl.static_range(M):
        held = tl.full((), WIDTHS[m], tl.int64)
        if HELD[m]:
            held = tl.minimum(tl.maximum(tl.load(lengths[m] + b), 0), WIDTHS[m])
        length = tl.where(modality == m, tl.minimum(held, MOST[m]), length)
        most = tl.where(modality == m, MOST[m], most)
        dense = tl.where(modality == m, 1 - SEQUENCE[m], dense)

    # Mixture component, totals, budgets.
    zero = tl.full((), 0, tl.int32)
    first, second = word(zero, zero + SAMPLE, sample, seed), word(zero + 1, zero + SAMPLE, sample, seed)
    third = word(zero + 2, zero + SAMPLE, sample, seed)
    component = tl.full((), 0, tl.int32)
    for c in tl.static_range(C):
        component += (tl.load(component_cut + c) <= first).to(tl.int32)
    if COSINE:
        inputs = low_in + ((1 - tl.cos(uniform(second) * HALF_PI)) * span_in).to(tl.int64)
        targets = low_tgt + ((1 - tl.cos(uniform(third) * HALF_PI)) * span_tgt).to(tl.int64)
    else:
        inputs, targets = low_in + (second * span_in >> 32), low_tgt + (third * span_tgt >> 32)
    row = component * 2
    room = most if PARITY else length
    present = known & (PARITY | (length > 0))
    gamma += row * M * 3
    remainder_cut += row * M
    active = present & (tl.load(active_at + row * M + modality, mask=known, other=0) > 0)
    w_in = shares(modality, 0, active, tl.load(even_at + row) > 0, gamma, sample, seed, M)
    active = present & (tl.load(active_at + (row + 1) * M + modality, mask=known, other=0) > 0)
    w_tgt = shares(modality, 1, active, tl.load(even_at + row + 1) > 0, gamma, sample, seed, M)
    b_in = budgets(modality, 0, inputs, w_in, room, remainder_cut, sample, seed, M, PARITY)
    n_tgt = budgets(modality, 1, targets, w_tgt, room - b_in * dense, remainder_cut, sample, seed, M, PARITY)

    # Texts: how long they become.
    text = tl.arange(0, TP)
    n_in = tl.minimum(b_in, length) * dense
    size = tl.zeros([MP], tl.int64)
    threshold, attempt = tl.zeros([MP], tl.int64), tl.zeros([MP], tl.int32)
    for m in tl.static_range(M):
        if SEQUENCE[m]:
            keep = tl.load(keep_at + component * M + m)
            limit, tries, shown, asked = corrupt_text(
                text, zero + m, at(length, modality, m), at(b_in, modality, m), keep, sample, seed, COSINE, PARITY
            )
            threshold, attempt = tl.where(modality == m, limit, threshold), tl.where(modality == m, tries, attempt)
            n_in, size = tl.where(modality == m, shown, n_in), tl.where(modality == m, asked, size)

    # What they did not use goes to dense modalities; target budgets know what is left.
    if PARITY:
        n_tgt = tl.where(dense > 0, tl.minimum(n_tgt, length - n_in), n_tgt)
    else:
        rounding = word(zero + 4, zero + SAMPLE, sample, seed)
        n_in = fill(n_in, inputs - tl.sum(n_in, 0), w_in * dense, length * dense, rounding)
        room = tl.where(dense > 0, length - n_in, tl.where(known, size - 1, 0))
        rounding = word(zero + 5, zero + SAMPLE, sample, seed)
        n_tgt = fill(n_tgt * 0, targets, w_tgt, room, rounding)
        n_tgt = tl.where((dense == 0) & (n_tgt > 0), n_tgt + 1, n_tgt)
    queries = n_tgt
    begins = tl.zeros([MP], tl.int64)
    for m in tl.static_range(M):
        if SEQUENCE[m]:
            held, masked, starts, run, place = place_text(
                text, modality, zero + m, length, threshold, attempt, sample, seed
            )
            begin, count = target_window(
                starts, run, place, zero + m, at(size, modality, m), at(n_tgt, modality, m), sample, seed
            )
            queries = tl.where(modality == m, count, queries)
            begins = tl.where(modality == m, begin, begins)
    enc_end, dec_end = tl.cumsum(n_in, 0), tl.cumsum(queries, 0)
    enc_start, dec_start = enc_end - n_in, dec_end - queries

    # Constant fields and padding of the rows.
    lanes = tl.arange(0, CHUNK)
    enc_plane, dec_plane = batch.to(tl.int64) * N_IN, batch.to(tl.int64) * N_TGT
    enc_row, dec_row = enc + b.to(tl.int64) * N_IN, dec + b.to(tl.int64) * N_TGT
    for chunk in range(0, N_IN, CHUNK):
        column = chunk + lanes
        inside = column < N_IN
        of = tl.sum((enc_end[None, :] <= column[:, None]).to(tl.int32) * known[None, :].to(tl.int32), 1)
        valid = column < tl.sum(n_in, 0)
        start = tl.sum(tl.where(modality[None, :] == of[:, None], enc_start[None, :], 0), 1)
        is_dense = tl.sum(tl.where(modality[None, :] == of[:, None], dense[None, :], 0), 1) > 0
        tl.store(enc_row + column, 0, mask=inside & ~valid)
        tl.store(enc_row + enc_plane + column, tl.where(valid, of, -1), mask=inside)
        tl.store(
            enc_row + 2 * enc_plane + column, tl.where(valid, column - start, 0).to(tl.int32), mask=inside & ~is_dense
        )
        tl.store(enc_valid + b.to(tl.int64) * N_IN + column, valid, mask=inside)
    for chunk in range(0, N_TGT, CHUNK):
        column = chunk + lanes
        inside = column < N_TGT
        of = tl.sum((dec_end[None, :] <= column[:, None]).to(tl.int32) * known[None, :].to(tl.int32), 1)
        valid = column < tl.sum(queries, 0)
        mine = modality[None, :] == of[:, None]
        start = tl.sum(tl.where(mine, dec_start[None, :], 0), 1)
        end = tl.sum(tl.where(mine, dec_end[None, :], 0), 1)
        is_dense = tl.sum(tl.where(mine, dense[None, :], 0), 1) > 0
        tl.store(dec_row + column, 0, mask=inside & (~valid | is_dense))
        tl.store(dec_row + dec_plane + column, IGNORE, mask=inside & ~valid)
        tl.store(dec_row + 2 * dec_plane + column, tl.where(valid, of, -1), mask=inside)
        tl.store(
            dec_row + 3 * dec_plane + column, tl.where(valid, column - start, 0).to(tl.int32), mask=inside & ~is_dense
        )
        tl.store(dec_row + 4 * dec_plane + column, tl.where(valid, start, 0).to(tl.int32), mask=inside)
        end = tl.where(is_dense, end, column + 1)
        tl.store(dec_row + 5 * dec_plane + column, tl.where(valid, end, 0).to(tl.int32), mask=inside)
        tl.store(dec_valid + b.to(tl.int64) * N_TGT + column, valid, mask=inside)

    # Texts: tokens and sentinels.
    for m in tl.static_range(M):
        if SEQUENCE[m]:
            held, masked, starts, run, place = place_text(
                text, modality, zero + m, length, threshold, attempt, sample, seed
            )
            token = tl.load(tokens[m] + b.to(tl.int64) * WIDTHS[m] + text, mask=held, other=0).to(tl.int32)
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
                tl.store(
                    dec_row + dec_plane + element, value, mask=chosen & (element >= first_place) & (element < limit)
                )
            last = to + at(size, modality, m) - 2
            value = first_sentinel + tl.max(run, 0) % sentinels
            if (last >= first_place) & (last < limit):
                tl.store(dec_row + dec_plane + last, value)

    # Dense modalities, R at a time.
    lane = tl.arange(0, LP)[None, :]
    for group in tl.static_range(0, D, R):
        rows = group + tl.arange(0, R)
        m = rows * 0
        low = (rows * 0).to(tl.int64)
        columns = rows * 0 + 1
        race = rows < 0
        for d in tl.static_range(D):
            m = tl.where(rows == d, DENSE[d], m)
            low = tl.where(rows == d, LOW[DENSE[d]], low)
            columns = tl.where(rows == d, COLUMNS[DENSE[d]], columns)
            race = race | ((rows == d) & (RACED[DENSE[d]] != 0))
        mine = (m[:, None] == modality[None, :]) & (rows < D)[:, None]
        held = tl.sum(tl.where(mine, length[None, :], 0), 1)
        shown_count = tl.sum(tl.where(mine, n_in[None, :], 0), 1).to(tl.int32)
        asked_count = tl.sum(tl.where(mine, n_tgt[None, :], 0), 1).to(tl.int32)
        enc_at = tl.sum(tl.where(mine, enc_start[None, :], 0), 1)
        dec_at = tl.sum(tl.where(mine, dec_start[None, :], 0), 1)
        inside = lane < held[:, None]
        weight = tl.full([R, LP], 1.0, tl.float64)
        if WEIGHTED:
            for d in tl.static_range(D):
                if RACED[DENSE[d]]:
                    wanted = inside & (rows == d)[:, None]
                    address = weights[DENSE[d]] + b.to(tl.int64) * WIDTHS[DENSE[d]] + lane + rows[:, None] * 0
                    weight = tl.where(wanted, tl.load(address, mask=wanted, other=1.0).to(tl.float64), weight)
        key = draw_keys(
            rows[:, None], lane, m[:, None], columns[:, None], low[:, None], weight, race[:, None], sample, seed,
            BLOCK, WEIGHTED,
        )  # fmt: skip
        key = tl.where(inside, key, 1 << 62)
        shown_bound = smallest_keys(key, shown_count, TOP)
        chosen_bound = smallest_keys(key, shown_count + asked_count, TOP)
        shown = key <= shown_bound[:, None]
        asked = (key <= chosen_bound[:, None]) & ~shown
        picked = shown | asked
        token = tl.zeros([R, LP], tl.int32)
        for d in tl.static_range(D):
            wanted = picked & (rows == d)[:, None]
            address = tokens[DENSE[d]] + b.to(tl.int64) * WIDTHS[DENSE[d]] + lane + rows[:, None] * 0
            token += tl.load(address, mask=wanted, other=0).to(tl.int32)
        slot = enc_at[:, None] + tl.cumsum(shown.to(tl.int32), 1) - 1
        tl.store(enc_row + slot, token, mask=shown)
        tl.store(enc_row + 2 * enc_plane + slot, lane + rows[:, None] * 0, mask=shown)
        slot = dec_at[:, None] + tl.cumsum(asked.to(tl.int32), 1) - 1
        tl.store(dec_row + dec_plane + slot, token, mask=asked)
        tl.store(dec_row + 3 * dec_plane + slot, lane + rows[:, None] * 0, mask=asked)


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch in one launch, on the GPU of its tokens: the fields of `empty_fields`. Lengths out of range are
    clipped."""
    fields = empty_fields(inputs, spec)
    batch, count = len(inputs.sample_ids), len(spec.names)
    modalities = [spec.modalities[name] for name in spec.names]
    sequence = tuple(int(m.kind == "sequence") for m in modalities)
    dense = tuple(m for m in range(count) if not sequence[m] and inputs.widths[m])
    lanes = _power(max([1, *(inputs.widths[m] for m in dense)]))
    rows = max(1, min(_power(len(dense)), TILE // lanes))
    texts = [min(w, m.max_tokens) for w, m in zip(inputs.widths, modalities, strict=True) if m.kind == "sequence"]
    low_in, high_in, low_tgt, high_tgt = spec.totals
    tables = spec.tables(inputs.sample_ids.device)
    if batch == 0:
        return fields
    mask_kernel[(batch,)](
        tuple(inputs.tokens),
        tuple(inputs.sample_ids if held is None else held for held in inputs.lengths),
        tuple(inputs.sample_ids if weights is None else weights for weights in inputs.weights),
        inputs.sample_ids, seed,
        tables.component_cut, tables.gamma, tables.active, tables.even, tables.remainder_cut, tables.keep,
        *fields, batch,
        low_in, high_in - low_in + 1, low_tgt, high_tgt - low_tgt + 1, spec.first_sentinel, max(spec.sentinels, 1),
        M=count, MP=_power(count), C=spec.components, WIDTHS=tuple(inputs.widths),
        MOST=tuple(m.max_tokens for m in modalities), SEQUENCE=sequence,
        HELD=tuple(int(held is not None) for held in inputs.lengths),
        RACED=tuple(int(weights is not None) for weights in inputs.weights),
        COLUMNS=tuple((m.grid or (1, 1))[1] for m in modalities), LOW=tuple(map(place_mask, inputs.widths)),
        DENSE=dense, D=len(dense), R=rows, LP=lanes, TP=_power(max([1, *texts])),
        N_IN=spec.widths[0], N_TGT=spec.widths[1], CHUNK=min(CHUNK, _power(max(1, *spec.widths))),
        TOP=1 << 52 if spec.strategy == "weighted" else 1 << 32,
        COSINE=spec.strategy == "cosine", PARITY=spec.parity,
        BLOCK=spec.block if spec.strategy == "blockwise" else 0, WEIGHTED=spec.strategy == "weighted",
        num_warps=4 if rows * lanes <= 2048 else 8, enable_fp_fusion=False,
    )  # fmt: skip
    return fields
