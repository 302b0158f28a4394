"""Measure the kernels and write rows: python kernels/benchmarks/run.py --rows FILE [--quick]."""

import argparse
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import measure
import operations
import torch

SECONDS, LEAST = 6.0, 5  # time for every shape, and rounds that it takes at least
QUICK_SECONDS, QUICK_LEAST = 0.3, 3


def cases(quick: bool, device: torch.device) -> Iterator[operations.Case]:
    """The shapes, the ones that matter most first."""
    on_cpu = device.type == "cpu"
    for text in ("short", "long"):
        yield operations.masking(256, 256, 196, text, device)
        if on_cpu:
            yield operations.tokenising(256, text)
    if on_cpu:
        yield operations.embedding(64, 384)
        yield operations.attention(4, 2048)
        yield operations.attention(4, 2048, key_heads=2)
    for strategy in ("blockwise", "cosine", "weighted", "curriculum"):
        yield operations.masking(256, 256, 196, "short", device, strategy=strategy)
    yield operations.masking(256, 256, 196, "short", device, parity=True)
    for rows, budget, places in ((64, 1024, 784), (16, 4096, 4096), (4, 16384, 16384)):
        yield operations.masking(rows, budget, places, "short", device)
    for rows, budget, places in (
        ((8, 256, 196), (1, 2048, 784)) if on_cpu and quick else ((32, 256, 196), (4, 2048, 784))
    ):
        yield from operations.training(rows, budget, places, device)
    if on_cpu:
        for length in (256, 1024) if quick else (256, 1024, 4096):
            yield operations.attention(1, length)
        yield operations.attention(64, 256)
        yield operations.attention(1, 16384, dense=False)


def peak_gib(device: torch.device) -> float:
    """Largest resident memory of this process so far, or of the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage begins with the peak of the process that started this one
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Check and measure every shape; stop at the first whose check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("artifacts/benchmarks/rows.csv"), help="file to append to")
    parser.add_argument("--quick", action="store_true", help="a few rounds of each shape, small training steps")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the compiled path uses one core, so the others get one
    device = torch.device(arguments.device)
    rows = measure.Rows(arguments.rows, device)
    for case in cases(arguments.quick, device):
        case.check()
        times = measure.alternate(case.paths, *(QUICK_SECONDS, QUICK_LEAST) if arguments.quick else (SECONDS, LEAST))
        slowest = max(measure.median(t.all) for t in times.values())
        for path, measured in times.items():
            launched = measure.kernels_launched(case.paths[path], device)
            row = rows.add(
                measured,
                path=path,
                bytes=case.bytes.get(path),
                kernels=launched,
                peak_gib=round(peak_gib(device), 2),
                **case.shape,
            )
            ratio = slowest / (row["p50_us"] * 1e-6)
            print(f"{row['operation']:24} {path:20} {case.shape} {row['p50_us']:12.1f} µs {ratio:7.1f} ×", flush=True)


if __name__ == "__main__":
    main()
