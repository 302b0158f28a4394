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


def test_batched_and_compiled_agree_on_many_samples():
    tokens, lengths = eight_tokens(400)
    for spec in (eight(0.2), eight(1.0, parity=True), eight(0.5, 2048)):
        assert_same(masked(batched, tokens, lengths, spec), masked(compiled, tokens, lengths, spec))


def test_every_place_is_written(monkeypatch):
    """Results start as memory full of −1 and True: what a path does not write would show."""
    tokens, lengths = eight_tokens(3)
    spec = eight(parity=True)
    expected = masked(naive, tokens, lengths, spec)
    empty = torch.empty

    def poisoned(*size, dtype=None, **kwargs):
        memory = empty(*size, dtype=dtype, **kwargs)
        return memory.fill_(True if dtype == torch.bool else -1)

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
