"""The kernel: one program a sample."""

import triton
import triton.language as tl

from medmm_kernels import streams
from medmm_kernels.fused.bits import HALF_PI, uniform, word
from medmm_kernels.fused.budgets import budgets, fill, shares
from medmm_kernels.fused.rows import complete_decoder, complete_encoder
from medmm_kernels.fused.subset import write_dense
from medmm_kernels.fused.text import at, corrupt_text, place_text, target_window, write_text

SAMPLE = tl.constexpr(streams.SAMPLE)


# Triton would compile anew, and with Python numbers, for a batch, a seed or a total of 1.
@triton.jit(
    do_not_specialize=["seed", "batch", "low_in", "span_in", "low_tgt", "span_tgt", "first_sentinel", "sentinels"]
)
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
            _, _, starts, run, place = place_text(text, modality, zero + m, length, threshold, attempt, sample, seed)
            begin, count = target_window(
                starts, run, place, zero + m, at(size, modality, m), at(n_tgt, modality, m), sample, seed
            )
            queries = tl.where(modality == m, count, queries)
            begins = tl.where(modality == m, begin, begins)
    enc_end, dec_end = tl.cumsum(n_in, 0), tl.cumsum(queries, 0)
    enc_start, dec_start = enc_end - n_in, dec_end - queries

    # Constant fields and padding, then the tokens: texts, and dense modalities, R at a time.
    enc_plane, dec_plane = batch.to(tl.int64) * N_IN, batch.to(tl.int64) * N_TGT
    enc_row, dec_row = enc + b.to(tl.int64) * N_IN, dec + b.to(tl.int64) * N_TGT
    complete_encoder(
        enc_row, enc_plane, enc_valid + b.to(tl.int64) * N_IN, modality, known, dense, enc_start, enc_end, N_IN, CHUNK
    )
    complete_decoder(
        dec_row, dec_plane, dec_valid + b.to(tl.int64) * N_TGT, modality, known, dense, dec_start, dec_end, N_TGT, CHUNK
    )
    for m in tl.static_range(M):
        if SEQUENCE[m]:
            write_text(
                enc_row, dec_row, dec_plane, tokens[m] + b.to(tl.int64) * WIDTHS[m], text, modality, zero + m,
                length, threshold, attempt, b_in, size, begins, queries, enc_start, dec_start,
                first_sentinel, sentinels, sample, seed,
            )  # fmt: skip
    for group in tl.static_range(0, D, R):
        write_dense(
            enc_row, enc_plane, dec_row, dec_plane, tokens, weights, b.to(tl.int64), group + tl.arange(0, R),
            modality, length, n_in, n_tgt, enc_start, dec_start, sample, seed,
            DENSE, D, R, LP, WIDTHS, LOW, COLUMNS, RACED, TOP, BLOCK, WEIGHTED,
        )  # fmt: skip
