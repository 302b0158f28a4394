"""Timing and writing rows: quantiles of alternated calls, bytes and bandwidth, one CSV file that figures read."""

import csv
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

BLOCK = 0.05  # seconds for which a path is called in a round
QUANTILES = {"p20_us": 0.2, "p50_us": 0.5, "p80_us": 0.8}
COLUMNS = [
    *(
        "operation",
        "path",
        "batch",
        "budget",
        "places",
        "text",
        "length",
        *QUANTILES,
        "cold_us",
        "calls",
        "per_sample_us",
    ),
    *("bytes", "bandwidth_share", "kernels", "peak_gib", "device", "threads", "torch", "numba", "triton", "time"),
]


class Times(NamedTuple):
    """Seconds of the calls of one path: every call, and those that came right after another path, with cold caches."""

    all: list[float]
    cold: list[float]


def alternate(calls: dict[str, Callable[[], object]], seconds: float, least: int = 2) -> dict[str, Times]:
    """Time every path, in rounds of all of them so that noise meets all alike; in a round, a path is called for
    `BLOCK` seconds. Each path is called once before."""
    on_gpu = torch.cuda.is_available()
    times = {name: Times([], []) for name in calls}
    for call in calls.values():
        call()
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or min(len(t.cold) for t in times.values()) < least:
        for name, call in calls.items():
            in_block, spent = [], 0.0
            while spent < BLOCK:
                if on_gpu:
                    torch.cuda.synchronize()
                begin = time.perf_counter()
                call()
                if on_gpu:
                    torch.cuda.synchronize()
                in_block.append(time.perf_counter() - begin)
                spent += in_block[-1]
            times[name].all.extend(in_block)
            times[name].cold.append(in_block[0])
    return times


def median(times: list[float]) -> float:
    """The middle one, or the lower of the two."""
    return sorted(times)[(len(times) - 1) // 2]


def bandwidth(device: torch.device) -> float:
    """Bytes per second that copying 256 MiB moves, read and written, measured here and now."""
    source = torch.ones(1 << 26, dtype=torch.int32, device=device)
    into = torch.empty_like(source)
    times = alternate({"copy": lambda: into.copy_(source)}, seconds=0.5)["copy"]
    return 2 * source.numel() * 4 / median(times.all)


def kernels_launched(call: Callable[[], object], device: torch.device) -> int | None:
    """How many CUDA kernels a call launches; None on a CPU."""
    if device.type == "cpu":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if not event.key.startswith("Mem"))


def device_name(device: torch.device) -> str:
    """What the rows call this machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{cpu}, {os.cpu_count()} cores"


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def version(package: str) -> str:
    """The version of a package, empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


class Rows:
    """Appends rows to a CSV file, each complete on disk before the next is measured."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        self.bandwidth = bandwidth(device)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(",".join(COLUMNS) + "\n")

    def add(self, times: Times, **known: object) -> dict[str, object]:
        """One row from the times of one path; `known` holds what is not measured here."""
        ordered = sorted(times.all)
        row: dict[str, object] = {
            name: round(ordered[int(share * (len(ordered) - 1))] * 1e6, 1) for name, share in QUANTILES.items()
        }
        row |= known | {
            "cold_us": round(median(times.cold) * 1e6, 1),
            "calls": len(times.all),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **{package: version(package) for package in ("torch", "numba", "triton")},
        }
        if known.get("batch"):
            row["per_sample_us"] = round(row["p50_us"] / known["batch"], 2)
        if known.get("bytes"):
            row["bandwidth_share"] = round(known["bytes"] / (row["p50_us"] * 1e-6) / self.bandwidth, 4)
        unknown = set(row) - set(COLUMNS)
        if unknown:
            raise ValueError(f"rows have no columns {sorted(unknown)}")
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        return row
