"""Which dense places are shown and asked for, on a tile of modalities × places."""

import triton
import triton.language as tl

from medmm_kernels import streams
from medmm_kernels.fused.bits import uniform, word

MODALITY = tl.constexpr(streams.MODALITY)
SUBSET = tl.constexpr(streams.SUBSET)
MODALITY_STEP = tl.constexpr(streams.MODALITY_STEP)
RACE_SHIFT = tl.constexpr(streams.RACE_SHIFT)


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
def write_dense(
    enc_row, enc_plane, dec_row, dec_plane, tokens, weights, b, rows,
    modality, length, n_in, n_tgt, enc_start, dec_start, sample, seed,
    DENSE: tl.constexpr, D: tl.constexpr, R: tl.constexpr, LP: tl.constexpr, WIDTHS: tl.constexpr,
    LOW: tl.constexpr, COLUMNS: tl.constexpr, RACED: tl.constexpr, TOP: tl.constexpr, BLOCK: tl.constexpr,
    WEIGHTED: tl.constexpr,
):  # fmt: skip
    """Pick and write the places of the dense modalities number `rows` [R], on R × LP lanes."""
    lane = tl.arange(0, LP)[None, :]
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
                address = weights[DENSE[d]] + b * WIDTHS[DENSE[d]] + lane + rows[:, None] * 0
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
        address = tokens[DENSE[d]] + b * WIDTHS[DENSE[d]] + lane + rows[:, None] * 0
        token += tl.load(address, mask=wanted, other=0).to(tl.int32)
    slot = enc_at[:, None] + tl.cumsum(shown.to(tl.int32), 1) - 1
    tl.store(enc_row + slot, token, mask=shown)
    tl.store(enc_row + 2 * enc_plane + slot, lane + rows[:, None] * 0, mask=shown)
    slot = dec_at[:, None] + tl.cumsum(asked.to(tl.int32), 1) - 1
    tl.store(dec_row + dec_plane + slot, token, mask=asked)
    tl.store(dec_row + 3 * dec_plane + slot, lane + rows[:, None] * 0, mask=asked)
