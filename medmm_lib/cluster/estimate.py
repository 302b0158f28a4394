"""How many GPU-days a chapter's main training takes, before it is submitted."""

from dataclasses import dataclass
from typing import Any

from medmm_lib.fourm.shape import SIZES, FourMShape
from medmm_lib.scaling.compute import encoder_decoder_flops, gpus, lora_flops_per_token
from medmm_lib.scaling.planner import Machine
from medmm_lib.vlm import memory
from medmm_lib.vlm.bases import BASES, configuration

MFU = 0.3  # the share of a GPU's peak that a training is taken to reach; a run's own is in its results
LIMITED = {"02_lora_finetuning": 1, "03_fourm_pretraining": 1, "05_contrastive_pretraining": 2}  # trainings that stop


@dataclass(frozen=True)
class GpuDays:
    """`expected` from FLOPs, and `at_most` by the parameter `max_minutes`; None: not known. `how` it was found."""

    expected: float | None
    at_most: float | None
    how: str

    @property
    def booked(self) -> float | None:
        """What has to be booked: all that the time limit allows, as studies and reading data take time, too."""
        return self.at_most if self.at_most is not None else self.expected


def gpu_days(chapter: str, parameters: dict[str, Any], gpu: str = "H100 SXM 80 GB", mfu: float = MFU) -> GpuDays:
    """The GPU-days of a chapter under `parameters`, studies left out. Raises ValueError for an unknown GPU."""
    known = gpus()
    if gpu not in known:
        raise ValueError(f"unknown GPU {gpu!r}. There are: {', '.join(known)}")
    dtype, peak = known[gpu].fastest
    count = {"02_lora_finetuning": _fine_tuning, "03_fourm_pretraining": _pretraining}.get(chapter)
    flops = count(parameters) if count else None
    minutes = parameters.get("max_minutes", 0.0)
    at_most = LIMITED.get(chapter, 1) * minutes / 1440 if minutes else None
    if flops is None:
        return GpuDays(None, at_most, "by its time limit" if at_most else "not known: it has no time limit")
    machine = Machine(peak, mfu, 1.0, known[gpu].memory_gb)
    how = f"{flops:.3g} FLOPs at {mfu:.0%} of {peak / 1e12:,.0f} TFLOP/s ({gpu}, {dtype}), studies left out"
    return GpuDays(float(machine.hours(flops)) / 24, at_most, how)


def _fine_tuning(given: dict[str, Any]) -> float | None:
    if given["base"] not in BASES:
        return None
    vision = configuration(given["base"]).vision_config
    plan = memory.plan(given["base"], lora_rank=given["rank"], context=given["context"])
    questions = given["steps"] * given["batch_size"] * given["accumulation"] * len(given["seeds"])
    tokens = questions * (given["context"] + (vision.image_size // vision.patch_size) ** 2)
    return tokens * lora_flops_per_token(plan.parameters, plan.trainable, checkpointing=given["checkpointing"])


def _pretraining(given: dict[str, Any]) -> float:
    width, encoder, decoder, heads = SIZES[given["size"]]
    shape = FourMShape({}, width, encoder, decoder, heads, given["kv_heads"])
    vocabulary = max(given["vocabulary_size"], given["image_codes"])
    step = encoder_decoder_flops(shape, given["inputs"][1], given["targets"][1], vocabulary) * given["batch_size"]
    return step * given["steps"]
