"""The memory plan of LoRA as a formula of rank, text and batch, for a planner that a reader moves."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import interpn

from medmm_lib.vlm import memory

RANKS = (2, 4, 8, 16, 32, 64)
ENDS = ((RANKS[0], RANKS[-1]), (128, 1024), (1, 16))  # of rank, text tokens, questions at once
START = (8, 256, 1)


@dataclass(frozen=True)
class StepMemory:
    """GiB of a training step with LoRA on a base in 4 bits, planned at all `ENDS` and linear between them.

    `kept`, `checkpointed` [2, 2, 2]: rank × text tokens × questions at once; with activations kept, or computed twice.
    All parts of the plan are linear in each of the three, but for the rounding of memory to whole numbers.
    """

    kept: np.ndarray
    checkpointed: np.ndarray

    def gib(self, rank: int, context: int, batch: int, *, checkpointing: bool = False) -> float:
        """Of one step. Raises `ValueError` beyond `ENDS`."""
        values = self.checkpointed if checkpointing else self.kept
        return float(interpn(ENDS, values, (rank, context, batch))[0])


def step_memory(name: str) -> StepMemory:
    """Of a published PaliGemma, by eight plans of `memory.plan`, with LoRA on the attention layers."""
    kept, checkpointed = np.empty((2, 2, 2)), np.empty((2, 2, 2))
    for place in np.ndindex(2, 2, 2):
        rank, context, batch = (ends[k] for ends, k in zip(ENDS, place, strict=True))
        planned = memory.plan(name, lora_rank=rank, context=context, batch_size=batch)
        kept[place], checkpointed[place] = planned.total_gib, planned.checkpointed.total_gib
    return StepMemory(kept, checkpointed)
