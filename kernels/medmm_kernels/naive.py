"""The specification: one sample at a time, in loops over Python numbers.

This is what every faster path must give, bit for bit. It follows the public 4M code (Mizrahi et al. 2023, "4M:
Massively multimodal masked modeling", section 2.2 and its data loader) in `parity`, and says where the default differs.
"""

import itertools
import math
import struct
from statistics import NormalDist
from typing import NamedTuple

import torch

from medmm_kernels import streams
from medmm_kernels.batch import IGNORE, NO_MODALITY, NO_TOKEN, Inputs, as_batch, empty_fields, held_lengths, place_mask
from medmm_kernels.spec import KEEPS, MaskSpec
from medmm_kernels.streams import MASK32

NORMAL = NormalDist()


class EncoderToken(NamedTuple):
    """A visible token. `position` is the place of a dense token, the index among the kept ones of a text token."""

    id: int
    modality: int
    position: int


class DecoderToken(NamedTuple):
    """A query: what it reads, what it must predict, and the decoder places [start, end) it may attend to."""

    id: int
    target: int
    modality: int
    position: int
    start: int
    end: int


class Bits:
    """The random words of one sample. Philox4x32-7: Salmon et al. 2011, section 5.2."""

    def __init__(self, seed: int, sample_id: int) -> None:
        self.key = (seed & MASK32, seed >> 32 & MASK32)
        self.sample = (sample_id & MASK32, sample_id >> 32 & MASK32)

    def block(self, stream: int, block: int) -> tuple[int, int, int, int]:
        """The four words of a block of a stream."""
        a, b, c, d = block, stream, *self.sample
        key0, key1 = self.key
        for _ in range(streams.PHILOX_ROUNDS):
            high, low = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = low >> 32 ^ b ^ key0, low & MASK32, high >> 32 ^ d ^ key1, high & MASK32
            key0, key1 = key0 + 0x9E3779B9 & MASK32, key1 + 0xBB67AE85 & MASK32
        return a, b, c, d

    def word(self, purpose: int, index: int = 0, modality: int = 0, attempt: int = 0) -> int:
        """Word `index` of the stream of a purpose, in [0, 2^32)."""
        stream = purpose + streams.MODALITY_STEP * modality + streams.ATTEMPT_STEP * attempt
        return self.block(stream, index // 4)[index % 4]


def below(word: int, n: int) -> int:
    """An integer in [0, n) from a word."""
    return word * n >> 32


def uniform(word: int) -> float:
    """A number in (0, 1) from a word."""
    return (word + 0.5) * streams.WORD


def gamma_variate(bits: Bits, purpose: int, modality: int, d: float, c: float) -> tuple[float, float]:
    """A variate of Gamma(α) is g · U^(1/α), the second factor for α < 1 only; returns g and log U.

    Marsaglia and Tsang 2000, with a normal variate by the inverse distribution function.
    """
    for attempt in range(streams.GAMMA_ATTEMPTS):
        stream = purpose + streams.MODALITY_STEP * modality
        u1, u2, u3, _ = (uniform(word) for word in bits.block(stream, attempt))
        x = NORMAL.inv_cdf(u1)
        root = 1 + c * x
        v = root * root * root
        if root > 0 and math.log(u2) < 0.5 * x * x + d - d * v + d * math.log(v):
            break
    else:
        v = 1.0
    return d * v, math.log(u3)


def shares(bits: Bits, spec: MaskSpec, component: int, side: int, present: list[bool]) -> list[int]:
    """A Dirichlet sample as integer weights: the largest share is 2^24, a modality that is left out 0.

    A Dirichlet sample is gamma variates over their sum; U^(1/α), which underflows for small α, is kept as a logarithm.
    """
    tables = spec.arrays
    active = [bool(tables.active[component, side, m]) and present[m] for m in range(len(present))]
    if tables.even[component, side] or not any(active):
        return [int(a) for a in active]
    purpose, gammas, exponents = (streams.INPUT_SHARE, streams.TARGET_SHARE)[side], {}, {}
    for m in (m for m, a in enumerate(active) if a):
        d, c, boost = tables.gamma[component, side, m].tolist()
        gammas[m], log_u = gamma_variate(bits, purpose, m, d, c)
        exponents[m] = boost * log_u
    top = max(exponents.values())
    scaled = {m: gammas[m] * math.exp(exponents[m] - top) for m in gammas}
    largest = max(scaled.values())
    return [math.floor(scaled[m] / largest * streams.SHARE_ONE) + 1 if a else 0 for m, a in enumerate(active)]


def fill(budget: list[int], tokens: int, weights: list[int], room: list[int], word: int) -> list[int]:
    """Add `tokens` to `budget` in proportion to `weights`; what exceeds `room` goes to those that have room.

    Fractions are rounded systematically (Madow 1949): every share is met in expectation and all tokens are placed.
    """
    budget = list(budget)
    while tokens > 0:
        open_weights = [w if b < r else 0 for w, b, r in zip(weights, budget, room, strict=True)]
        total = sum(open_weights)
        if total == 0:
            break
        offset = word * total >> 32
        upto, placed = 0, 0
        for m, weight in enumerate(open_weights):
            lower = (tokens * upto + offset) // total
            upto += weight
            share = min((tokens * upto + offset) // total - lower, max(room[m] - budget[m], 0))
            budget[m] += share
            placed += share
        tokens -= placed
    return budget


def parity_budget(
    bits: Bits, spec: MaskSpec, component: int, side: int, tokens: int, weights: list[int], room: list[int]
) -> list[int]:
    """4M's budgets: floor of the shares, left-over tokens to the arg-max of fresh Dirichlet samples, surplus lost."""
    total = sum(weights)
    budget = [tokens * w // total for w in weights]
    cuts = spec.arrays.remainder_cut[component, side].tolist()
    purpose = (streams.INPUT_REMAINDER, streams.TARGET_REMAINDER)[side]
    for r in range(tokens - sum(budget)):
        word = bits.word(purpose, r)
        budget[sum(cut <= word for cut in cuts)] += 1
    return [min(b, r) for b, r in zip(budget, room, strict=True)]


class Span(NamedTuple):
    """A corrupted text: which tokens are masked, and how many tokens the input and the target then have."""

    masked: list[bool]
    input: int
    target: int


def corrupt(length: int, budget: int, words: list[int], threshold: int) -> Span:
    """Mask the tokens whose word is not below the threshold. One sentinel stands for each run of masked tokens."""
    masked = [word >= threshold for word in words[:length]]
    runs = sum(m and (i == 0 or not masked[i - 1]) for i, m in enumerate(masked))
    kept = length - sum(masked)
    return Span(masked, kept + runs if budget > 0 else 0, sum(masked) + runs + 1)


def corrupt_to_fit(bits: Bits, spec: MaskSpec, modality: int, keep: int, length: int, budget: int) -> Span:
    """Span corruption with a drawn keep share, of which the input holds at most `budget` tokens.

    In parity, keep is lowered by a tenth and the mask redrawn until it fits. By default the mask is drawn once and the
    threshold is the largest that fits: input length never falls as it rises, because a token that becomes kept adds one
    token, and one run less, as many, or one more.
    """

    def words(attempt: int) -> list[int]:
        return [bits.word(streams.SPAN, i, modality, attempt) for i in range(length)]

    word = bits.word(streams.MODALITY, 0, modality)
    if KEEPS[keep] == "all":
        share = 1.0
    elif KEEPS[keep] == "binary":
        share = float(word >= 1 << 31)
    elif spec.strategy == "cosine":
        share = 1 - math.cos(math.pi / 2 * uniform(word))
    else:
        share = uniform(word)
    if budget == 0:
        return corrupt(length, 0, words(0), 0)
    if spec.parity:
        for attempt in range(streams.SHORTEST_KEEP):
            span = corrupt(length, budget, words(attempt), math.floor(share * 2.0**32))
            if span.input <= budget:
                break
            share *= streams.KEEP_DECAY
        return span
    drawn = math.floor(share * 2.0**32)
    thresholds = [drawn, *sorted((w for w in words(0) if w < drawn), reverse=True), 0]
    return next(s for t in thresholds if (s := corrupt(length, budget, words(0), t)).input <= budget)


def text_pair(tokens: list[int], span: Span, spec: MaskSpec) -> tuple[list[int], list[int]]:
    """Input and target of a corrupted text: sentinel k for run k; the target ends with one more sentinel."""
    inputs, targets, runs = [], [], 0
    for i, token in enumerate(tokens):
        if not span.masked[i]:
            inputs.append(token)
            continue
        if i == 0 or not span.masked[i - 1]:
            inputs.append(spec.first_sentinel + runs % spec.sentinels)
            targets.append(spec.first_sentinel + runs % spec.sentinels)
            runs += 1
        targets.append(token)
    return inputs, [*targets, spec.first_sentinel + runs % spec.sentinels]


def cut_target(target: list[int], starts: list[int], budget: int, word: int) -> list[int]:
    """Cut a target that is too long to a window from a random sentinel (not the last), or to a tail that fits.

    `starts` are the places of the sentinels in the target, the last one included.
    """
    if len(target) <= budget:
        return target
    start = starts[below(word, max(1, len(starts) - 1))]
    if len(target) - start >= budget:
        return target[start : start + budget]
    return target[next(s for s in starts if len(target) - s <= budget) :]


def subset(
    bits: Bits, spec: MaskSpec, modality: int, length: int, width: int, weights: list[float] | None
) -> list[int]:
    """The places of a dense modality in the order in which they are picked: by key, which ends in the place itself."""
    low = place_mask(width)
    _, columns = spec.arrays.grid[modality].tolist()
    shift_y, shift_x = (below(bits.word(streams.MODALITY, i, modality), spec.block) for i in (0, 1))

    def key(place: int) -> int:
        if spec.strategy == "blockwise":
            y, x = divmod(place, columns)
            block = (y + shift_y) // spec.block * (columns // spec.block + 2) + (x + shift_x) // spec.block
            return bits.word(streams.SUBSET, block, modality) & ~low | place
        word = bits.word(streams.SUBSET, place, modality)
        if weights is None:
            return word & ~low | place
        race = -math.log(uniform(word)) / weights[place] if weights[place] > 0 else math.inf
        return struct.unpack("<q", struct.pack("<d", race))[0] >> streams.RACE_SHIFT & ~low | place

    return sorted(range(length), key=key)


def totals(bits: Bits, spec: MaskSpec) -> tuple[int, int, int]:
    """Mixture component and the totals of input and target tokens."""
    words = [bits.word(streams.SAMPLE, i) for i in range(3)]
    component = sum(cut <= words[0] for cut in spec.arrays.component_cut.tolist())
    drawn = []
    for word, low, high in zip(words[1:], spec.totals[::2], spec.totals[1::2], strict=True):
        if spec.strategy == "cosine":
            drawn.append(low + math.floor((1 - math.cos(math.pi / 2 * uniform(word))) * (high - low + 1)))
        else:
            drawn.append(low + below(word, high - low + 1))
    return component, drawn[0], drawn[1]


def token_budgets(spec: MaskSpec, lengths: list[int], seed: int, sample_id: int) -> tuple[list[int], list[int]]:
    """Input and target budgets of one sample whose modalities hold `lengths` tokens, before any text is corrupted."""
    bits = Bits(seed, sample_id)
    component, inputs, targets = totals(bits, spec)
    tables = spec.arrays
    most, sequence = tables.max_tokens.tolist(), tables.sequence.tolist()
    room = most if spec.parity else [min(n, most[m]) for m, n in enumerate(lengths)]

    def budget(side: int, tokens: int, room: list[int]) -> list[int]:
        weights = shares(bits, spec, component, side, [spec.parity or n > 0 for n in lengths])
        if spec.parity:
            return parity_budget(bits, spec, component, side, tokens, weights, room)
        return fill([0] * len(room), tokens, weights, room, bits.word(streams.SAMPLE, 4 + side))

    b_in = budget(0, inputs, room)
    return b_in, budget(1, targets, [r if s else r - b for r, b, s in zip(room, b_in, sequence, strict=True)])


def settle_budgets(
    bits: Bits, spec: MaskSpec, length: list[int], budgets: tuple[list[int], list[int]], spans: dict[int, Span]
) -> tuple[list[int], list[int]]:
    """Turn budgets into counts once the texts are corrupted: given tokens, and target tokens or dense queries.

    By default, what the texts did not use goes to dense modalities; target budgets then know exactly what is left.
    """
    (b_in, b_tgt), modalities = budgets, range(len(length))
    n_in = [spans[m].input if m in spans else min(b_in[m], length[m]) for m in modalities]
    if spec.parity:
        return n_in, [b_tgt[m] if m in spans else min(b_tgt[m], length[m] - n_in[m]) for m in modalities]
    component, inputs, targets = totals(bits, spec)
    present = [n > 0 for n in length]
    w_in, w_tgt = (shares(bits, spec, component, side, present) for side in (0, 1))
    w_in, dense = ([0 if m in spans else row[m] for m in modalities] for row in (w_in, length))
    n_in = fill(n_in, inputs - sum(n_in), w_in, dense, bits.word(streams.SAMPLE, 4))
    room = [spans[m].target - 1 if m in spans else length[m] - n_in[m] for m in modalities]
    places = fill([0] * len(length), targets, w_tgt, room, bits.word(streams.SAMPLE, 5))
    return n_in, [p + 1 if m in spans and p > 0 else p for m, p in enumerate(places)]


def windowed(bits: Bits, modality: int, target: list[int], masked: list[bool], budget: int) -> list[int]:
    """The target of a text, cut to its budget; empty without one."""
    if budget == 0:
        return []
    runs = [i for i, hit in enumerate(masked) if hit and (i == 0 or not masked[i - 1])]
    starts = [sum(masked[:i]) + r for r, i in enumerate(runs)] + [len(target) - 1]
    return cut_target(target, starts, budget, bits.word(streams.MODALITY, 1, modality))


def mask_sample(
    tokens: dict[str, list[int]],
    widths: dict[str, int],
    spec: MaskSpec,
    seed: int,
    sample_id: int,
    weights: dict[str, list[float]] | None = None,
) -> tuple[list[EncoderToken], list[DecoderToken]]:
    """Mask one sample. `tokens` holds what each modality has (nothing where it is missing), `widths` the row widths."""
    bits = Bits(seed, sample_id)
    tables, component = spec.arrays, totals(bits, spec)[0]
    held = [list(tokens.get(name, ()))[: spec.modalities[name].max_tokens] for name in spec.names]
    length = [len(h) for h in held]
    b_in, b_tgt = token_budgets(spec, length, seed, sample_id)
    spans = {
        m: corrupt_to_fit(bits, spec, m, int(tables.keep[component, m]), length[m], b_in[m])
        for m, sequence in enumerate(tables.sequence.tolist())
        if sequence
    }
    n_in, n_tgt = settle_budgets(bits, spec, length, (b_in, b_tgt), spans)

    encoder, decoder = [], []
    for m, name in enumerate(spec.names):
        start = len(decoder)
        if m in spans:
            text, target = text_pair(held[m], spans[m], spec)
            if b_in[m] > 0:
                encoder += [EncoderToken(token, m, i) for i, token in enumerate(text)]
            target = windowed(bits, m, target, spans[m].masked, n_tgt[m])
            pairs = enumerate(itertools.pairwise(target))
            decoder += [DecoderToken(read, asked, m, i, start, start + i + 1) for i, (read, asked) in pairs]
        else:
            order = subset(bits, spec, m, length[m], widths.get(name, 0), (weights or {}).get(name))
            encoder += [EncoderToken(held[m][i], m, i) for i in sorted(order[: n_in[m]])]
            asked = sorted(order[n_in[m] : n_in[m] + n_tgt[m]])
            decoder += [DecoderToken(NO_TOKEN, held[m][i], m, i, start, start + len(asked)) for i in asked]
    return encoder, decoder


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch one sample at a time: the fields of `batch.empty_fields`."""
    fields = empty_fields(inputs, spec)
    result = as_batch(fields)
    for side, padding in (
        (result.encoder, (0, NO_MODALITY, 0, 0)),
        (result.decoder, (0, IGNORE, NO_MODALITY, 0, 0, 0, 0)),
    ):
        for tensor, value in zip(side, padding, strict=True):
            tensor.fill_(value)
    widths, lengths = dict(zip(spec.names, inputs.widths, strict=True)), held_lengths(inputs, spec).T.tolist()
    for b, sample_id in enumerate(inputs.sample_ids.tolist()):
        tokens = {n: inputs.tokens[m][b, : lengths[b][m]].tolist() for m, n in enumerate(spec.names)}
        weights = {n: w[b].tolist() for n, w in zip(spec.names, inputs.weights, strict=True) if w is not None}
        encoder, decoder = mask_sample(tokens, widths, spec, seed, sample_id, weights)
        for side, rows in ((result.encoder, encoder), (result.decoder, decoder)):
            for tensor, column in zip(side, zip(*rows, strict=True), strict=False):
                tensor[b, : len(rows)] = torch.tensor(column, dtype=tensor.dtype)
            side.valid[b, : len(rows)] = True
    return fields
