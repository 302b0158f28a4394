"""From a wanted loss, hours or euros to a model, its data and its bill; and what a clinic's fine-tuning costs a year.

`report/assets/planner.js` computes the same in a browser.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from medmm_lib.evaluation.intervals import Estimate
from medmm_lib.scaling.compute import PF_DAY, lora_flops_per_token
from medmm_lib.scaling.law import Law

GPU_DAYS_A_MONTH = 4  # DSRI's public documentation, August 2026: one GPU at a time, four GPU-days a month
BYTES_A_WEIGHT = 16  # weights and gradients in bf16, weights and two Adam states in fp32 (Rajbhandari et al. 2020)
GB = 1e9
Given = Literal["loss", "hours", "euros"]
QUANTITIES = {
    "loss": "nats a token", "parameters": "weights", "tokens": "tokens", "epochs": "times each token is seen",
    "pf_days": "PF-days", "beyond": "times the compute of the largest training measured", "hours": "GPU-hours",
    "bookings": f"months of {GPU_DAYS_A_MONTH} GPU-days", "euros": "euros",
    "memory_gb": "GB for weights, gradients and Adam", "memory_percent": "% of the GPU's memory",
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """One GPU: its peak in FLOP/s, the share of it that a training reaches (MFU), euros an hour, and GB of memory."""

    peak: float
    mfu: float
    euros_per_hour: float
    memory_gb: float

    def __post_init__(self) -> None:
        """Raise ValueError for what is no machine."""
        if not (self.peak > 0 and 0 < self.mfu <= 1 and self.euros_per_hour > 0 and self.memory_gb > 0):
            raise ValueError(f"{self}: expected a peak, a price and a memory above 0, an MFU above 0 and up to 1")

    def hours(self, flops: float | np.ndarray) -> float | np.ndarray:
        """Hours that so much compute takes."""
        return flops / (self.peak * self.mfu * 3600)


def plan(
    law: Law, draws: Law, machine: Machine, given: Given, value: float, *, flops_per: float, measured: float,
    unique: float = np.inf,
) -> dict[str, Estimate]:  # fmt: skip
    """What training one model from scratch takes, by `QUANTITIES`: the value of `law`, and the 95 % interval that its
    `draws` give.

    `given` says what `value` is: a wanted loss in nats, hours on the machine, or euros. A training costs `flops_per` ·
    weights · tokens; only `unique` tokens are different ones. The largest training that the law was fitted to took
    `measured` FLOPs: the further beyond, the less the law is worth, whatever the interval says. A loss that
    the law never reaches takes infinitely much. Raises ValueError for a value or `unique` not above 0, an unknown
    `given`, and a law in which more weights or data do harm.
    """
    if given not in get_args(Given):
        raise ValueError(f"given is {given!r}; expected {', '.join(get_args(Given))}")
    if not 0 < value < np.inf or not unique > 0:
        raise ValueError(f"{given} is {value}, unique {unique}; expected numbers above 0")
    best, drawn = (_quantities(one, machine, given, value, flops_per, measured, unique) for one in (law, draws))
    made = {}
    for name in QUANTITIES:
        low, high = _quantiles(np.broadcast_to(drawn[name], np.shape(draws.E)))
        made[name] = Estimate(float(best[name]), low, high)
    return made


def _quantities(
    law: Law, machine: Machine, given: Given, value: float, flops_per: float, measured: float, unique: float
) -> dict[str, float | np.ndarray]:
    if given == "loss":
        flops = law.flops_for(value, flops_per, unique)
    else:
        hours = value if given == "hours" else value / machine.euros_per_hour
        flops = hours * 3600 * machine.peak * machine.mfu
    reached = np.isfinite(flops)
    parameters, tokens = law.optimal(np.where(reached, flops, 1.0), flops_per, unique)
    loss = value if given == "loss" else law.loss(parameters, tokens, unique)
    hours = machine.hours(flops)
    epochs = np.maximum(tokens / unique, 1.0)
    parameters, tokens, epochs = (np.where(reached, part, np.inf) for part in (parameters, tokens, epochs))
    return {
        "loss": loss, "parameters": parameters, "tokens": tokens, "epochs": epochs,
        "pf_days": flops / PF_DAY, "beyond": flops / measured, "hours": hours,
        "bookings": np.ceil(hours / 24 / GPU_DAYS_A_MONTH), "euros": hours * machine.euros_per_hour,
        "memory_gb": parameters * BYTES_A_WEIGHT / GB,
        "memory_percent": 100 * parameters * BYTES_A_WEIGHT / GB / machine.memory_gb,
    }  # fmt: skip


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    """The 2.5 and the 97.5 % quantile, each one of the values: some may be infinite."""
    ordered = np.sort(values)
    low, high = (ordered[int(share * (len(ordered) - 1) + 0.5)] for share in (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True)
class FineTuning:
    """Fine-tuning with LoRA: weights of the base and of the adapter, text and image tokens of a question with its
    answer, questions, how often each is seen, how often a year all of it is done, and the memory of one step."""

    frozen: float
    adapter: float
    tokens: float
    questions: float
    epochs: float
    times: float
    memory_gib: float

    def year(self, machine: Machine) -> dict[str, float]:
        """What a year takes: pf_days, hours, bookings, euros, memory_percent, as of `QUANTITIES`, and memory_gib."""
        seen = self.tokens * self.questions * self.epochs * self.times
        flops = seen * lora_flops_per_token(self.frozen, self.adapter)
        hours = machine.hours(flops)
        months = float(np.ceil(hours / 24 / GPU_DAYS_A_MONTH))
        return {
            "pf_days": flops / PF_DAY, "hours": hours, "bookings": months, "euros": hours * machine.euros_per_hour,
            "memory_gib": self.memory_gib, "memory_percent": 100 * self.memory_gib / machine.memory_gb,
        }  # fmt: skip
