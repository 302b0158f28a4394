"""Input that makes no sense is refused by name."""

import pytest
import torch

from medmm_kernels import MaskSpec, Modality, mask_batch, token_budgets

DENSE, TEXT = Modality("dense", 9, 1.0, 1.0), Modality("sequence", 5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modalities": {}}, "number of modalities is 0"),
        ({"modalities": {"a": Modality("picture", 9, 1.0, 1.0)}}, "a.kind is 'picture'; expected dense or sequence"),
        ({"modalities": {"a": Modality("dense", 0, 1.0, 1.0)}}, "a.max_tokens is 0"),
        ({"modalities": {"a": Modality("dense", 9, -1.0, 1.0)}}, "a.input_alpha"),
        ({"modalities": {"a": Modality("dense", 9, (1.0, 2.0), (1.0, 2.0, 3.0))}}, "expected 1 or 3 values"),
        ({"modalities": {"a": Modality("sequence", 9, 1.0, 1.0, keep="some")}, "sentinels": 9}, "a.keep"),
        ({"modalities": {"a": TEXT}}, "sentinels is 0; expected 2 or more, as a is a sequence"),
        ({"modalities": {"a": DENSE}, "input_tokens": (5, 2)}, "input_tokens is"),
        ({"modalities": {"a": DENSE}, "strategy": "random"}, "strategy is 'random'"),
        ({"modalities": {"a": DENSE}, "strategy": "blockwise"}, "a.grid is None"),
        ({"modalities": {"a": Modality("dense", 9, 1.0, 1.0, grid=(2, 4))}}, "a.grid is"),
        ({"modalities": {"a": DENSE}, "mixture": (1.0, 2.0)}, "mixture"),
        ({"modalities": {"a": DENSE}, "strategy": "curriculum"}, "first_input_tokens is None"),
        ({"modalities": {"a": DENSE}, "first_input_tokens": 3}, "first_input_tokens is 3; expected None"),
        ({"modalities": {"a": DENSE}, "strategy": "curriculum", "first_input_tokens": (9, 8)}, "first_input_tokens is"),
        ({"modalities": {"a": DENSE}, "target_tokens": 4.0}, "target_tokens is 4.0; expected a whole number"),
        ({"modalities": {"a": DENSE}, "mixture": (float("inf"),)}, "mixture"),
    ],
)
def test_spec(fields, message):
    with pytest.raises(ValueError, match=message):
        MaskSpec(**{"input_tokens": 4, "target_tokens": 4} | fields)


def rows(*shape, dtype=torch.int64):
    return torch.zeros(*shape, dtype=dtype)


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        ({"b": rows(2, 9)}, {}, "tokens\\['b'\\] is of no known modality; expected one of a, t"),
        ({"a": rows(2, 9)}, {"t": rows(2)}, "lengths\\['t'\\] is of no known modality"),
        ({"a": rows(3, 9)}, {}, "tokens\\['a'\\] is \\[3, 9\\] on cpu; expected \\[B, N\\] with B = 2"),
        ({"a": rows(2, 10)}, {}, "tokens\\['a'\\] is \\[2, 10\\]; expected \\[B, at most 9\\]"),
        ({"a": rows(2, 9, dtype=torch.float32)}, {}, "expected int32 or int64"),
        ({"a": rows(2, 9), "t": rows(2, 5, dtype=torch.int32)}, {}, "the same in all modalities"),
        ({"a": rows(2, 9)}, {"a": torch.tensor([9, 10])}, "lengths\\['a'\\]\\[1\\] is 10; expected 0 to 9"),
        ({"a": rows(2, 9)}, {"a": torch.tensor([-1, 9])}, "lengths\\['a'\\]\\[0\\] is -1"),
        ({"a": rows(2, 9)}, {"a": rows(2, 2)}, "lengths\\['a'\\] is \\[2, 2\\] on cpu; expected \\[B\\]"),
        (
            {"a": rows(2, 9)},
            {"a": torch.tensor([1.5, 2.0])},
            "lengths\\['a'\\] is torch.float32; expected whole numbers",
        ),
    ],
)
def test_batch(tokens, lengths, message):
    spec = MaskSpec({"a": DENSE, "t": TEXT}, 4, 4, 1, 2)
    with pytest.raises(ValueError, match=message):
        mask_batch(tokens, lengths, spec, seed=0, sample_ids=torch.arange(2))


@pytest.mark.parametrize(
    ("ids", "seed", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), 0, "sample_ids is \\[2, 2\\]; expected \\[B\\]"),
        (torch.zeros(2), 0, "sample_ids is torch.float32"),
        (torch.arange(2), 1 << 63, "seed is 9223372036854775808; expected"),
    ],
)
def test_samples(ids, seed, message):
    spec = MaskSpec({"a": DENSE}, 4, 4)
    with pytest.raises(ValueError, match=message):
        mask_batch({"a": rows(2, 9)}, {}, spec, seed=seed, sample_ids=ids)
    with pytest.raises(ValueError, match=message):
        token_budgets(spec, rows(2, 1), seed=seed, sample_ids=ids)


def test_weights():
    plain = MaskSpec({"a": DENSE}, 4, 4)
    weighted = MaskSpec({"a": DENSE}, 4, 4, strategy="weighted")
    batch = {"a": rows(2, 9)}, {}
    with pytest.raises(ValueError, match="'weighted' needs weights"):
        mask_batch(*batch, weighted, seed=0, sample_ids=torch.arange(2))
    with pytest.raises(ValueError, match="the strategy is 'uniform'"):
        mask_batch(*batch, plain, seed=0, sample_ids=torch.arange(2), weights={"a": torch.ones(2, 9)})
    for wrong in (torch.ones(2, 8), -torch.ones(2, 9), torch.full((2, 9), torch.nan)):
        with pytest.raises(ValueError, match="weights\\['a'\\]"):
            mask_batch(*batch, weighted, seed=0, sample_ids=torch.arange(2), weights={"a": wrong})


def test_capacities():
    with pytest.raises(ValueError, match="capacities is \\[2, 3\\]; expected \\[2, 1\\]"):
        token_budgets(MaskSpec({"a": DENSE}, 4, 4), rows(2, 3), seed=0, sample_ids=torch.arange(2))
