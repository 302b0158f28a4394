"""Every path gives what the specification in loops gives, bit for bit."""

import pytest
import torch

from medmm_kernels import MaskSpec, Modality, batch, batched, compiled, fused, naive

from .batches import FIRST_SENTINEL, FIRST_TOKEN, assert_same, eight, eight_tokens, masked

FAST = {"batched": batched, "compiled": compiled, "fused": fused}
GPU = torch.cuda.is_available()


def assert_paths_agree(tokens, lengths, spec, weights=None, **kwargs):
    expected = masked(naive, tokens, lengths, spec, weights=weights, **kwargs)
    for path in FAST.values():
        assert_same(masked(path, tokens, lengths, spec, weights=weights, **kwargs), expected)


def random_tokens(rows, generator, **widths):
    return {name: torch.randint(FIRST_TOKEN, 9000, (rows, w), generator=generator) for name, w in widths.items()}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("strategy", ["uniform", "blockwise", "cosine", "weighted", "curriculum"])
def test_eight_modalities(strategy, parity, generator):
    first = 64 if strategy == "curriculum" else None
    spec = eight(strategy=strategy, parity=parity, first_input_tokens=first, progress=0.5 if first else 1.0)
    tokens, lengths = eight_tokens(3)
    weights = {"tok_rgb@224": torch.rand(3, 196, generator=generator)} if strategy == "weighted" else None
    assert_paths_agree(tokens, lengths, spec, weights, sample_ids=torch.arange(3) + 2**33)


@pytest.mark.parametrize("width", [1, 63, 196, 1000])
@pytest.mark.parametrize("budget", ["none", "one", "all"])
def test_odd_sizes_and_extreme_budgets(width, budget, generator):
    total = {"none": 0, "one": 1, "all": 2 * width}[budget]
    spec = MaskSpec({"a": Modality("dense", width, 1.0, 1.0), "b": Modality("dense", width, 1.0, 1.0)}, total, total)
    assert_paths_agree(random_tokens(2, generator, a=width, b=width), {}, spec)


@pytest.mark.parametrize("parity", [False, True])
def test_empty_missing_and_padded_modalities(parity, generator):
    spec = MaskSpec(
        {
            "dense": Modality("dense", 63, 0.5, 0.5),
            "empty": Modality("dense", 17, 0.5, 0.5),
            "missing": Modality("dense", 17, 0.5, 0.5),
            "text": Modality("sequence", 40, 0.5, 0.5),
            "missing_text": Modality("sequence", 40, 0.5, 0.5),
        },
        (20, 60),
        (0, 60),
        FIRST_SENTINEL,
        9,
        parity=parity,
    )
    tokens = random_tokens(4, generator, dense=63, empty=17, text=50)
    lengths = {"dense": torch.tensor([63, 1, 0, 30]), "empty": torch.zeros(4, dtype=torch.int64)}
    lengths["text"] = torch.tensor([50, 0, 1, 33])
    assert_paths_agree(tokens, lengths, spec)


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("keep", ["uniform", "all", "binary"])
def test_texts_that_need_300_sentinels(keep, parity, generator):
    spec = MaskSpec(
        {"text": Modality("sequence", 1024, 1.0, 1.0, keep=keep)}, 900, (1, 1400), FIRST_SENTINEL, 200, parity=parity
    )
    tokens = random_tokens(4, generator, text=1024)
    assert_paths_agree(tokens, {}, spec)
    if keep == "uniform":
        runs = [masked(compiled, tokens, {}, spec, seed=s).encoder for s in range(20)]
        sentinels = [((e.ids < FIRST_TOKEN) & e.valid).sum(1).max().item() for e in runs]
        assert max(sentinels) > 240  # more than there are names for them


def test_mixture_of_unequal_and_even_components(generator):
    spec = MaskSpec(
        {
            "a": Modality("dense", 30, (0.1, 0.0, 5.0), (2.0, 0.0, 0.0)),
            "b": Modality("dense", 40, (3.0, 0.0, 0.01), (0.2, 0.0, 1.0)),
            "t": Modality("sequence", 25, (1.0, 0.0, 0.5), (1.0, 0.0, 0.5), keep=("uniform", "binary", "all")),
        },
        (5, 50),
        (5, 50),
        FIRST_SENTINEL,
        5,
        mixture=(0.5, 0.2, 0.3),
    )
    tokens = random_tokens(6, generator, a=30, b=40, t=25)
    assert_paths_agree(tokens, {}, spec)
    parity = MaskSpec(**{f: getattr(spec, f) for f in ("modalities", "input_tokens", "target_tokens", "mixture")},
                      first_sentinel=FIRST_SENTINEL, sentinels=5, parity=True)  # fmt: skip
    assert_paths_agree(tokens, {}, parity)


def test_one_modality_one_sample_int32(generator):
    spec = MaskSpec({"a": Modality("dense", 5, 1.0, 1.0)}, 3, 2)
    tokens = {"a": torch.randint(0, 9, (1, 5), generator=generator, dtype=torch.int32)}
    assert_paths_agree(tokens, {}, spec, sample_ids=torch.tensor([2**40]), seed=2**50)


@pytest.mark.parametrize("sample", [0, -1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("seed", [-1, 2**63 - 1, -(2**63)])
def test_every_sample_id_and_seed_counts(sample, seed, generator):
    spec = MaskSpec({"a": Modality("dense", 5, 1.0, 1.0), "t": Modality("sequence", 5, 1.0, 1.0)}, 3, 2, 1, 4)
    assert_paths_agree(random_tokens(1, generator, a=5, t=5), {}, spec, sample_ids=torch.tensor([sample]), seed=seed)


@pytest.mark.parametrize("rows", [0, 3])
def test_empty_batches_and_empty_rows(rows, generator):
    spec = MaskSpec({"a": Modality("dense", 5, 1.0, 1.0), "t": Modality("sequence", 5, 1.0, 1.0)}, 3, 2, 1, 4)
    assert_paths_agree(random_tokens(rows, generator, a=0, t=0), {}, spec)


def test_a_weight_of_minus_zero_is_no_weight(generator):
    spec = MaskSpec({"a": Modality("dense", 5, 1.0, 1.0)}, 2, 2, strategy="weighted")
    weights = {"a": torch.tensor([[1.0, 1.0, -0.0, 1.0, 1.0]])}
    assert_paths_agree(random_tokens(1, generator, a=5), {}, spec, weights)


@pytest.mark.parametrize("parity", [False, True])
def test_budgets_agree(parity):
    spec, ids = eight(0.3, parity=parity), torch.arange(30)
    capacities = torch.randint(0, 200, (30, 8), generator=torch.Generator().manual_seed(0))
    budgets = [torch.stack(path.token_budgets(capacities, spec, 5, ids)) for path in (batched, compiled)]
    loops = [naive.token_budgets(spec, row.tolist(), 5, k) for k, row in enumerate(capacities)]
    assert torch.equal(budgets[0], budgets[1])
    assert torch.equal(budgets[0], torch.tensor(loops).transpose(0, 1))


def test_batched_and_compiled_agree_on_many_samples():
    tokens, lengths = eight_tokens(400)
    for spec in (eight(0.2), eight(1.0, parity=True), eight(0.5, 2048)):
        assert_same(masked(batched, tokens, lengths, spec), masked(compiled, tokens, lengths, spec))


@pytest.mark.parametrize("poison", [-7, 7])
def test_every_place_is_written(poison, monkeypatch):
    """Results start as memory full of ±7, and of True or False: what a path does not write would show."""
    tokens, lengths = eight_tokens(3)
    spec = eight(parity=True)
    expected = masked(naive, tokens, lengths, spec)
    empty = torch.empty

    def poisoned(*size, dtype=None, **kwargs):
        memory = empty(*size, dtype=dtype, **kwargs)
        return memory.fill_(poison > 0 if dtype == torch.bool else poison)

    for path in (compiled, fused):
        with monkeypatch.context() as patch:
            patch.setattr(batch.torch, "empty", poisoned)
            result = masked(path, tokens, lengths, spec)
        assert_same(result, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("parity", [False, True])
def test_native_kernel_on_many_samples(parity):
    tokens, lengths = eight_tokens(2000)
    spec = eight(parity=parity)
    expected = masked(compiled, tokens, lengths, spec)
    on_gpu = [{name: tensor.cuda() for name, tensor in d.items()} for d in (tokens, lengths)]
    for path in (fused, batched):
        result = masked(path, *on_gpu, spec, sample_ids=torch.arange(2000).cuda())
        assert_same(type(result)(*(type(s)(*(f.cpu() for f in s)) for s in result)), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("path", [fused, batched])
def test_masking_runs_in_a_cuda_graph_without_waiting_for_the_device(path):
    """One sample too: Triton treats a number of 1 specially."""
    for rows in (1, 64):
        tokens, lengths = ({n: t.cuda() for n, t in d.items()} for d in eight_tokens(rows))
        spec, ids = eight(), torch.arange(rows).cuda()
        given = batch.inputs(tokens, lengths, spec, ids)
        path.mask_fields(given, spec, 3)  # compiles, and copies the spec's tables
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            path.mask_fields(given, spec, 3)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = path.mask_fields(given, spec, 3)
        ids += 100  # the capture reads the ids anew
        graph.replay()
        torch.cuda.synchronize()
        expected = path.mask_fields(batch.inputs(tokens, lengths, spec, ids), spec, 3)
        assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))
