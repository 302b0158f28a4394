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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
