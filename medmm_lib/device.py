"""The device that a run uses, and how a result names it."""

import math
import os
import platform
import resource
import sys
import time
from pathlib import Path

import psutil
import torch

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


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


def memory_mib() -> dict[str, float]:
    """`rss_mib` and `peak_mib` of this process: what it holds in memory, and the most it ever held."""
    now = psutil.Process().memory_info().rss
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's ru_maxrss begins with the peak of the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        peak = int(lines["VmHWM"].split()[0]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"rss_mib": now / 2**20, "peak_mib": max(now, peak) / 2**20}


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


def autocast(model: torch.nn.Module) -> torch.autocast:
    """The precision that models compute in here, as of `precision`, whatever their weights are stored in."""
    name = precision()[0]
    return torch.autocast(next(model.parameters()).device.type, DTYPES[name], enabled=name != "fp32")


def matmul_flops(dtype: str, size: int = 1024, seconds: float = 0.5) -> float:
    """What this device reaches in a product of two square matrices of `size`, in FLOP/s; `dtype` as of `precision`.

    The best of several runs: a peak to measure a training against, not a promise.
    """
    where = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.randn(size, size, device=where).to(DTYPES[dtype])
    best, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        matrix @ matrix
        if where == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
