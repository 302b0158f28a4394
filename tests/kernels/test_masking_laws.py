"""What holds for every masked batch, whatever the numbers drawn."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medmm_kernels import MaskSpec, Modality, mask_batch, token_budgets

from .batches import FIRST_SENTINEL, FIRST_TOKEN, assert_same, eight, eight_tokens

SENTINELS = 7


@st.composite
def problems(draw):
    """A spec with dense modalities and texts, and a batch for it: some modalities short, empty or missing."""
    rows = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    modalities, tokens, lengths = {}, {}, {}
    alphas = st.sampled_from([0.0, 0.01, 0.2, 1.0, 20.0])
    for i in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["dense", "sequence"]))
        name, width = f"{kind}{i}", draw(st.integers(1, 70))
        modalities[name] = Modality(kind, width, draw(alphas), draw(alphas))
        if draw(st.integers(0, 5)):
            # token k of a dense row is its own place, so that it can be recognised
            tokens[name] = (
                torch.arange(width).expand(rows, -1).contiguous()
                if kind == "dense"
                else torch.randint(FIRST_TOKEN, 9000, (rows, width), generator=generator)
            )
            lengths[name] = torch.randint(0, width + 1, (rows,), generator=generator)
    totals = [tuple(sorted((draw(st.integers(0, 150)), draw(st.integers(0, 150))))) for _ in range(2)]
    spec = MaskSpec(modalities, *totals, FIRST_SENTINEL, SENTINELS, parity=draw(st.booleans()))
    return spec, tokens, lengths, torch.randint(0, 2**62, (rows,), generator=generator), draw(st.integers(0, 2**62))


def masked(problem):
    spec, tokens, lengths, ids, seed = problem
    return mask_batch(tokens, lengths, spec, seed=seed, sample_ids=ids)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_dense_places_are_distinct_disjoint_and_held(problem):
    spec, _, lengths, ids, _ = problem
    result = masked(problem)
    for m, name in enumerate(spec.names):
        if spec.modalities[name].kind == "dense":
            for row in range(len(ids)):
                shown, asked = (side.modality[row] == m for side in (result.encoder, result.decoder))
                places = torch.cat([result.encoder.position[row][shown], result.decoder.position[row][asked]])
                held = int(lengths[name][row]) if name in lengths else 0
                assert len(places.unique()) == len(places)
                assert (places < held).all()
                contents = torch.cat([result.encoder.ids[row][shown], result.decoder.targets[row][asked]])
                assert torch.equal(contents, places)  # the token of each place was gathered


@settings(max_examples=150, deadline=None)
@given(problems())
def test_rows_are_packed_in_blocks_with_their_segments(problem):
    spec = problem[0]
    result = masked(problem)
    for side, width in zip(result, spec.widths, strict=True):
        assert side.ids.shape == side.valid.shape == (len(problem[3]), width)
        assert torch.equal(side.valid, side.modality >= 0)
        assert torch.equal(side.valid.int().sort(descending=True).values, side.valid.int())
        known = torch.where(side.valid, side.modality, len(spec.names))
        assert (known.diff() >= 0).all()
    decoder, place = result.decoder, torch.arange(spec.widths[1])
    sequence = torch.tensor([spec.modalities[name].kind == "sequence" for name in spec.names])
    for row in range(len(problem[3])):
        for m in decoder.modality[row][decoder.valid[row]].unique():
            block = place[decoder.modality[row] == m]
            assert (decoder.start[row][block] == block[0]).all()
            ends = block + 1 if sequence[m] else torch.full_like(block, int(block[-1]) + 1)
            assert torch.equal(decoder.end[row][block].long(), ends)
    padding = ~decoder.valid
    assert (decoder.targets[padding] == -100).all()
    for field in (decoder.start, decoder.end, decoder.ids, decoder.position):
        assert (field[padding] == 0).all()


@settings(max_examples=150, deadline=None)
@given(problems())
def test_totals_and_budgets_are_met(problem):
    spec, _, lengths, ids, seed = problem
    used = masked(problem).encoder.valid.sum(1)
    low, high, _, high_tgt = spec.totals
    zeros = torch.zeros_like(ids)
    capacities = torch.stack([lengths.get(name, zeros) for name in spec.names], 1)
    inputs, targets = token_budgets(spec, capacities, seed=seed, sample_ids=ids)
    assert (inputs.sum(1) <= high).all()
    assert (targets.sum(1) <= high_tgt).all()
    if not spec.parity:
        alpha = torch.tensor([spec.modalities[name].input_alpha for name in spec.names])
        wanted = capacities * ((alpha > 0) | (alpha == 0).all())
        full = wanted.sum(1) >= high
        assert (inputs.sum(1)[full] >= low).all()
        dense = torch.tensor([spec.modalities[name].kind == "dense" for name in spec.names])
        enough = (wanted * dense).sum(1) >= high  # whatever the texts leave, dense tokens can take
        assert (used[enough] >= low).all()
        if low == high:
            assert (used[enough] == high).all()


def restored(inputs, target):
    """The text that a corrupted input and its target tell together."""
    runs, text = [], []
    for token in target:
        if token < FIRST_TOKEN:
            runs.append([])
        else:
            runs[-1].append(token)
    for token in inputs:
        text += runs.pop(0) if token < FIRST_TOKEN else [token]
    return text, runs


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.integers(0, 2**40))
def test_text_is_restored_by_merging_input_and_target(length, budget, parity, sample_id):
    length = min(length, 28) if parity else length  # the target, at most twice as long, is cut at max_tokens in parity
    spec = MaskSpec({"text": Modality("sequence", 60, 1.0, 1.0)}, budget, 200, FIRST_SENTINEL, SENTINELS, parity=parity)
    tokens = torch.arange(FIRST_TOKEN, FIRST_TOKEN + 60)[None]
    result = mask_batch(
        {"text": tokens}, {"text": torch.tensor([length])}, spec, seed=1, sample_ids=torch.tensor([sample_id])
    )
    inputs = result.encoder.ids[0][result.encoder.valid[0]].tolist()
    queries = result.decoder.valid[0]
    read, asked = result.decoder.ids[0][queries].tolist(), result.decoder.targets[0][queries].tolist()
    assert read[1:] == asked[:-1]  # each place predicts what the next one reads
    if not read:  # nothing is masked: the target is one sentinel, which leaves nothing to predict
        assert inputs == tokens[0, :length].tolist()
        return
    target = [read[0], *asked]
    text, left = restored(inputs, target)
    assert text == tokens[0, :length].tolist()
    assert left == [[]]  # the last sentinel ends the target
    assert target[0] == FIRST_SENTINEL
    sentinels = [t for t in target if t < FIRST_TOKEN]
    assert sentinels == [FIRST_SENTINEL + k % SENTINELS for k in range(len(sentinels))]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**40))
def test_target_too_long_is_cut_to_a_window_that_starts_at_a_sentinel(places, sample_id):
    def target(places):
        """What the decoder's row of so many places reads and predicts. No sentinel repeats."""
        spec = MaskSpec({"text": Modality("sequence", 60, 1.0, 1.0)}, 20, places, first_sentinel=1, sentinels=61)
        row = mask_batch({"text": tokens}, {}, spec, seed=1, sample_ids=torch.tensor([sample_id])).decoder
        return [*row.ids[0][row.valid[0]][:1].tolist(), *row.targets[0][row.valid[0]].tolist()]

    tokens = torch.arange(100, 160)[None]
    whole, window = target(200), target(places)
    if len(whole) <= places + 1:
        assert window == whole
        return
    first = whole.index(window[0]) if window else len(whole) - 1
    sentinels = [i for i, token in enumerate(whole) if token < 100]
    assert window == whole[first : first + len(window)]
    assert first in sentinels  # a last sentinel alone leaves nothing to predict
    if len(window) < places + 1:  # then it is the longest tail that fits
        assert first + len(window) == len(whole) or not window
        assert not [i for i in sentinels if i < first and len(whole) - i <= places + 1]


def test_a_sample_is_masked_alike_in_every_batch():
    spec = eight(0.3)
    tokens, lengths = eight_tokens(40)
    whole = mask_batch(tokens, lengths, spec, seed=11, sample_ids=torch.arange(40) * 977)
    chosen = torch.tensor([31, 5, 17])
    part = mask_batch(
        {name: rows[chosen] for name, rows in tokens.items()},
        {name: n[chosen] for name, n in lengths.items()},
        spec,
        seed=11,
        sample_ids=chosen * 977,
    )
    assert_same(part, type(whole)(*(type(side)(*(field[chosen] for field in side)) for side in whole)))


def test_seed_and_sample_id_change_the_mask():
    spec, (tokens, lengths) = eight(), eight_tokens(1)
    masks = [
        mask_batch(tokens, lengths, spec, seed=seed, sample_ids=torch.tensor([sample_id])).encoder.position.tolist()
        for seed, sample_id in ((0, 0), (1, 0), (2**32, 0), (0, 1), (0, 2**32))
    ]
    assert all(a != b for i, a in enumerate(masks) for b in masks[:i])


def p_of_equal_places(positions, width):
    """p value of a chi-square test: is every place picked equally often? positions [B, k], distinct in a row."""
    counts = torch.bincount(positions.flatten().long(), minlength=width)
    # Drawn without replacement: the counts vary less than the multinomial of the test, by this factor.
    share = positions.shape[1] / width
    statistic = float(((counts - counts.double().mean()) ** 2 / counts.double().mean()).sum()) / (1 - share)
    return stats.chi2.sf(statistic, width - 1)


@pytest.mark.parametrize("width", [7, 63, 196])
def test_every_place_and_every_pair_is_picked_equally_often(width):
    spec = MaskSpec({"a": Modality("dense", width, 1.0, 1.0)}, width // 3, width // 4)
    n = 30_000
    result = mask_batch({"a": torch.zeros(n, width, dtype=torch.int32)}, {}, spec, seed=3, sample_ids=torch.arange(n))
    for positions in (result.encoder.position, result.decoder.position):
        assert 1e-4 < p_of_equal_places(positions, width) < 1 - 1e-4
    shown = torch.zeros(n, width).scatter_(1, result.encoder.position.long(), 1)
    together = (shown.T @ shown)[torch.triu(torch.ones(width, width), 1).bool()]
    k = width // 3
    expected = n * k * (k - 1) / (width * (width - 1))
    spread = float(((together - expected) ** 2 / expected).mean())
    # Counts of pairs hang together through those of places: over seeds the spread has a standard deviation of 0.04.
    assert spread == pytest.approx(1 - expected / n, abs=0.2 if width > 7 else 5 * (2 / len(together)) ** 0.5)


def test_the_chi_square_test_can_fail():
    generator = torch.Generator().manual_seed(0)
    keys = torch.rand(30_000, 63, generator=generator)
    assert p_of_equal_places(keys.argsort(1)[:, :21], 63) > 1e-4
    keys[:, 5] *= 0.9  # one place is a little more likely to be picked
    assert p_of_equal_places(keys.argsort(1)[:, :21], 63) < 1e-4


def test_default_mode_fills_the_encoder():
    tokens, lengths = eight_tokens(2000)
    for alpha in (0.05, 0.2, 1.0, 20.0):
        for budget in (32, 256, 1024):
            result = mask_batch(tokens, lengths, eight(alpha, budget), seed=0, sample_ids=torch.arange(2000))
            assert result.encoder.valid.float().mean() >= 0.99


def test_blockwise_places_lie_together():
    tokens, lengths = eight_tokens(200)

    def neighbours(strategy):
        spec = eight(1.0, strategy=strategy)
        encoder = mask_batch(tokens, lengths, spec, seed=0, sample_ids=torch.arange(200)).encoder
        grid = torch.zeros(200, 196)
        for row in range(200):
            grid[row, encoder.position[row][encoder.modality[row] == spec.names.index("tok_rgb@224")].long()] = 1
        grid = grid.view(-1, 14, 14)
        return float((grid[:, :, 1:] * grid[:, :, :-1]).sum() / grid.sum())

    assert neighbours("blockwise") > 2 * neighbours("uniform")


def test_weights_decide_how_often_a_place_is_picked():
    n, width = 20_000, 20
    spec = MaskSpec({"a": Modality("dense", width, 1.0, 0.0)}, 1, 0, strategy="weighted")
    weights = torch.tensor([0.0] + [1.0] * 10 + [3.0] * 9)
    result = mask_batch(
        {"a": torch.zeros(n, width, dtype=torch.int64)},
        {},
        spec,
        seed=0,
        sample_ids=torch.arange(n),
        weights={"a": weights.expand(n, -1)},
    )
    counts = torch.bincount(result.encoder.position.flatten().long(), minlength=width).double()
    assert counts[0] == 0
    expected = weights.double() / weights.sum() * n
    assert stats.chisquare(counts[1:].numpy(), expected[1:].numpy()).pvalue > 1e-3


def test_cosine_schedule_shows_few_tokens_more_often():
    spec = MaskSpec({"a": Modality("dense", 100, 1.0, 1.0)}, (0, 99), 0, strategy="cosine")
    n = 20_000
    shown = mask_batch({"a": torch.zeros(n, 100, dtype=torch.int64)}, {}, spec, seed=0, sample_ids=torch.arange(n))
    counts = torch.bincount(shown.encoder.valid.sum(1), minlength=100)
    # P(1 − cos(πu/2) < x) = 2/π · arccos(1 − x)
    edges = 2 / torch.pi * torch.arccos(1 - torch.linspace(0, 1, 101, dtype=torch.float64))
    assert stats.chisquare(counts.numpy(), (edges.diff() * n).numpy()).pvalue > 1e-3


def test_curriculum_moves_the_input_range():
    spec = MaskSpec(
        {"a": Modality("dense", 100, 1.0, 1.0)},
        (10, 20),
        10,
        strategy="curriculum",
        first_input_tokens=(80, 90),
        progress=0.0,
    )
    tokens = {"a": torch.zeros(300, 100, dtype=torch.int64)}
    for progress, (low, high) in ((0.0, (80, 90)), (0.5, (45, 55)), (1.0, (10, 20))):
        result = mask_batch(tokens, {}, spec.at(progress), seed=0, sample_ids=torch.arange(300))
        assert result.encoder.ids.shape == (300, 90)  # the width stays
        shown = result.encoder.valid.sum(1)
        assert (shown.min(), shown.max()) == (low, high)


def test_works_inside_torch_compile_as_one_graph():
    spec, (tokens, lengths) = eight(), eight_tokens(4)

    def step(tokens, lengths, ids):
        return mask_batch(tokens, lengths, spec, seed=5, sample_ids=ids)

    ids = torch.arange(4)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert_same(compiled(tokens, lengths, ids), step(tokens, lengths, ids))


def test_a_spec_from_another_process_is_its_own():
    spec = eight(0.3)
    copy = pickle.loads(pickle.dumps(spec))  # noqa: S301 - its own, as a DataLoader sends it to its workers
    assert copy == spec
    assert copy.handle != spec.handle
    assert MaskSpec.of_handle(copy.handle) is copy
