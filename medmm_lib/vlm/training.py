"""Training on questions and answers through the Hugging Face Trainer, and what a model loses on held-out ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import BatchFeature, EarlyStoppingCallback, PreTrainedModel, TrainingArguments

from medmm_lib import device, parallel, training
from medmm_lib.vlm.collator import IGNORED, Collator

Rows = Sequence[Mapping[str, Any]]  # image, question, answer: a `datasets.Dataset`, or a list of dictionaries
BATCH = 32  # questions, in evaluation


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. A step takes `batch_size` × `accumulation` questions.

    `context`: text tokens of a question and its answer. `clipping`: the largest norm of the gradient, 0: none.
    `warm_up`: share of the steps in which the learning rate rises; it then falls by a cosine.
    """

    steps: int
    batch_size: int
    learning_rate: float
    context: int
    seed: int
    accumulation: int = 1
    clipping: float = 1.0
    warm_up: float = 0.05


class AnswerTrainer(training.TimedTrainer):
    """The Trainer; it measures losses answer by answer."""

    def __init__(
        self, model: nn.Module, arguments: TrainingArguments, collator: Collator, rows: Rows, held_out: Rows | None
    ) -> None:
        drawn = arguments.max_steps * arguments.train_batch_size * arguments.gradient_accumulation_steps
        draws = training.Draws([len(rows)], [1.0], drawn, arguments.seed)
        super().__init__(
            model,
            arguments,
            data_collator=lambda items: collator([rows[row] for _, row in items]),
            train_dataset=draws,
            eval_dataset=draws,
        )  # what is evaluated on is `held_out`; the Trainer only wants to see some data set
        self.collator, self.held_out = collator, held_out
        self.finished = False  # whether it was trained to its end, and not to a time limit

    def compute_loss(
        self, model: nn.Module, inputs: BatchFeature, return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:  # fmt: skip
        """The mean over all answer tokens of a step, of all its batches and devices.

        The model's own loss, without the scores of image and question, which a vocabulary of 257,216 makes large.
        """
        scores, labels = answer_scores(model, inputs)
        total = functional.cross_entropy(scores, labels[labels != IGNORED], reduction="sum")
        if num_items_in_batch is None:
            loss = total / len(scores)
        else:
            shared = self.args.average_tokens_across_devices  # the count is then of all devices
            loss = total / num_items_in_batch * (self.accelerator.num_processes if shared else 1)
        return (loss, {"logits": scores}) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Write a checkpoint that can be read again.

        By itself the Trainer saves a PaliGemma under the names that its weights had before transformers 5, then finds
        none of them when it goes on or takes the best model, warns, and keeps the weights that it has.
        """
        super()._save(output_dir, state_dict)
        if isinstance(self.model, PreTrainedModel):
            self.model.save_pretrained(output_dir or self.args.output_dir, save_original_format=False)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Nats a token of the held-out answers, mean over answers."""
        nats, tokens = answer_losses(self.model, self.collator, self.held_out, self.args.eval_batch_size)
        metrics = {"eval_loss": parallel.decided(float((nats / tokens).mean()))}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def answer_scores(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores in fp32 of the tokens to predict, [tokens, vocabulary], and the labels, [B, T], from the first of them on.

    Places before that, the image's among them, need no scores.
    """
    labels = batch["labels"]
    labels = labels[:, int((labels != IGNORED).any(0).nonzero()[0]) :]
    inputs = {name: part for name, part in batch.items() if name != "labels"}
    scores = model(**inputs, use_cache=False, logits_to_keep=labels.shape[1] + 1).logits[:, :-1]
    return scores[labels != IGNORED].float(), labels


@torch.no_grad()
def answer_losses(
    model: nn.Module, collator: Collator, rows: Rows, batch_size: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """Nats of every row's answer, its end included, and how many tokens these are: twice [N]."""
    model.eval()
    nats, tokens = [], []
    for start in range(0, len(rows), batch_size):
        batch = collator([rows[k] for k in range(start, min(start + batch_size, len(rows)))])
        with device.autocast(model):
            scores, labels = answer_scores(model, batch.to(next(model.parameters()).device))
        asked = labels != IGNORED
        losses = torch.zeros(labels.shape, dtype=torch.float64)
        losses[asked.cpu()] = functional.cross_entropy(scores, labels[asked], reduction="none").double().cpu()
        nats.append(losses.sum(1))
        tokens.append(asked.sum(1).cpu())
    return torch.cat(nats).numpy(), torch.cat(tokens).numpy()


def fit(
    model: nn.Module, collator: Collator, rows: Rows, schedule: Schedule, folder: Path, *,
    held_out: Rows | None = None, evaluations: int = 0, patience: int = 0, max_minutes: float = 0.0, **others: object,
) -> AnswerTrainer:  # fmt: skip
    """Train those weights that are trainable. → the trainer, with its log.

    Goes on from the last checkpoint in `folder`; stops with one after `max_minutes` (0: no limit). The loss on
    `held_out` is measured before the first step, about `evaluations` times, and after the last step. With `patience`
    the model ends as it was when that loss was lowest after a step, and training stops once it has not fallen in so
    many measurements. `others` go to `TrainingArguments`. Raises `ValueError` for evaluations without held-out
    questions, and for patience without evaluations.
    """
    if evaluations and not held_out:
        raise ValueError(f"evaluations is {evaluations}, and there are no held-out questions; give them as `held_out`")
    if patience and not evaluations:
        raise ValueError(f"patience is {patience}, and nothing is measured; expected evaluations above 0")
    every = -(-schedule.steps // max(1, evaluations))
    if patience:
        others |= {
            "load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False,
            "save_strategy": "steps", "save_steps": every,
            "restore_callback_states_from_checkpoint": True,
        }  # fmt: skip
    settings = training.arguments(
        folder, steps=schedule.steps, batch_size=schedule.batch_size, learning_rate=schedule.learning_rate,
        seed=schedule.seed, gradient_accumulation_steps=schedule.accumulation, max_grad_norm=schedule.clipping,
        warmup_steps=max(1, round(schedule.warm_up * schedule.steps)),
        eval_strategy="steps" if evaluations else "no", eval_steps=every,
        eval_on_start=bool(evaluations), logging_nan_inf_filter=False, **others,
    )  # fmt: skip
    trainer = AnswerTrainer(model, settings, collator, rows, held_out)
    if patience:
        trainer.add_callback(EarlyStoppingCallback(patience))
    trainer.finished = training.train(trainer, max_minutes)
    return trainer
