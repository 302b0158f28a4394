"""The device that a run uses, and how a result names it."""

import os
import platform
from pathlib import Path

import torch


def describe() -> dict[str, str | int]:
    """The device's type, name and size, as a result records it."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return {
            "type": "cuda",
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30),
            "count": torch.cuda.device_count(),
        }
    return {"type": "cpu", "name": _processor(), "cores": len(os.sched_getaffinity(0))}


def precision() -> tuple[str, str]:
    """The dtype that trainings compute in here (`bf16`, `fp16` or `fp32`), and why."""
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        if (major, minor) >= (8, 0):
            return "bf16", f"a GPU of compute capability {major}.{minor} has it"
        if (major, minor) >= (7, 0):
            return "fp16", f"a GPU of compute capability {major}.{minor} multiplies fp16 fast and has no bf16"
        return "fp32", f"a GPU of compute capability {major}.{minor} gains nothing from less"
    found = [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]
    if found:
        return "bf16", f"this CPU has {found[0]}"
    return "fp32", "this CPU has neither amx_bf16 nor avx512_bf16"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
