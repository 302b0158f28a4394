"""Adapting a base model to a hospital's own questions: one run, from its settings to the tuned model."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn

from medmm_lib import sources
from medmm_lib.vlm.adapters import ATTENTION, adapt, trainable
from medmm_lib.vlm.collator import ANSWER, Collator
from medmm_lib.vlm.loading import load, load_processor
from medmm_lib.vlm.memory import GIB
from medmm_lib.vlm.training import AnswerTrainer, Rows, Schedule, fit


@dataclass(frozen=True)
class Tuning:
    """What is trained (as of `adapters.adapt`), on a base stored in `precision`, and how questions are put."""

    schedule: Schedule
    precision: str = "4-bit"
    method: str = "lora"
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ATTENTION
    tune_vision: bool = True
    prompt: str = ANSWER
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for weights in few bits that are to be trained themselves."""
        if self.precision.endswith("-bit") and self.method != "lora":
            raise ValueError(
                f"method {self.method!r} trains the base's own weights, which {self.precision} can't hold; set "
                "precision to bf16 or fp32"
            )

    def timed(self, **changes: float) -> "Tuning":
        """The same with another schedule: a seed, a number of steps …"""
        return replace(self, schedule=replace(self.schedule, **changes))


@dataclass(frozen=True)
class Tuned:
    """A tuned model. `frozen_before`, `frozen_after`: hashes of all weights that are not trained."""

    model: nn.Module
    collator: Collator
    trainer: AnswerTrainer
    frozen_before: str
    frozen_after: str

    @property
    def log(self) -> list[dict[str, float]]:
        """What the Trainer logged, also before a resumed training was interrupted."""
        return self.trainer.state.log_history

    @property
    def step_seconds(self) -> float:
        """The median step's, the optimiser's part included."""
        return self.trainer.step_seconds

    @property
    def trained(self) -> int:
        """How many weights were trained."""
        return sum(weight.numel() for weight in trainable(self.model).values())

    @property
    def stored_bytes(self) -> int:
        """Of all weights, as they are stored, with the scales of quantised ones."""
        return sum(part.nbytes for _, _, parts in stored_parts(self.model) for part in parts)


def finetune(base: str | Path, tuning: Tuning, rows: Rows, folder: Path, *, key: str, **options: object) -> Tuned:
    """Adapt a base model to `rows`; `options` go to `training.fit`. Goes on where a run with the same settings stopped.

    `key` tells these data from others.
    """
    schedule = tuning.schedule
    model = _adapted(base, tuning)
    collator = Collator(load_processor(base), tuning.prompt, schedule.context)
    own = folder / sources.json_hash([str(base), asdict(tuning), key, options.get("patience", 0)])
    before = frozen_hash(model)
    trainer = fit(model, collator, rows, schedule, own, **options)
    return Tuned(model, collator, trainer, before, frozen_hash(model))


def _adapted(base: str | Path, tuning: Tuning) -> nn.Module:
    torch.manual_seed(tuning.schedule.seed)
    model = load(base, tuning.precision, checkpointing=tuning.checkpointing)
    return adapt(
        model, method=tuning.method, rank=tuning.rank, alpha=tuning.alpha, dropout=tuning.dropout,
        target_modules=tuning.target_modules, tune_vision=tuning.tune_vision,
    )  # fmt: skip


def training_peak(base: str | Path, tuning: Tuning, rows: Rows) -> float:
    """GiB that a GPU counts at most while one step is trained on `rows`, the base's own included; for `memory.plan`."""
    once = replace(tuning.schedule, steps=1, batch_size=len(rows), accumulation=1)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with TemporaryDirectory() as folder:
        fit(
            _adapted(base, tuning),
            Collator(load_processor(base), tuning.prompt, once.context),
            rows,
            once,
            Path(folder),
        )
    return (torch.cuda.max_memory_allocated() - before) / GIB


def frozen_hash(model: nn.Module) -> str:
    """A hash of the value of every weight that is not trained, with the scales of quantised ones.

    Floats are hashed in fp32: bitsandbytes stores some biases in the type of their input, whatever it is.
    """
    digest = hashlib.sha256()
    for name, weight, parts in stored_parts(model):
        if not weight.requires_grad:
            digest.update(name.encode())
            for part in parts:
                values = part.detach().cpu().float() if part.is_floating_point() else part.detach().cpu()
                digest.update(values.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def stored_parts(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, list[torch.Tensor]]]:
    """Every weight with what is stored of it: its numbers, and the scales where these are few bits."""
    seen = set()
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(path, recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            parts = [weight.data]
            if isinstance(module, Linear4bit) and weight is module.weight:
                parts.append(weight.quant_state.absmax)
            elif isinstance(module, Linear8bitLt) and weight is module.weight:
                parts.append(module.state.SCB if weight.SCB is None else weight.SCB)
            yield name, weight, parts
