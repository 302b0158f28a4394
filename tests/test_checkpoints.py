import json
import os
import pickle
import shutil

import pytest
import torch

from medmm_lib import checkpoints, paths
from tests.fourm import small
from tests.fourm.test_pretraining import run


def train(folder, steps=8, **options):
    model, trainer = run(folder, steps=steps, save_strategy="steps", save_steps=2, **options)
    return model.state_dict(), trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of an undisturbed training, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return train(folder)[0], folder


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_the_last_two_are_kept_whatever_the_clock_says(tmp_path, whole, monkeypatch):
    rotate = checkpoints.rotate_checkpoints

    def jumped(folder, *others):
        for one in tmp_path.glob("checkpoint-*"):  # the later it was made, the older it looks
            step = int(one.name.partition("-")[2])
            os.utime(one, (1e9 - 1000 * step, 1e9 - 1000 * step))
        rotate(folder, *others)

    monkeypatch.setattr(checkpoints, "rotate_checkpoints", jumped)
    train(tmp_path)
    assert sorted(one.name for one in tmp_path.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", checkpoints.MARK]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(tmp_path, whole, caplog, name, harm):
    folder = tmp_path / "run"
    shutil.copytree(whole[1], folder)
    file = folder / "checkpoint-8" / name
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + (b"" if harm == "cut" else bytes([content[middle] ^ 1]) + content[middle + 1 :])
        file.write_bytes(changed)
    weights, trainer = train(folder, model=small.model(seed=5))
    told = [record.message for record in caplog.records if record.name == "medmm_lib.checkpoints"]
    if (name, harm) == (checkpoints.MARK, "flipped") and not told:
        pytest.skip("the changed bit left the mark readable and true")
    assert "checkpoint-8 is left out" in told[0]
    assert trainer.state.global_step == 8
    assert same(whole[0], weights)


def test_where_all_are_damaged_it_begins_anew(tmp_path, whole):
    shutil.copytree(whole[1], tmp_path, dirs_exist_ok=True)
    for one in tmp_path.glob("checkpoint-*"):
        (one / checkpoints.MARK).unlink()
    assert checkpoints.last(tmp_path) is None
    assert same(whole[0], train(tmp_path)[0])


class Harmful:
    def __reduce__(self):
        return (os.system, ("touch harmed",))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, whole, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-8")
    target = tmp_path / "run" / "checkpoint-6"
    torch.save(Harmful(), target / name, pickle_module=pickle)
    checkpoints.mark(target)  # as if it came whole from somebody else
    with pytest.raises(Exception, match="weights_only") as caught:
        train(tmp_path / "run")
    assert "The training ended in step" in caught.value.__notes__[0]
    assert not (tmp_path / "harmed").exists()


def test_without_its_gpu_a_training_stops_and_says_how_to_go_on(tmp_path, whole, monkeypatch):
    shutil.copytree(whole[1], tmp_path, dirs_exist_ok=True)
    mark = tmp_path / "checkpoint-8" / checkpoints.MARK
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"device": "cuda"}))
    with pytest.raises(checkpoints.NoGPU, match=r"checkpoint-8 was made on a GPU(.|\n)*run the same again"):
        train(tmp_path)
    assert checkpoints.last(tmp_path).name == "checkpoint-8"


def test_a_gpu_that_fails_in_a_step_is_told_with_what_is_kept(tmp_path, monkeypatch, whole):
    model = small.model()
    forward, calls = model.forward, []

    def failing(*given, **named):
        calls.append(model.training)
        if sum(calls) > 5:
            raise torch.AcceleratorError("CUDA error: device-side failure", 0)
        return forward(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(model, "forward", failing)
        with pytest.raises(torch.AcceleratorError) as caught:
            train(tmp_path, model=model)
    assert caught.value.__notes__ == [
        f"The training ended in step 5: run the same again to go on from {tmp_path / 'checkpoint-4'}"
    ]
    assert same(whole[0], train(tmp_path, model=small.model(seed=5))[0])


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with paths.locked(tmp_path), pytest.raises(paths.InUse, match=rf"in use by process {os.getpid()} on "):
        train(tmp_path)
    assert not (tmp_path / paths.HOLDER).exists()
    train(tmp_path, steps=2)
