"""The specification vectorised over the batch: plain PyTorch, any device.

By default there is no host synchronisation on a GPU and no data-dependent shape, so that it runs under `torch.compile`
and CUDA graphs. In `parity`, texts are redrawn until they fit, which waits for the device once a redraw.
"""

import math

import numpy as np
import torch

from . import streams
from .batch import IGNORE, NO_MODALITY, Inputs, held_lengths, place_mask
from .naive import MASK32, NO_TOKEN
from .spec import KEEPS, MaskSpec, Tables

FULL = 1 << 32


def philox(block: torch.Tensor, stream: torch.Tensor | int, samples: torch.Tensor, seed: int) -> list[torch.Tensor]:
    """The four words of blocks, as int64: Philox4x32-7. The arguments broadcast."""
    stream = torch.as_tensor(stream, device=samples.device)
    a, b, c, d = torch.broadcast_tensors(block, stream, samples & MASK32, samples >> 32 & MASK32)
    key0, key1 = seed & MASK32, seed >> 32 & MASK32
    for _ in range(streams.PHILOX_ROUNDS):
        high, low = a * 0xD2511F53, c * 0xCD9E8D57  # modulo 2^64, which keeps all bits
        a = (low >> 32).bitwise_and_(MASK32).bitwise_xor_(b).bitwise_xor_(key0)
        c = (high >> 32).bitwise_and_(MASK32).bitwise_xor_(d).bitwise_xor_(key1)
        b, d = low.bitwise_and_(MASK32), high.bitwise_and_(MASK32)
        key0, key1 = key0 + 0x9E3779B9 & MASK32, key1 + 0xBB67AE85 & MASK32
    return [a, b, c, d]


def words(count: int, stream: int, samples: torch.Tensor, seed: int) -> torch.Tensor:
    """The first `count` words of a stream. samples [B] → [B, count]."""
    block = torch.arange((count + 3) // 4, device=samples.device)[None]
    return torch.stack(philox(block, stream, samples[:, None], seed), dim=-1).flatten(1)[:, :count]


def uniform(word: torch.Tensor) -> torch.Tensor:
    """Numbers in (0, 1), float64."""
    return (word.double() + 0.5) * streams.WORD


def cosine_share(word: torch.Tensor) -> torch.Tensor:
    """1 − cos(πu/2): the share that stays visible under MaskGIT's cosine schedule."""
    return 1 - torch.cos(math.pi / 2 * uniform(word))


def gamma_variates(gamma: torch.Tensor, samples: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See naive.gamma_variate: all attempts at once, of which the first accepted counts. gamma [B, 2, M, 3] → [B, 2,
    M]."""
    device = samples.device
    side = torch.arange(2, device=device)[:, None, None]
    modality = torch.arange(gamma.shape[2], device=device)[:, None]
    attempt = torch.arange(streams.GAMMA_ATTEMPTS, device=device)
    stream = streams.INPUT_SHARE + side + streams.MODALITY_STEP * modality  # [2, M, 1]
    drawn = philox(attempt, stream, samples[:, None, None, None], seed)  # [B, 2, M, attempts]
    u1, u2, u3 = (uniform(word) for word in drawn[:3])
    d, c, _ = gamma.unsqueeze(-2).unbind(-1)
    x = torch.special.ndtri(u1)
    root = (c * x).add_(1)
    v = root * root * root
    accepted = (root > 0) & (u2.log_() < (0.5 * x).mul_(x).add_(d).sub_(d * v).add_(d * v.abs().log_()))
    first = accepted.int().argmax(-1, keepdim=True)
    hit = accepted.gather(-1, first)
    g = d * torch.where(hit, v.gather(-1, first), 1.0)
    last = torch.where(hit, first, streams.GAMMA_ATTEMPTS - 1)
    return g[..., 0], u3.gather(-1, last)[..., 0].log()


def shares(
    tables: Tables, component: torch.Tensor, present: torch.Tensor, samples: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """See naive.shares; of inputs and of targets. component [B], present [B, M] → 2 × int64 [B, M]."""
    active = tables.active[component].bool() & present[:, None]  # [B, 2, M]
    gamma = tables.gamma[component]
    g, log_u = gamma_variates(gamma, samples, seed)
    exponent = torch.where(active, gamma[..., 2] * log_u, -math.inf)
    top = exponent.amax(2, keepdim=True).clamp_(min=-1e300)  # finite where nothing is active
    scaled = g * (exponent - top).exp_()
    largest = scaled.amax(2, keepdim=True).clamp_(min=1e-300)
    weights = (scaled / largest * streams.SHARE_ONE).floor_().long() + 1
    weights = torch.where(tables.even[component][..., None].bool(), 1, weights) * active
    return weights[:, 0], weights[:, 1]


def fill(
    budget: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor, room: torch.Tensor, word: torch.Tensor
) -> torch.Tensor:
    """See naive.fill. budget, weights, room [B, M], tokens, word [B] → [B, M]. As many rounds as modalities suffice."""
    for _ in range(budget.shape[1]):
        open_weights = weights * (budget < room)
        upto = open_weights.cumsum(1)
        total = upto[:, -1:].clamp(min=1)
        offset = word[:, None] * total >> 32
        upper = (tokens[:, None] * upto + offset) // total
        # No modality before the first: the offset is below the total.
        share = torch.diff(upper, dim=1, prepend=torch.zeros_like(upper[:, :1])).minimum((room - budget).clamp(min=0))
        budget = budget + share
        tokens = tokens - share.sum(1)
        if budget.device.type == "cpu" and not torch.compiler.is_compiling() and not (tokens > 0).any():
            break
    return budget


class Draw:
    """The random words of a batch, and what its budgets are drawn from: component, totals, shares. See naive.totals."""

    def __init__(self, spec: MaskSpec, lengths: torch.Tensor, seed: int, samples: torch.Tensor) -> None:
        """lengths [M, B]."""
        self.spec, self.seed, self.samples = spec, seed, samples
        self.tables = spec.tables(samples.device)
        first, second, third, _, self.round_in, self.round_tgt, *_ = self.words(8, streams.SAMPLE).unbind(1)
        self.component = (self.tables.component_cut <= first[:, None]).sum(1)
        self.totals = []
        for word, low, high in ((second, *spec.totals[:2]), (third, *spec.totals[2:])):
            span = high - low + 1
            self.totals.append(
                low + ((cosine_share(word) * span).long() if spec.strategy == "cosine" else word * span >> 32)
            )
        present = (lengths.T > 0) | spec.parity
        self.weights = shares(self.tables, self.component, present, samples, seed)

    def words(self, count: int, purpose: int, m: int = 0, attempt: int = 0) -> torch.Tensor:
        """The first words of a stream. → [B, count]."""
        stream = purpose + streams.MODALITY_STEP * m + streams.ATTEMPT_STEP * attempt
        return words(count, stream, self.samples, self.seed)

    def budget(self, side: int, room: torch.Tensor) -> torch.Tensor:
        """Budgets [B, M] of one side, at most `room` [B, M]."""
        tokens, weights = self.totals[side], self.weights[side]
        if not self.spec.parity:
            return fill(torch.zeros_like(room), tokens, weights, room, (self.round_in, self.round_tgt)[side])
        budget = tokens[:, None] * weights // weights.sum(1, keepdim=True)
        drawn = self.words(weights.shape[1], streams.INPUT_REMAINDER + side)
        chosen = (self.tables.remainder_cut[self.component, side][:, None] <= drawn[..., None]).sum(
            -1
        )  # [B, left over]
        used = torch.arange(drawn.shape[1], device=drawn.device) < (tokens - budget.sum(1))[:, None]
        return budget.scatter_add(1, chosen, used.long()).minimum(room)

    def budgets(self, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See naive.token_budgets. lengths [M, B] → 2 × [B, M]."""
        room = self.tables.max_tokens.expand_as(lengths.T) if self.spec.parity else lengths.T
        b_in = self.budget(0, room)
        return b_in, self.budget(1, room - b_in * (1 - self.tables.sequence))


def token_budgets(capacities: torch.Tensor, spec: MaskSpec, seed: int, sample_ids: torch.Tensor) -> list[torch.Tensor]:
    """Input and target budgets [B, M] of samples that hold `capacities` [B, M] tokens."""
    return list(Draw(spec, capacities.T, seed, sample_ids).budgets(capacities.T))


class Rows:
    """Rows of the encoder or decoder under construction: modality after modality, packed to the left.

    A place is one integer, token · 2^32 + (modality + 1) · 2^16 + position, so that one scatter writes it. Selecting by
    arithmetic is several times faster on a CPU than `torch.where`.
    """

    def __init__(self, batch: int, width: int, padding: int, device: torch.device) -> None:
        # One more column takes what is not chosen.
        self.packed = torch.full((batch, width + 1), padding << 32, dtype=torch.int64, device=device)
        self.read = torch.zeros(batch, width + 1, dtype=torch.int32, device=device)
        self.ends = [torch.zeros(batch, dtype=torch.int64, device=device)]
        self.width = width

    def write(
        self,
        size: torch.Tensor,
        index: torch.Tensor,
        chosen: torch.Tensor,
        places: torch.Tensor,
        read: torch.Tensor | None = None,
    ) -> None:
        """Put the chosen columns of `places` at `index` (from 1) behind what is written; `size` [B] are chosen."""
        at = self.ends[-1][:, None] - 1
        slot = (~chosen).long().bitwise_left_shift_(20).add_(index).add_(at).clamp_(max=self.width)
        self.packed.scatter_(1, slot, places)
        if read is not None:
            self.read.scatter_(1, slot, read.int())
        self.ends.append(self.ends[-1] + size)

    def fields(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """What was read, the token, modality, position and validity of every place."""
        packed = self.packed[:, :-1]
        modality = ((packed >> 16 & 0xFFFF) - 1).int()
        return (
            self.read[:, :-1],
            (packed >> 32).int(),
            modality,
            (packed & 0xFFFF).int(),
            modality > NO_MODALITY,
        )


def pack(m: int, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Places of modality m as integers. See Rows."""
    return (tokens.long() << 32).add_(position + (m + 1 << 16))


class Text:
    """Span corruption of one modality of a batch. T columns."""

    def __init__(self, m: int, tokens: torch.Tensor, length: torch.Tensor, budget: torch.Tensor, draw: Draw) -> None:
        """tokens [B, T], length, budget [B]."""
        self.m, self.draw, self.length, self.budget, self.tokens = m, draw, length, budget, tokens.long()
        self.held = torch.arange(tokens.shape[1], device=length.device) < length[:, None]
        self.words = draw.words(tokens.shape[1], streams.SPAN, m)
        self.keep_word, self.window_word = draw.words(2, streams.MODALITY, m).unbind(1)
        self.threshold = self.redraw_to_fit() if draw.spec.parity else self.fit()
        self.masked = self.held & (self.words >= self.threshold[:, None])
        self.starts = self.masked & ~shifted(self.masked)
        self.run = self.starts.cumsum(1)
        self.runs, self.hidden = self.starts.sum(1), self.masked.sum(1)
        self.n_in = (length - self.hidden + self.runs) * (budget > 0)
        self.n_tgt = self.hidden + self.runs + 1

    def share(self) -> torch.Tensor:
        """The drawn share of kept tokens [B]."""
        keep = self.draw.tables.keep[self.draw.component, self.m]
        cosine = self.draw.spec.strategy == "cosine"
        drawn = cosine_share(self.keep_word) if cosine else uniform(self.keep_word)
        drawn = torch.where(keep == KEEPS.index("binary"), (self.keep_word >= 1 << 31).double(), drawn)
        return torch.where(keep == KEEPS.index("all"), 1.0, drawn)

    def fit(self) -> torch.Tensor:
        """The threshold [B] below which a token's word keeps it. See naive.corrupt_to_fit.

        In the order of their words, every token that becomes kept adds as many tokens as it has neighbours with larger
        words; the first that makes the input too long is the threshold.
        """
        before, after = shifted(self.words, -1), shifted(self.words * self.held + self.held.long() - 1, -1, left=True)
        gain = (before > self.words).long() + (after >= self.words)
        last = torch.full_like(self.budget[:, None], FULL << 2)
        ordered = sorted_rows(torch.where(self.held, (self.words << 2) + gain, last))
        size = 1 + (ordered & 3).cumsum(1)
        fitting = torch.cat([torch.where(size > self.budget[:, None], ordered, last), last], 1).amin(1) >> 2
        return (self.share() * FULL).long().minimum(fitting) * (self.budget > 0)

    def redraw_to_fit(self) -> torch.Tensor:
        """Parity: lower keep and redraw the samples whose input is too long, until all fit."""
        share = self.share()
        for attempt in range(1, streams.SHORTEST_KEEP):
            threshold = (share * FULL).long() * (self.budget > 0)
            masked = self.held & (self.words >= threshold[:, None])
            size = self.length - masked.sum(1) + (masked & ~shifted(masked)).sum(1)
            too_long = (size > self.budget) & (self.budget > 0)
            if not too_long.any():
                break
            share = torch.where(too_long, share * streams.KEEP_DECAY, share)
            drawn = self.draw.words(self.words.shape[1], streams.SPAN, self.m, attempt)
            self.words = torch.where(too_long[:, None], drawn, self.words)
        return threshold

    def write_input(self, rows: Rows) -> None:
        """Kept tokens, and a sentinel for each run of masked ones."""
        shown = ((self.held & ~self.masked) | self.starts) & (self.budget > 0)[:, None]
        index = shown.cumsum(1)
        ids = torch.where(self.masked, self.sentinels(), self.tokens)
        rows.write(self.n_in, index, shown, pack(self.m, ids, index - 1))

    def sentinels(self) -> torch.Tensor:
        """The sentinel of the run that a masked token starts."""
        return self.draw.spec.first_sentinel + (self.run - 1) % self.draw.spec.sentinels

    def write_target(self, budget: torch.Tensor, rows: Rows) -> None:
        """Sentinel and tokens of every run and a last sentinel, cut to a window, each place predicting the next."""
        spec, end = self.draw.spec, self.n_tgt[:, None] - 1
        at = (self.masked.cumsum(1) + self.run - 1).clamp(min=0)
        columns = 2 * self.tokens.shape[1] + 2
        target, dump = self.tokens.new_zeros(len(at), columns), columns - 1
        target.scatter_(1, torch.where(self.masked, at, dump), self.tokens)
        target.scatter_(1, torch.where(self.starts, at - 1, dump), self.sentinels())
        target.scatter_(1, end, spec.first_sentinel + (self.runs % spec.sentinels)[:, None])

        sentinel_at = torch.where(self.starts, at - 1, columns)
        chosen = self.window_word * self.runs.clamp(min=1) >> 32
        begin = (sentinel_at * (self.starts & (self.run - 1 == chosen[:, None]))).sum(1)
        tail = torch.where(sentinel_at >= (self.n_tgt - budget)[:, None], sentinel_at, end)
        begin = torch.where(self.n_tgt - begin >= budget, begin, torch.cat([tail, end], 1).amin(1))
        begin = begin * (self.n_tgt > budget)
        size = ((self.n_tgt - begin).minimum(budget) - 1) * (budget > 0)

        index = torch.arange(columns - 1, device=at.device).expand(len(at), -1)
        source = (begin[:, None] + index).clamp(max=columns - 2)
        read, asked = target.gather(1, source), target.gather(1, source + 1)
        rows.write(size, index + 1, index < size[:, None], pack(self.m, asked, index), read)


def shifted(rows: torch.Tensor, edge: float | bool = False, left: bool = False, extend: bool = False) -> torch.Tensor:
    """Rows moved one column to the right (or left), `edge` coming in; the last column is kept when they `extend`."""
    border = rows.new_full((len(rows), 1), edge)
    moved = torch.cat([rows, border] if left else [border, rows], 1)
    return moved if extend else moved[:, 1:] if left else moved[:, :-1]


def keys(m: int, inputs: Inputs, draw: Draw) -> torch.Tensor:
    """Keys of the places of a dense modality: int64, unique in a row, ending in the place. → [B, N_m]."""
    spec, width, weights = draw.spec, inputs.widths[m], inputs.weights[m]
    low, place = place_mask(width), torch.arange(width, device=inputs.sample_ids.device)
    if spec.strategy == "blockwise":
        rows, columns = spec.modalities[spec.names[m]].grid
        shift = draw.words(2, streams.MODALITY, m) * spec.block >> 32
        y, x = place // columns + shift[:, :1], place % columns + shift[:, 1:]
        stride = columns // spec.block + 2
        blocks = draw.words((rows // spec.block + 2) * stride, streams.SUBSET, m)
        drawn = blocks.gather(1, y // spec.block * stride + x // spec.block)
    else:
        drawn = draw.words(width, streams.SUBSET, m)
    if weights is None:
        return (drawn & ~low).bitwise_or_(place)
    race = -uniform(drawn).log() / weights.double()
    return race.view(torch.int64) >> streams.RACE_SHIFT & ~low | place


def write_dense(
    m: int, inputs: Inputs, length: torch.Tensor, n_in: torch.Tensor, n_tgt: torch.Tensor, draw: Draw, rows: list[Rows]
) -> None:
    """Write modality m: the n_in [B] places with the smallest keys, and the next n_tgt [B]."""
    place = torch.arange(inputs.widths[m], device=length.device)
    key = keys(m, inputs, draw)
    if inputs.lengths[m] is not None:
        key = key.masked_fill(place >= length[:, None], torch.iinfo(torch.int64).max)
    ordered = shifted(sorted_rows(key), -1, extend=True)  # column k: the k-th smallest key
    shown, chosen = (key <= ordered.gather(1, count[:, None]) for count in (n_in, n_in + n_tgt))
    shown_index, chosen_index = shown.cumsum(1), chosen.cumsum(1)
    places = pack(m, inputs.tokens[m], place)
    rows[0].write(n_in, shown_index, shown, places)
    rows[1].write(n_tgt, chosen_index.sub_(shown_index), shown ^ chosen, places)


def sorted_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows in ascending order. On a CPU NumPy sorts them in vector instructions, several times faster than PyTorch."""
    if rows.device.type == "cpu" and not torch.compiler.is_compiling():
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(1).values


def settle_budgets(
    draw: Draw, lengths: torch.Tensor, b_in: torch.Tensor, b_tgt: torch.Tensor, texts: dict[int, Text]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn budgets into counts once the texts are corrupted. See naive.mask_sample. → 2 × [B, M]."""
    length, sequence = lengths.T, draw.tables.sequence
    dense = 1 - sequence
    n_in = b_in.minimum(length) * dense
    n_tgt = torch.zeros_like(n_in)
    for m, text in texts.items():
        n_in[:, m], n_tgt[:, m] = text.n_in, text.n_tgt
    if draw.spec.parity:
        return n_in, torch.where(sequence.bool(), b_tgt, b_tgt.minimum(length - n_in))
    n_in = fill(n_in, draw.totals[0] - n_in.sum(1), draw.weights[0] * dense, length * dense, draw.round_in)
    room = (n_tgt - 1) * sequence + (length - n_in) * dense
    places = fill(torch.zeros_like(room), draw.totals[1], draw.weights[1], room, draw.round_tgt)
    return n_in, places + sequence * (places > 0)


def mask_fields(inputs: Inputs, spec: MaskSpec, seed: int) -> list[torch.Tensor]:
    """Mask a batch on the device of its tokens: the fields of `batch.empty_fields`."""
    samples = inputs.sample_ids
    lengths = held_lengths(inputs, spec)
    draw = Draw(spec, lengths, seed, samples)
    b_in, b_tgt = draw.budgets(lengths)
    texts = {}
    for m, name in enumerate(spec.names):
        if spec.modalities[name].kind == "sequence":
            tokens = inputs.tokens[m][:, : spec.modalities[name].max_tokens]
            texts[m] = Text(m, tokens, lengths[m], b_in[:, m], draw)
    n_in, n_tgt = settle_budgets(draw, lengths, b_in, b_tgt, texts)

    encoder = Rows(len(samples), spec.widths[0], NO_TOKEN, samples.device)
    decoder = Rows(len(samples), spec.widths[1], IGNORE, samples.device)
    for m, width in enumerate(inputs.widths):
        if m in texts:
            texts[m].write_input(encoder)
            texts[m].write_target(n_tgt[:, m], decoder)
        elif width:
            write_dense(m, inputs, lengths[m], n_in[:, m], n_tgt[:, m], draw, [encoder, decoder])
        else:
            encoder.ends.append(encoder.ends[-1])
            decoder.ends.append(decoder.ends[-1])

    _, ids, *places = encoder.fields()
    read, targets, modality, position, valid = decoder.fields()
    known, ends = modality.clamp(min=0).long(), torch.stack(decoder.ends, 1)
    place = torch.arange(decoder.width, dtype=torch.int32, device=samples.device)
    causal = draw.tables.sequence.int()[known]
    end = (place + 1) * causal + ends[:, 1:].int().gather(1, known) * (1 - causal)
    start = ends[:, :-1].int().gather(1, known)
    decoded = torch.stack([read, targets, modality, position, start * valid, end * valid])
    return [torch.stack([ids, *places[:2]]), places[2], decoded, valid]
