import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.nn import functional
from transformers.trainer_utils import get_last_checkpoint

from medmm_lib import checkpoints
from medmm_lib.vlm.adapters import adapt, trainable
from medmm_lib.vlm.collator import IGNORED
from medmm_lib.vlm.finetuning import finetune, frozen_hash
from medmm_lib.vlm.loading import load
from medmm_lib.vlm.training import answer_losses, answer_scores, fit
from tests.vlm import small


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small.base(tmp_path_factory.mktemp("base"))


def run(base, folder, tuning=None, **options):
    rows = small.rows()
    return finetune(base, tuning or small.tuning(), rows[8:], folder, key="test", held_out=rows[:8], **options)


def loss(tuned):
    nats, tokens = answer_losses(tuned.model, tuned.collator, small.rows()[:8])
    return (nats / tokens).mean()


def logged(tuned, name):
    return [(row["step"], row[name]) for row in tuned.log if name in row]


def gradients(model, collator, rows):
    model.train()
    model.zero_grad()
    model(**collator(rows)).loss.backward()
    return {name: weight.grad.clone() for name, weight in trainable(model).items()}


def test_a_step_follows_the_models_own_loss(base, tmp_path):
    rows, collator = small.rows()[:5], small.collator()
    model = load(base, "fp32")
    own = gradients(model, collator, rows)
    expected = model(**collator(rows)).loss.item()
    model.zero_grad()
    scores, labels = answer_scores(model, collator(rows))
    assert len(scores) == (collator(rows)["labels"] != IGNORED).sum()  # neither image nor question are scored
    functional.cross_entropy(scores, labels[labels != IGNORED]).backward()
    for name, gradient in own.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient)
    trainer = fit(model, collator, rows, small.schedule(steps=1, learning_rate=0.0), tmp_path)
    assert trainer.compute_loss(model, collator(rows)).item() == pytest.approx(expected, rel=0.01)
    halved = trainer.compute_loss(model, collator(rows), num_items_in_batch=torch.tensor(2 * len(scores)))
    assert halved.item() == pytest.approx(expected / 2, rel=0.01)


@pytest.mark.parametrize("precision", ["4-bit", "8-bit"])
def test_lora_learns_and_the_quantised_base_stays_bit_identical(base, tmp_path, precision):
    tuning = small.tuning(precision, steps=60, rank=16, alpha=32, learning_rate=3e-3)
    tuned = run(base, tmp_path, tuning, evaluations=2)
    held_out = logged(tuned, "eval_loss")
    assert [step for step, _ in held_out] == [0, 30, 60]
    assert loss(tuned) < 0.5 * held_out[0][1]
    assert loss(tuned) == pytest.approx(held_out[-1][1], rel=0.02)
    assert tuned.frozen_before == tuned.frozen_after
    assert all("lora_" in name for name in trainable(tuned.model))
    kinds = {type(module).__name__ for module in tuned.model.modules()}
    assert {"4-bit": "Linear4bit", "8-bit": "Linear8bitLt"}[precision] in kinds


def test_fewer_bits_take_less_room(base, tmp_path):
    stored = [run(base, tmp_path, small.tuning(bits, steps=1)).stored_bytes for bits in ("4-bit", "8-bit", "fp32")]
    assert stored[0] < stored[1] < stored[2]


def test_with_patience_the_best_model_is_kept(base, tmp_path):
    tuning = small.tuning("fp32", method="full", steps=60, learning_rate=0.05)  # too fast to end well
    tuned = run(base, tmp_path, tuning, evaluations=30, patience=3)
    held_out = logged(tuned, "eval_loss")
    assert held_out[-1][0] < 60
    assert min(value for _, value in held_out[:-3]) < min(value for _, value in held_out[-3:])
    assert loss(tuned) == pytest.approx(min(value for step, value in held_out if step), rel=0.02)
    assert tuned.trainer.finished


def test_patience_keeps_the_best_adapter_of_a_quantised_base(base, tmp_path):
    tuning = small.tuning("4-bit", rank=16, alpha=32, steps=40, learning_rate=0.1)
    tuned = run(base, tmp_path, tuning, evaluations=20, patience=4)
    held_out = logged(tuned, "eval_loss")
    best = min(value for step, value in held_out if step)
    assert best < held_out[-1][1]
    assert loss(tuned) == pytest.approx(best, rel=0.02)
    assert tuned.frozen_before == tuned.frozen_after
    assert all("lora_" in name for name in trainable(tuned.model))


def test_a_time_limit_leaves_a_run_unfinished_and_it_goes_on(base, tmp_path):
    tuning = small.tuning("fp32", steps=12)
    cut = run(base, tmp_path, tuning, max_minutes=1e-6, evaluations=2)
    assert not cut.trainer.finished
    whole = run(base, tmp_path, tuning, evaluations=2)
    assert whole.trainer.finished
    assert [step for step, _ in logged(whole, "eval_loss")] == [0, 6, 12]


def test_patience_cut_by_a_time_limit_is_not_finished(base, tmp_path):
    cut = run(base, tmp_path, small.tuning("fp32", steps=12), max_minutes=1e-6, evaluations=2, patience=2)
    assert not cut.trainer.finished


def test_evaluations_need_questions(base, tmp_path):
    with pytest.raises(ValueError, match="no held-out questions"):
        finetune(base, small.tuning(), small.rows(), tmp_path, key="test", evaluations=2)
    with pytest.raises(ValueError, match="patience is 2, and nothing is measured"):
        run(base, tmp_path, patience=2)


@pytest.mark.parametrize("precision", ["4-bit", "8-bit", "bf16", "fp32"])
def test_an_evaluation_changes_no_gradient(base, precision):
    model = adapt(load(base, precision))
    collator, rows = small.collator(), small.rows(8)
    before = gradients(model, collator, rows)
    answer_losses(model, collator, rows)
    after = gradients(model, collator, rows)
    assert any(gradient.abs().max() > 0 for gradient in before.values())
    for name, gradient in before.items():
        assert torch.equal(gradient, after[name]), name


@pytest.mark.parametrize("bits", ["4-bit", "8-bit"])
def test_gradients_of_few_bits_are_near_those_of_the_weights_that_they_stand_for(base, bits):
    collator, rows = small.collator(), small.rows(8)
    found = {}
    for precision in ("fp32", bits):
        torch.manual_seed(0)  # the same adapter
        one = gradients(adapt(load(base, precision)), collator, rows)
        found[precision] = torch.cat([gradient.flatten() for gradient in one.values()])
    told, other = found.values()
    assert torch.nn.functional.cosine_similarity(told, other, dim=0) > 0.9
    assert other.norm() == pytest.approx(told.norm().item(), rel=0.3)


def test_the_hash_sees_every_frozen_bit(base):
    model = adapt(load(base, "4-bit"))
    before = frozen_hash(model)
    packed = next(weight for name, weight in model.named_parameters() if weight.dtype == torch.uint8)
    packed.data.view(-1)[0] ^= 1
    assert frozen_hash(model) != before


@pytest.mark.parametrize(("method", "grows"), [("full", True), ("bitfit", False)])
def test_other_methods_train_the_base_itself(base, tmp_path, method, grows):
    tuned = run(base, tmp_path, small.tuning("fp32", method=method, steps=8))
    names = trainable(tuned.model)
    assert ("lm_head.weight" in names or any("embed_tokens" in name for name in names)) == grows
    if not grows:
        assert all(name.endswith(".bias") or "norm" in name for name in names)
        assert any("vision_tower" in name for name in names)
    assert tuned.frozen_before == tuned.frozen_after


def test_a_frozen_vision_tower_gets_no_adapter(base):
    model = adapt(load(base, "fp32"), tune_vision=False)
    assert not any("vision_tower" in name for name in trainable(model))
    with_vision = adapt(load(base, "fp32"))
    assert any("vision_tower" in name for name in trainable(with_vision))


def test_an_unknown_method_or_precision_is_named(base):
    with pytest.raises(ValueError, match="method is 'dora'; expected one of lora, bitfit, full"):
        adapt(load(base, "fp32"), method="dora")
    with pytest.raises(ValueError, match="precision is '3-bit'; expected one of 4-bit"):
        load(base, "3-bit")
    with pytest.raises(ValueError, match="which 4-bit can't hold; set precision to bf16 or fp32"):
        small.tuning("4-bit", method="full")


def test_checkpointing_changes_no_gradient(base):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = adapt(load(base, "4-bit", checkpointing=checkpointing))
        found.append(gradients(model, small.collator(), small.rows(8)))
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_accumulated_gradients_are_those_of_a_larger_batch(base, tmp_path):
    norms = []
    for size, parts in ((8, 1), (2, 4)):
        tuned = run(base, tmp_path, small.tuning("fp32", batch_size=size, accumulation=parts, steps=1, clipping=0.0))
        norms.append(logged(tuned, "grad_norm")[0][1])
    assert norms[1] == pytest.approx(norms[0], rel=0.01)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_resumed_is_the_same_as_not_interrupted(base, tmp_path, method):
    tuning = small.tuning("fp32", method=method, steps=8)
    whole = run(base, tmp_path / "whole", tuning, save_strategy="steps", save_steps=2)
    run(base, tmp_path / "parts", tuning, save_strategy="steps", save_steps=2)
    shutil.rmtree(next((tmp_path / "parts").iterdir()) / "checkpoint-8")
    resumed = run(base, tmp_path / "parts", tuning)
    for (name, one), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_checkpoint_that_was_being_written_is_left_out(base, tmp_path):
    whole = run(base, tmp_path / "whole", small.tuning(steps=8), save_strategy="steps", save_steps=2)
    run(base, tmp_path / "killed", small.tuning(steps=8), save_strategy="steps", save_steps=2)
    folder = next((tmp_path / "killed").iterdir())
    (folder / "checkpoint-8" / checkpoints.MARK).unlink()
    (folder / "checkpoint-8" / "optimizer.pt").write_bytes(b"half")
    assert loss(run(base, tmp_path / "killed", small.tuning(steps=8))) == loss(whole)


PROGRAM = """
import json, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from tests.vlm import small
from medmm_lib.vlm.finetuning import finetune
from medmm_lib.vlm.training import answer_losses
rows, folder = small.rows(), Path(sys.argv[2])
tuned = finetune(sys.argv[1], small.tuning(steps=40), rows[8:], folder, key="test", held_out=rows[:8], evaluations=4,
                 save_strategy="steps", save_steps=5, logging_steps=1)
kept = [[row["step"], row.get("loss"), row.get("eval_loss")] for row in tuned.log if {"loss", "eval_loss"} & set(row)]
nats, _ = answer_losses(tuned.model, tuned.collator, rows[:8])
(folder / "losses.json").write_text(json.dumps([kept, nats.tolist()]))
"""


@pytest.mark.slow  # resuming is tested above without a second process, killing in tests/test_faults.py
def test_a_killed_run_goes_on_to_the_same_losses(base, tmp_path):
    def start(folder):
        folder.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(base), str(folder)], stderr=subprocess.DEVNULL)

    whole = start(tmp_path / "whole")
    killed = start(tmp_path / "killed")
    until = time.monotonic() + 120
    while (
        not list((tmp_path / "killed").glob("*/checkpoint-1*/" + checkpoints.MARK))
        and killed.poll() is None
        and time.monotonic() < until
    ):
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    folder = next((tmp_path / "killed").iterdir())
    assert 10 <= int(get_last_checkpoint(str(folder)).rpartition("-")[2]) < 40
    assert start(tmp_path / "killed").wait() == 0
    assert whole.wait() == 0
    losses = [json.loads((tmp_path / name / "losses.json").read_text()) for name in ("whole", "killed")]
    assert losses[0] == losses[1]
    assert len(losses[0][0]) == 40 + 5
