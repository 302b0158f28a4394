"""Pretraining: masked modelling of all modalities at once, through the Hugging Face Trainer.

Every step draws studies, masks them by the bits of (seed, number of the draw), embeds only what was chosen, and counts
every target token the same. Held-out losses are measured with masks that are the same in every run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments

from medmm_kernels import MaskedBatch, MaskSpec, mask_batch
from medmm_lib import parallel, training
from medmm_lib.fourm.model import FourM, Losses
from medmm_lib.fourm.tokens import Tokens, as_input
from medmm_lib.muon import MuonAdamW

EVALUATION_SEED = 20_260_101  # of the masks that held-out losses are measured with, in every run
EVALUATION_DRAWS = 4  # masks a study
BATCH = 32  # studies, in evaluation
MUON_RATE = 3.0  # learning rate of matrices: times that of embeddings


def step(
    model: torch.nn.Module, tokens: Tokens, spec: MaskSpec, seed: int, sample_ids: torch.Tensor
) -> tuple[Losses, MaskedBatch]:
    """Mask a batch and run the model on it."""
    masked = mask_batch(tokens.ids, tokens.lengths, spec, seed=seed, sample_ids=sample_ids)
    return model(masked, {name: as_input(pixels) for name, pixels in tokens.pixels.items()}), masked


class MaskedTrainer(training.TimedTrainer):
    """The Trainer, with masking inside the step and held-out losses of every modality under fixed masks."""

    def __init__(
        self,
        model: FourM,
        arguments: TrainingArguments,
        data: Sequence[Tokens],
        held_out: Tokens,
        spec: MaskSpec,
        held_out_spec: MaskSpec,
        weights: Sequence[float],
    ) -> None:
        tokens, seed = Tokens.joined(list(data)), arguments.seed
        draws = training.Draws(
            [len(part) for part in data], list(weights), arguments.max_steps * arguments.train_batch_size, seed
        )
        super().__init__(
            model,
            arguments,
            data_collator=lambda items: _batch(tokens, items),
            train_dataset=draws,
            eval_dataset=draws,
            optimizers=(MuonAdamW(model, arguments, MUON_RATE), None),
        )  # what is evaluated on is `held_out`; the Trainer only wants to see some data set
        self.spec, self.held_out, self.held_out_spec = spec, held_out, held_out_spec
        self._tokens: list[torch.Tensor] = []
        self._since_log: list[Losses] = []

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *_: object, **__: object) -> torch.Tensor:
        """The loss of a batch."""
        spec = self.spec
        if spec.strategy == "curriculum":
            spec = spec.at(self.state.global_step / self.state.max_steps)
        losses, masked = step(model, Tokens(**inputs["tokens"]), spec, self.args.seed, inputs["sample_ids"])
        self._tokens.append(masked.encoder.valid.sum() + masked.decoder.valid.sum())
        self._since_log.append(Losses(*(part.detach() for part in losses)))
        return losses.loss * parallel.share(losses.counts.sum())

    def log(self, logs: dict[str, float], *arguments: object, **named: object) -> None:
        """The Trainer's log, and of the steps since the last one: the loss of every modality, seconds, tokens.

        They are in the log because checkpoints keep it, so that a resumed training has all of them.
        """
        if "loss" in logs:
            sums, counts = (
                parallel.summed(torch.cat(part).sum(0)) for part in list(zip(*self._since_log, strict=True))[1:]
            )
            logs = logs | {f"train_{name}": loss for name, loss in per_modality(self.model, sums, counts).items()}
            logs |= {"seconds": sum(self._times.seconds), "tokens": int(parallel.summed(sum(self._tokens)))}
            self._since_log.clear()
            self._tokens.clear()
        super().log(logs, *arguments, **named)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Held-out losses of every modality and over all tokens, in nats a token."""
        with self.compute_loss_context_manager():
            losses = held_out_losses(self.model, self.held_out, self.held_out_spec)
        metrics = {f"eval_{name}": parallel.decided(loss) for name, loss in losses.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _batch(tokens: Tokens, items: list[tuple[int, int]]) -> dict[str, Any]:
    numbers, rows = (torch.tensor(column) for column in zip(*items, strict=True))
    return {"tokens": vars(tokens.rows(rows)), "sample_ids": numbers}


@torch.no_grad()
def held_out_losses(model: FourM, tokens: Tokens, spec: MaskSpec) -> dict[str, float]:
    """Nats a token of each modality and of `all`, under `EVALUATION_DRAWS` fixed masks a study."""
    sums, counts = (part.sum(0) for part in sample_losses(model, tokens, spec))
    return per_modality(model, sums, counts) | {"all": float(sums.sum() / counts.sum())}


def per_modality(model: FourM, sums: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
    """Nats a token, from sums of nats and of tokens [M]; modalities that nothing was asked of are left out."""
    losses = zip(model.shape.names, (sums / counts).tolist(), strict=True)
    return {name: loss for name, loss in losses if np.isfinite(loss)}


@torch.no_grad()
def sample_losses(model: FourM, tokens: Tokens, spec: MaskSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats and target tokens of every study and modality, summed over the fixed masks: twice [N, M]."""
    model.eval()
    device = next(model.parameters()).device
    if spec.strategy == "curriculum":
        spec = spec.at(1.0)
    sums, counts = [], []
    for rows in torch.arange(len(tokens)).split(BATCH):
        batch = tokens.rows(rows)
        batch = Tokens(*({n: v.to(device) for n, v in part.items()} for part in vars(batch).values()))
        drawn = [
            step(model, batch, spec, EVALUATION_SEED, (rows + draw * len(tokens)).to(device))[0]
            for draw in range(EVALUATION_DRAWS)
        ]
        sums.append(torch.stack([losses.sums for losses in drawn]).sum(0).double().cpu())
        counts.append(torch.stack([losses.counts for losses in drawn]).sum(0).cpu())
    return torch.cat(sums), torch.cat(counts)


def pretrain(
    model: FourM, data: Sequence[Tokens], held_out: Tokens, spec: MaskSpec, folder: Path, *, steps: int,
    batch_size: int, learning_rate: float, seed: int, held_out_spec: MaskSpec | None = None,
    weights: Sequence[float] | None = None, evaluations: int = 5, max_minutes: float = 0.0, **others: object,
) -> MaskedTrainer:  # fmt: skip
    """Train a model on some data sets, drawn by weight. → the trainer, with its log and times.

    Goes on from the last checkpoint in `folder`. Held-out losses are measured `evaluations` times and before the start
    (0: never), under `held_out_spec`, so that runs which are masked in different ways can be compared; without one,
    under `spec`.
    """
    settings = training.arguments(
        folder, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
        eval_strategy="steps" if evaluations else "no", eval_steps=max(1, steps // max(1, evaluations)),
        eval_on_start=bool(evaluations), **others,
    )  # fmt: skip
    trainer = MaskedTrainer(model, settings, data, held_out, spec, held_out_spec or spec, weights or [1.0] * len(data))
    training.train(trainer, max_minutes)
    return trainer
