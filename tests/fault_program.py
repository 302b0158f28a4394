"""What the fault tests disturb: a training, tokenising, and loading models by name, each as a process of its own."""

import json
import random
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save

from medmm_lib import paths
from medmm_lib.data import load
from medmm_lib.fourm import pretraining
from medmm_lib.fourm.text import TextTokeniser
from medmm_lib.fourm.tokens import Tokenisers
from tests.fourm import small

STEPS, SAVED = 240, 10


def train(folder: Path, minutes: float = 0.0, clock: str = "steady") -> None:
    """A 4M model, with a checkpoint every few steps; leaves weights and the log when it is done."""
    torch.set_num_threads(1)
    if clock == "jumping":
        _jumping_clock()
    model = small.model()
    trainer = pretraining.pretrain(
        model, [small.tokens(64)], small.tokens(8), small.spec(), folder, steps=STEPS, batch_size=8,
        learning_rate=2e-3, seed=0, evaluations=4, logging_steps=1, max_minutes=minutes, save_strategy="steps",
        save_steps=SAVED,
    )  # fmt: skip
    if trainer.state.global_step == STEPS:
        rows = [[row["step"], row["loss"]] for row in trainer.state.log_history if "loss" in row]
        paths.write_atomically(folder / "losses.json", json.dumps(rows))
        weights = {name: weight.detach().clone().contiguous() for name, weight in model.state_dict().items()}
        paths.write_atomically(folder / "weights.safetensors", save(weights))


def _jumping_clock() -> None:
    """The time of day goes back and forth by up to ten days; so do the times of what is written."""
    real, jumps = time.time, random.Random()
    time.time = lambda: real() + jumps.uniform(-864_000, 864_000)


def tokenise(folder: Path) -> None:
    """Phantom studies as tokens, kept in a file."""
    torch.set_num_threads(1)
    studies = load("phantom")["train"]
    texts = [text for text in studies["caption"] if text]
    text = TextTokeniser.train(texts, 300)
    tokenisers = Tokenisers(["patches", "caption"], text, {}, side=64, patch=8, most={"caption": 48})
    paths.write_atomically(folder / "started", "")
    tokens = tokenisers.cached(lambda: studies, folder / "tokens", "phantom")
    flat = {f"{part}/{name}": rows for part, all_ in vars(tokens).items() for name, rows in all_.items()}
    paths.write_atomically(folder / "tokens.safetensors", save(flat))


if __name__ == "__main__":
    command, folder, *others = sys.argv[1:]
    if command == "train":
        train(Path(folder), float(others[0]), others[1])
    else:
        tokenise(Path(folder))
