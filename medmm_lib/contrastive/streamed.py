"""Training a MAE from a stream that is never held whole: the Hugging Face Trainer over an `IterableDataset`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from medmm_lib import training
from medmm_lib.contrastive.fitting import Fitted, Schedule
from medmm_lib.contrastive.mae import MAE


class Feed(IterableDataset):
    """Pictures [side, side] uint8 for the Trainer: what `pictures()` gives, from its beginning at every pass."""

    def __init__(self, pictures: Callable[[], Iterable[np.ndarray]]) -> None:
        self.pictures = pictures

    def __iter__(self) -> Iterator[np.ndarray]:
        """One pass."""
        return iter(self.pictures())


def fit_streamed(mae: MAE, pictures: Callable[[], Iterable[np.ndarray]], schedule: Schedule, folder: Path) -> Fitted:
    """Train a MAE on a stream of pictures, in the stream's order, again from its beginning where it is too short.

    No checkpoints: a stream has a state of its own (`medmm_lib.data.streams.stream`), which the Trainer does not keep.
    """
    random = torch.Generator().manual_seed(schedule.seed)

    def batch(items: list[np.ndarray]) -> dict[str, torch.Tensor]:
        noise = torch.rand(len(items), mae.shape.grid**2, generator=random)
        return {"pixels": torch.from_numpy(np.stack(items)), "noise": noise}

    settings = training.arguments(
        folder, steps=schedule.steps, batch_size=schedule.batch_size, learning_rate=schedule.learning_rate,
        seed=schedule.seed,
    )  # fmt: skip
    trainer = training.TimedTrainer(mae, settings, data_collator=batch, train_dataset=Feed(pictures))
    training.train(trainer)
    mae.eval()
    return Fitted(trainer.state.log_history, trainer.step_seconds)
