"""Trains one small model of each kind, alone or as one of several processes, and leaves losses and weights."""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from medmm_lib import device, parallel, paths
from medmm_lib.contrastive import alignment, classifiers
from medmm_lib.contrastive.fitting import fit
from medmm_lib.contrastive.mae import hiding
from medmm_lib.contrastive.tower import Tower
from medmm_lib.fourm import pretraining, vq
from medmm_lib.vlm import finetuning
from tests.contrastive import small as images
from tests.fourm import small as studies
from tests.vlm import small as questions

STEPS, SAVED = 12, 4


def fourm(folder: Path, stop: bool) -> tuple[torch.nn.Module, list[dict]]:
    model = studies.model()
    settings = {"steps": STEPS, "batch_size": 8, "learning_rate": 2e-3, "seed": 0, "evaluations": 2, "logging_steps": 1}
    data, spec = [studies.tokens(40)], studies.spec()
    trainer = pretraining.pretrain(
        model, data, studies.tokens(8), spec, folder, save_strategy="steps", save_steps=SAVED,
        max_minutes=1e-9 if stop else 0.0, **settings,
    )  # fmt: skip
    return model, trainer.state.log_history


def tokeniser(folder: Path, _: bool) -> tuple[torch.nn.Module, list[dict]]:
    torch.manual_seed(0)
    maps = torch.randint(0, 3, (24, 4, 4), dtype=torch.uint8).repeat_interleave(4, 1).repeat_interleave(4, 2)
    maps[:8] = 0  # so that the two parts of a batch weigh differently
    model = vq.VQTokeniser(vq.VQShape(side=16, patch=4, codes=16, classes=3, width=16, code_width=8))
    return model, vq.train(model, maps, folder, steps=STEPS, seed=0, batch_size=8, logging_steps=1)


def mae(folder: Path, _: bool) -> tuple[torch.nn.Module, list[dict]]:
    pixels, model = images.squares(24)[0], images.mae()
    fitted = fit(model, hiding(pixels, model.shape, 0), len(pixels), images.schedule(steps=STEPS), folder, key="mae")
    return model, fitted.log


def aligned(folder: Path, _: bool) -> tuple[torch.nn.Module, list[dict]]:
    pixels = images.squares(24)[0]
    torch.manual_seed(0)
    captions, targets = [f"text {k % 20}" for k in range(24)], torch.randn(24, 12)
    tower = Tower(images.mae(), 8)
    model, fitted = alignment.align(
        tower, pixels, targets, captions, "sigmoid", images.schedule(steps=STEPS), folder, key="aligned"
    )
    return model, fitted.log


def classifier(folder: Path, _: bool) -> tuple[torch.nn.Module, list[dict]]:
    pixels = images.squares(24)[0]
    torch.manual_seed(0)
    labels = (torch.rand(24, 3) > 0.5).float()
    labels[torch.rand(24, 3) > 0.6] = torch.nan
    labels[:, 0] = torch.arange(24) % 2
    tower = Tower(images.mae(), 8)
    model, fitted = classifiers.tune(
        tower, pixels, labels.numpy(), "bce", images.schedule(steps=STEPS), folder, key="classifier"
    )
    return model, fitted.log


def answers(folder: Path, _: bool) -> tuple[torch.nn.Module, list[dict]]:
    rows, tuning = questions.rows(), questions.tuning("fp32", steps=STEPS, batch_size=4, accumulation=2)
    tuned = finetuning.finetune(
        questions.base(folder / "base", steps=STEPS),
        tuning,
        rows[8:],
        folder,
        key="t",
        held_out=rows[:8],
        evaluations=2,
        logging_steps=1,
    )
    return tuned.model, tuned.log


KINDS = {
    "fourm": fourm,
    "tokeniser": tokeniser,
    "mae": mae,
    "aligned": aligned,
    "classifier": classifier,
    "answers": answers,
}


def main(folder: Path, stop: str, *kinds: str) -> None:
    torch.set_num_threads(1)
    device.precision = lambda: ("fp32", "sums in another order differ least in it")
    for kind in kinds or KINDS:
        model, log = KINDS[kind](folder / kind, stop == "stop")
        weights = {name: weight.detach().clone().contiguous() for name, weight in model.state_dict().items()}
        paths.write_atomically(folder / f"{kind}-{os.environ.get('RANK', 0)}.safetensors", save(weights))
        if parallel.MAIN:
            paths.write_atomically(folder / f"{kind}.json", json.dumps(log))
        parallel.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
