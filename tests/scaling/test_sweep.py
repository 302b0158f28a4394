import pytest

import medmm_lib.data
from medmm_lib.fourm import preparation
from medmm_lib.fourm.experiment import Setup
from medmm_lib.scaling import sweep as sweeps
from medmm_lib.scaling.compute import encoder_decoder_flops, layer_weights
from medmm_lib.scaling.sweep import grid, sweep

SETUP = Setup("tiny", ("1: patches -> caption",), (64, 64), (16, 16), 1, 4, 3e-3, 0)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    parts = {split: part.select(range(12)) for split, part in medmm_lib.data.load("phantom").items()}
    tokenisers = preparation.train_tokenisers(
        parts["train"], ["patches", "caption"], folder, side=64, patch=8, vocabulary_size=400, longest_text=24,
        visual={}, seed=0,
    )  # fmt: skip
    return preparation.as_studies(
        tokenisers, {"phantom": parts}, [1.0], folder / "tokens", fingerprints={"phantom": "f"}, count=1, seed=0
    )


def test_the_grid_holds_every_width_and_budget_cheap_ones_first():
    cells = grid(SETUP, [64, 32], [5, 2], [0, 1])
    assert len(cells) == 8
    assert [(cell.shape["width"], cell.steps) for cell in cells[::2]] == [(32, 2), (32, 5), (64, 2), (64, 5)]
    assert {cell.shape["heads"] for cell in cells} == {1, 2}


def test_finished_cells_are_not_trained_again(studies, tmp_path, monkeypatch):
    small = sweep(grid(SETUP, [32], [2], [0]), studies, tmp_path)
    trained = []
    train = sweeps.train
    monkeypatch.setattr(
        sweeps, "train", lambda cell, *given, **named: trained.append(cell) or train(cell, *given, **named)
    )
    both = sweep(grid(SETUP, [32], [2, 3], [0]), studies, tmp_path)
    assert [cell.steps for cell in trained] == [3]
    assert both.iloc[0].to_dict() == small.iloc[0].to_dict()
    assert len((tmp_path / "sweep.jsonl").read_text().splitlines()) == 2


def test_a_row_says_what_was_trained(studies, tmp_path):
    cell = grid(SETUP, [32], [3], [0])[0]
    row = sweep([cell], studies, tmp_path).iloc[0]
    shape = cell.model(studies).shape
    assert row["parameters"] == layer_weights(shape)
    assert row["tokens"] <= 3 * 4 * (64 + 16)
    assert row["tokens"] >= 3 * 4 * 64
    vocabulary = shape.spaces["caption"].vocabulary_size
    assert row["flops"] == pytest.approx(3 * 4 * encoder_decoder_flops(shape, 64, 16, vocabulary), rel=0.05)
    assert 0 < row["loss"] < 10
    assert [step for step, _ in row["curve"]] == [1, 2, 3]
