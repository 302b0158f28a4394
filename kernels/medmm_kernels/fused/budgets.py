"""Token budgets of a sample, on as many lanes as there are modalities."""

import triton
import triton.language as tl

from medmm_kernels import streams
from medmm_kernels.fused.bits import philox, uniform, word

SAMPLE = tl.constexpr(streams.SAMPLE)
INPUT_SHARE = tl.constexpr(streams.INPUT_SHARE)
INPUT_REMAINDER = tl.constexpr(streams.INPUT_REMAINDER)
MODALITY_STEP = tl.constexpr(streams.MODALITY_STEP)
GAMMA_ATTEMPTS = tl.constexpr(streams.GAMMA_ATTEMPTS)
SHARE_ONE = tl.constexpr(streams.SHARE_ONE)
CENTRE, CENTRE_BELOW, MIDDLE, MIDDLE_BELOW, TAIL, TAIL_BELOW = (tl.constexpr(c) for c in streams.NORMAL_QUANTILE)
NEVER = tl.constexpr(-1e300)


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
