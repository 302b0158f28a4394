"""Token budgets of a sample."""

import math

import numpy as np
from numba import float64, int64

from medmm_kernels import streams
from medmm_kernels.compiled.bits import below, philox, uniform
from medmm_kernels.compiled.jit import glue, inline, jit

SAMPLE, INPUT_SHARE, INPUT_REMAINDER = streams.SAMPLE, streams.INPUT_SHARE, streams.INPUT_REMAINDER
MODALITY_STEP = streams.MODALITY_STEP
GAMMA_ATTEMPTS, SHARE_ONE = streams.GAMMA_ATTEMPTS, streams.SHARE_ONE
CENTRE, CENTRE_BELOW, MIDDLE, MIDDLE_BELOW, TAIL, TAIL_BELOW = streams.NORMAL_QUANTILE


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


@glue
def settle_budgets(plan, room, length, sequence, inputs, targets, parity, sample, seed):
    """Turn budgets into counts once the texts are corrupted. See naive.settle_budgets.

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
