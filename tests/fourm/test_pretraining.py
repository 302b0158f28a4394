import pytest
import torch

from medmm_lib import training
from medmm_lib.fourm import Space, pretraining
from medmm_lib.fourm.tokens import Tokens
from tests.fourm import small

STRATEGIES = [
    {}, {"strategy": "blockwise", "block": 2}, {"strategy": "cosine"},
    {"strategy": "curriculum", "first_input_tokens": (4, 8)},
]  # fmt: skip


def run(folder, steps=6, model=None, data=None, spec=None, **options):
    model = model or small.model()
    settings = {"steps": steps, "batch_size": 4, "learning_rate": 2e-3, "seed": 0, "evaluations": 2} | options
    held_out = small.tokens(8)
    return model, pretraining.pretrain(
        model, data or [small.tokens(8)], held_out, spec or small.spec(), folder, **settings
    )


def test_losses_of_every_modality_are_measured_before_and_after(tmp_path):
    _, trainer = run(tmp_path, steps=40)
    logged = [entry for entry in trainer.state.log_history if "eval_all" in entry]
    assert [entry["step"] for entry in logged] == [0, 20, 40]
    for name in ("all", "image", "map", "caption", "boxes"):
        assert logged[-1][f"eval_{name}"] < logged[0][f"eval_{name}"]
    assert "eval_patches" not in logged[0]


def test_held_out_losses_do_not_depend_on_the_training_seed_or_the_batch():
    model, held_out, spec = small.model(), small.tokens(7), small.spec()
    losses = pretraining.held_out_losses(model, held_out, spec)
    assert pretraining.held_out_losses(model, held_out, spec) == losses
    sums, counts = pretraining.sample_losses(model, held_out, spec)
    assert sums.shape == counts.shape == (7, 5)
    assert losses["all"] == pytest.approx(float(sums.sum() / counts.sum()))
    assert counts.sum() > pretraining.EVALUATION_DRAWS * 7 * 15  # every study under every mask


@pytest.mark.parametrize("stop_after", [2, 5])
def test_resumed_is_the_same_as_not_interrupted(tmp_path, monkeypatch, stop_after):
    whole, _ = run(tmp_path / "whole", steps=8, save_strategy="steps", save_steps=2)

    class Stop(training.TimeLimit):
        def on_step_end(self, arguments, state, control, **_):
            if state.global_step == stop_after:
                self.stopped = control.should_save = control.should_training_stop = True

    with monkeypatch.context() as patched:
        patched.setattr(training, "TimeLimit", Stop)
        run(tmp_path / "parts", steps=8, max_minutes=1.0)
    assert (tmp_path / "parts" / f"checkpoint-{stop_after}").is_dir()
    resumed, trainer = run(tmp_path / "parts", steps=8, model=small.model(seed=5))
    assert trainer.state.global_step == 8
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_time_limit_saves_and_says_how_to_go_on(tmp_path, caplog):
    _, trainer = run(tmp_path, steps=500, max_minutes=1e-6)
    assert trainer.state.global_step == 1
    assert (tmp_path / "checkpoint-1" / "model.safetensors").is_file()
    assert "1 of 500 steps: run the same again to go on" in caplog.text


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: options.get("strategy", "uniform"))
def test_every_masking_strategy_trains(tmp_path, options):
    _, trainer = run(tmp_path, spec=small.spec(**options))
    assert all(torch.isfinite(torch.tensor(e["eval_all"])) for e in trainer.state.log_history if "eval_all" in e)


def test_data_sets_are_mixed_by_weight():
    draws = training.Draws([5, 50], [3.0, 1.0], 4000, seed=1)
    rows = torch.tensor([draws[item][1] for item in range(len(draws))])
    assert (rows < 5).float().mean() == pytest.approx(0.75, abs=0.03)
    small_part = torch.bincount(rows[rows < 5])
    assert small_part.max() - small_part.min() <= 1  # in turn, not by chance
    assert draws[7] == (7, int(rows[7]))


@pytest.mark.parametrize(("sizes", "weights"), [([], []), ([5], [1.0, 1.0]), ([0], [1.0]), ([5], [0.0])])
def test_mixtures_that_make_no_sense_are_refused(sizes, weights):
    with pytest.raises(ValueError, match="expected as many of both"):
        training.Draws(sizes, weights, 10, seed=0)


def test_two_data_sets_train_one_model(tmp_path):
    _, trainer = run(tmp_path, data=[small.tokens(6), small.tokens(3, seed=4)], weights=[1.0, 2.0])
    assert trainer.state.global_step == 6


def test_only_what_is_new_is_trained_in_an_extended_model(tmp_path):
    larger = small.model().extended({"depth": Space("dense", "depth", 9, (4, 4))})
    before = {name: weights.clone() for name, weights in larger.state_dict().items()}
    spaces = larger.shape.spaces
    pretraining.pretrain(
        larger, [small.tokens(8, spaces=spaces)], small.tokens(8, spaces=spaces), small.spec(spaces), tmp_path,
        steps=4, batch_size=4, learning_rate=2e-3, seed=0,
    )  # fmt: skip
    changed = {name for name, weights in larger.state_dict().items() if not torch.equal(weights, before[name])}
    assert changed == {"embeddings.tokens.depth", "embeddings.modalities.depth", "embeddings.asked.depth"}


def test_missing_modalities_cost_nothing():
    studies = small.tokens(4)
    lengths = studies.lengths | {"boxes": torch.zeros(4, dtype=torch.int64), "map": torch.zeros(4, dtype=torch.int64)}
    losses = pretraining.held_out_losses(small.model(), Tokens(studies.ids, lengths, studies.pixels), small.spec())
    assert set(losses) == {"image", "caption", "all"}


def test_training_losses_and_tokens_are_logged(tmp_path):
    _, trainer = run(tmp_path, steps=4, logging_steps=2)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert {"train_image", "train_map", "train_caption", "train_boxes"} <= set(logged[0])
    assert all(0 < entry["step_seconds"] <= entry["seconds"] for entry in logged)
    assert 4 * 4 * (12 + 20) * 0.5 < sum(entry["tokens"] for entry in logged) <= 4 * 4 * (24 + 40)


def test_runs_with_other_masks_can_be_held_out_alike(tmp_path):
    losses = []
    for spec in (small.spec(), small.spec(mixture=["1: image -> map"])):
        _, trainer = run(tmp_path / str(len(losses)), steps=1, spec=spec, held_out_spec=small.spec())
        losses.append(next(entry for entry in trainer.state.log_history if "eval_all" in entry))
    assert losses[0]["eval_all"] == losses[1]["eval_all"]
