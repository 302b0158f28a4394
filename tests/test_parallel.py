import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from medmm_lib import checkpoints, running, training
from tests.parallel_program import KINDS, STEPS

LOSSES = ("loss", "eval_loss", "eval_all", "train_caption", "train_map", "tokens")


def trained(folder, processes, *arguments):
    """Run the program of `parallel_program` and give what it wrote to `folder`."""
    alone, joined = [sys.executable], [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start = alone if processes == 1 else [*joined, "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*start, "-m", "tests.parallel_program", str(folder), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def logged(folder, kind):
    rows = json.loads((folder / f"{kind}.json").read_text())
    return {(row["step"], name): row[name] for row in rows for name in LOSSES if name in row}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone"), 1, "whole")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("together"), 2, "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_losses_of_one_with_the_same_batch(alone, together, kind):
    one, two = logged(alone, kind), logged(together, kind)
    assert len(one) >= STEPS
    assert two == pytest.approx(one, rel=2e-4)  # sums in another order, and Muon's bf16
    weights = [load_file(folder / f"{kind}-0.safetensors") for folder in (alone, together)]
    for name, weight in weights[0].items():
        assert float((weight.float() - weights[1][name].float()).abs().max()) < 0.02, name


@pytest.mark.parametrize("kind", KINDS)
def test_both_processes_have_the_same_model(together, kind):
    one, two = ((together / f"{kind}-{process}.safetensors").read_bytes() for process in range(2))
    assert one == two


def test_every_target_token_counts_the_same_in_two_processes(alone, together):
    counts = [
        [value for (_, name), value in logged(folder, "fourm").items() if name == "tokens"]
        for folder in (alone, together)
    ]
    assert counts[0] == counts[1]


def test_a_run_of_two_that_met_its_time_limit_goes_on_alone(alone, tmp_path):
    trained(tmp_path, 2, "stop", "fourm")
    assert checkpoints.last(tmp_path / "fourm").name == "checkpoint-1"
    resumed = trained(tmp_path, 1, "whole", "fourm")
    assert logged(resumed, "fourm") == pytest.approx(logged(alone, "fourm"), rel=2e-4)
    assert checkpoints.last(tmp_path / "fourm").name == f"checkpoint-{STEPS}"


def test_chapters_without_a_training_are_not_run_by_several_processes(project, monkeypatch):
    monkeypatch.setattr(running.parallel, "PROCESSES", 2)
    with pytest.raises(running.RunError, match="01_first has no training that processes could share"):
        running.run("quick", only=["01_first"])
    with pytest.raises(running.RunError, match="one chapter runs at a time"):
        running.run("quick")


def test_a_batch_that_can_not_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training.parallel, "PROCESSES", 3)
    with pytest.raises(ValueError, match="batch_size is 8; expected a multiple of 3"):
        training.arguments(tmp_path, steps=1, batch_size=8, learning_rate=1e-3, seed=0)
