"""Loops over the samples of a batch."""

from typing import NamedTuple

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from medmm_kernels import streams
from medmm_kernels.compiled.budgets import draw_budgets, draw_totals, settle_budgets
from medmm_kernels.compiled.jit import glue, jit
from medmm_kernels.compiled.rows import LANES, finish_row
from medmm_kernels.compiled.subset import block_keys, draw_race, partition, uniform_keys, write_places
from medmm_kernels.compiled.text import corrupt_text, write_text

RACE_BITS = 63 - streams.RACE_SHIFT


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
