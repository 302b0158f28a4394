"""Training with the Hugging Face Trainer, the same for every model of the report: checkpoints, resuming, time limits.

What a model sees in step n depends on the seed and n alone, so that a run that was interrupted and resumed ends with
the same weights as one that was not.
"""

import logging
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from medmm_lib import checkpoints, device, parallel, paths

LOG = logging.getLogger(__name__)


class Draws(Dataset):
    """Row numbers for every step of a training: items 0, 1, 2 … are drawn from parts of data by weight.

    Each part is gone through in a new random order, again and again. An item is (number of the item, row), rows counted
    through all parts. Raises ValueError unless weights and sizes are positive.
    """

    def __init__(self, sizes: list[int], weights: list[float], count: int, seed: int) -> None:
        if len(sizes) != len(weights) or not sizes or min(sizes) < 1 or min(weights) <= 0:
            raise ValueError(
                f"sizes {sizes}, weights {weights}: expected as many of both, sizes from 1, weights above 0"
            )
        random = torch.Generator().manual_seed(seed)
        part = torch.multinomial(torch.tensor(weights), count, replacement=True, generator=random)
        self.rows = torch.empty(count, dtype=torch.int64)
        first = 0
        for number, size in enumerate(sizes):
            mine = part == number
            rounds = -(-int(mine.sum()) // size)
            orders = [torch.randperm(size, generator=random) for _ in range(rounds)]
            self.rows[mine] = first + torch.cat([*orders, torch.empty(0, dtype=torch.int64)])[: int(mine.sum())]
            first += size

    def __len__(self) -> int:
        """How many draws."""
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[int, int]:
        """(number of the draw, row)"""
        return item, int(self.rows[item])


def arguments(
    folder: Path, *, steps: int, batch_size: int, learning_rate: float, seed: int, **others: object
) -> TrainingArguments:
    """Settings that all trainings share: AdamW, warm-up, cosine decay, clipping at 1, the device's own precision.

    `batch_size` is that of all processes together. Raises ValueError where they can't share it evenly.
    """
    if batch_size % parallel.PROCESSES:
        raise ValueError(f"batch_size is {batch_size}; expected a multiple of {parallel.PROCESSES}, one part a process")
    dtype, reason = device.precision()
    LOG.info("computing in %s: %s", dtype, reason)
    shared = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, steps // 20),
        "weight_decay": 0.05,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": dtype == "bf16",
        "fp16": dtype == "fp16",
        "seed": seed,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "logging_steps": max(1, steps // 100),
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "accelerator_config": {"split_batches": True},  # each process does a part of every batch
        "ddp_find_unused_parameters": True,  # a step need not use every modality
    }
    made = TrainingArguments(**(shared | others))
    made._n_gpu = min(1, made.n_gpu)  # by itself, the Trainer enlarges batches where one process sees several GPUs
    return made


class TimeLimit(TrainerCallback):
    """Stops a training, with a checkpoint, once it has run for some minutes."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.stopped = minutes, False

    def on_train_begin(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: object) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def on_step_end(self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: object) -> None:
        """Look at the clock."""
        seconds = parallel.decided(time.monotonic() - self.start)
        if seconds > 60 * self.minutes and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True


class StepTimes(TrainerCallback):
    """Seconds of every step of a training, the optimiser's part included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: object) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_step_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: object) -> None:
        """Stop it, once the device has done what it was told."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)


class TimedTrainer(Trainer):
    """The Trainer, with the median step's seconds since the last entry in each entry of its log."""

    def __init__(self, model: torch.nn.Module, arguments: TrainingArguments, **others: object) -> None:
        super().__init__(model, arguments, **others)
        self._times = StepTimes()
        self.add_callback(self._times)

    def log(self, logs: dict[str, float], *arguments: object, **named: object) -> None:
        """The Trainer's log, and `step_seconds`."""
        if "loss" in logs:
            logs = logs | {"step_seconds": float(np.median(self._times.seconds))}
            self._times.seconds.clear()
        super().log(logs, *arguments, **named)

    @property
    def step_seconds(self) -> float:
        """The median step's, the optimiser's part included."""
        return float(np.median([row["step_seconds"] for row in self.state.log_history if "step_seconds" in row]))


def train(trainer: Trainer, max_minutes: float = 0.0) -> bool:
    """Train, from the last whole checkpoint in the output folder if there is one. → whether all steps are done.

    After `max_minutes` (0: no limit) it stops with a checkpoint, and says how to go on. Raises `paths.InUse` when
    another run trains in that folder, and `checkpoints.NoGPU`; whatever ends a training early says what is kept.
    """
    folder = Path(trainer.args.output_dir)
    with paths.locked(folder) if parallel.MAIN else nullcontext():
        if last := checkpoints.whole(folder):
            checkpoints.check_device(last)
            LOG.warning("going on from %s", last)
            trainer.args.eval_on_start = False
        trainer.remove_callback(PrinterCallback)  # the losses are in trainer.state.log_history
        trainer.add_callback(checkpoints.Keep())
        limit = TimeLimit(max_minutes)
        if max_minutes:
            trainer.add_callback(limit)
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        except Exception as error:
            kept = checkpoints.last(folder)
            again = f"run the same again to go on from {kept}" if kept else f"{folder} holds no checkpoint of it yet"
            error.add_note(f"The training ended in step {trainer.state.global_step}: {again}")
            raise
    parallel.agree(trainer.model)
    if limit.stopped:
        steps = f"{trainer.state.global_step} of {trainer.state.max_steps} steps"
        LOG.warning("stopped after %s minutes, %s: run the same again to go on from there", max_minutes, steps)
    return not limit.stopped
