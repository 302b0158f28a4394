"""The benchmarks measure what they say and refuse wrong results."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from medmm_kernels import MaskedBatch

sys.path.insert(0, str(Path(__file__).parents[2] / "kernels" / "benchmarks"))

import measure
import operations
from per_sample import PerSampleMasking, word_tokenizer

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "case",
    [
        lambda: operations.masking(4, 64, 49, "short", CPU),
        lambda: operations.masking(4, 64, 49, "long", CPU, parity=True),
        lambda: operations.masking(4, 64, 49, "short", CPU, strategy="weighted"),
        lambda: operations.embedding(2, 8, 64, 49),
        lambda: operations.attention(2, 64, 4, 2, 8),
        lambda: operations.masking(4, 64, 49, "short", CPU, strategy="curriculum"),
        lambda: operations.training(2, 64, 49, CPU, width=64, layers=1)[0],
    ],
)
def test_every_path_passes_its_check(case):
    case().check()


def test_a_wrong_result_is_refused():
    case = operations.masking(2, 64, 49, "short", CPU)
    right = case.paths["batched"]()
    wrong = MaskedBatch(right.encoder._replace(ids=right.encoder.ids + 1), right.decoder)
    with pytest.raises(SystemExit, match=r"encoder\.ids"):
        operations.assert_equal(wrong, right)


def test_masking_one_by_one_meets_the_budgets():
    spec = operations.specification(256, 196, 0.5)
    mask = PerSampleMasking(spec, word_tokenizer(operations.SENTINELS))
    torch.manual_seed(0)
    shown = []
    for sample in operations.samples(300, 196, "short"):
        result = mask(sample)
        dense = [result[name] for name in operations.DENSE]
        assert all(not (~m["input_mask"] & ~m["target_mask"]).any() for m in dense)
        shown.append(sum(int((~m["input_mask"]).sum()) for m in dense))
    assert sum(shown) / 300 == pytest.approx(6 * 32, abs=12)  # 32 of 256 tokens for each of eight modalities


def test_rows_are_appended_with_quantiles(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "bandwidth", lambda device: 1e9)
    for _ in range(2):
        rows = measure.Rows(tmp_path / "rows.csv", CPU)
        rows.add(measure.Times([3e-6, 1e-6, 2e-6], [3e-6]), operation="o", path="p", batch=2, bytes=1000)
    written = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert len(written) == 2
    assert (written[0]["p50_us"], written[0]["cold_us"], written[0]["per_sample_us"]) == ("2.0", "3.0", "1.0")
    assert float(written[0]["bandwidth_share"]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no columns"):
        rows.add(measure.Times([1e-6], [1e-6]), colour="red")


def test_paths_take_turns(monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 1e-9)
    order = []
    times = measure.alternate({name: lambda name=name: order.append(name) for name in "ab"}, seconds=0, least=2)
    assert order == ["a", "b"] * 3
    assert all(len(t.cold) == 2 for t in times.values())
