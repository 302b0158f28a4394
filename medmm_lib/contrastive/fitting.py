"""Fitting any model of this package to tensors, through the Hugging Face Trainer, and asking it in batches."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from medmm_lib import device, parallel, sources, training
from medmm_lib.muon import MuonAdamW

MUON_RATE = 3.0  # learning rate of matrices: times that of all other weights
BATCH = 256  # rows, when a model is asked

# Row numbers [B] and the number of the first draw → what the model's `forward` takes, by name.
Collate = Callable[[torch.Tensor, int], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch_size: int
    learning_rate: float
    seed: int


class Unfinished(RuntimeError):
    """A training that was stopped by its time limit; the message says how to go on."""


@dataclass(frozen=True)
class Fitted:
    """How a training went. `log`: the Trainer's."""

    log: list[dict[str, float]]
    step_seconds: float

    @property
    def losses(self) -> list[dict[str, float]]:
        """The training loss over steps."""
        return [{"step": row["step"], "loss": row["loss"]} for row in self.log if "loss" in row]


def fit(
    model: nn.Module, collate: Collate, rows: int, schedule: Schedule, folder: Path, *, key: str, save_steps: int = 0,
    max_minutes: float = 0.0,
) -> Fitted:  # fmt: skip
    """Train those weights of `model` that are trainable, on rows 0 to `rows` − 1 in random order.

    `model(**collate(rows, draw))` returns a dictionary with `loss`. With `save_steps` it leaves checkpoints in a folder
    of its own below `folder`, and a run with the same `schedule` and `key` goes on from the last one; `key` tells data
    and model from others. After `max_minutes` (0: no limit) it leaves a checkpoint and raises `Unfinished`: nothing
    should be built on half a training. Raises `TypeError` for a model of transformers itself: it would be saved under
    its weights' old names and come back without them (journal), so it has to be held in a module of ours.
    """
    if hasattr(model, "save_pretrained"):
        raise TypeError(f"{type(model).__name__} saves itself under other names; hold it in a module of this package")
    own = folder / sources.json_hash([asdict(schedule), key])
    saving = {"save_strategy": "steps", "save_steps": save_steps} if save_steps else {}
    settings = training.arguments(
        own, steps=schedule.steps, batch_size=schedule.batch_size, learning_rate=schedule.learning_rate,
        seed=schedule.seed, **saving,
        # Views are drawn for a whole batch: one process makes them and gives the others their parts.
        accelerator_config={"split_batches": True, "dispatch_batches": parallel.PROCESSES > 1},
    )  # fmt: skip

    def batch(items: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        return dict(collate(torch.tensor([row for _, row in items]), items[0][0]))

    torch.manual_seed(schedule.seed)
    trainer = training.TimedTrainer(
        model, settings, data_collator=batch,
        train_dataset=training.Draws([rows], [1.0], schedule.steps * schedule.batch_size, schedule.seed),
        optimizers=(MuonAdamW(model, settings, MUON_RATE), None),
    )  # fmt: skip
    if not training.train(trainer, max_minutes):
        done = f"{trainer.state.global_step} of {schedule.steps} steps"
        raise Unfinished(f"stopped after {max_minutes:g} minutes, {done}: run the same again to go on from there")
    model.eval()
    return Fitted(trainer.state.log_history, trainer.step_seconds)


@torch.no_grad()
def asked(model: nn.Module, compute: Callable[..., torch.Tensor], *rows: torch.Tensor) -> torch.Tensor:
    """What `compute` makes of rows [N, …], in batches on the model's device: [N, …] in fp32 on the CPU."""
    model.eval()
    place = next(model.parameters()).device
    made = []
    for part in zip(*(one.split(BATCH) for one in rows), strict=True):
        with device.autocast(model):
            made.append(compute(*(one.to(place) for one in part)).float().cpu())
    return torch.cat(made)


def kept_mib(compute: Callable[[], torch.Tensor], given: Iterable[torch.Tensor] = ()) -> float:
    """MiB that autograd keeps between forward and backward pass of what `compute` returns; each storage counts once.

    Those of `given`, such as weights, don't count. Nothing is read from the tensors, so they may be on the `meta`
    device.
    """
    kept: dict[int, tuple[torch.Tensor, int]] = {}
    known = {tensor.untyped_storage()._cdata for tensor in given}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (tensor, storage.nbytes())  # held, so that no other storage takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(size for place, (_, size) in kept.items() if place not in known) / 2**20
