"""Measure the kernels and write rows: python kernels/benchmarks/run.py --rows FILE [--quick]."""

import argparse
import resource
from collections.abc import Iterator
from pathlib import Path

import measure
import operations
import torch

SECONDS = 6.0  # of every shape; a tenth when quick


def cases(quick: bool, device: torch.device) -> Iterator[operations.Case]:
    """The shapes, the ones that matter most first."""
    for text in ("short", "long"):
        yield operations.masking(256, 256, 196, text, device)
    if device.type == "cpu":
        yield operations.embedding(64, 384)
        yield operations.attention(4, 2048)
        yield operations.attention(4, 2048, key_heads=2)
    for strategy in ("blockwise", "cosine", "weighted"):
        yield operations.masking(256, 256, 196, "short", device, strategy=strategy)
    yield operations.masking(256, 256, 196, "short", device, parity=True)
    lengths = ((1024, 784),) if quick else ((1024, 784), (4096, 4096), (16384, 16384))
    for budget, places in lengths:
        yield operations.masking(64 if places < 4096 else 16, budget, places, "short", device)
    if device.type == "cpu":
        for length in (1024,) if quick else (1024, 4096):
            yield operations.attention(2, length)
        if not quick:
            yield operations.attention(1, 16384, dense=False)


def peak_gib() -> float:
    """Largest resident memory of this process so far, or of the GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Check and measure every shape; stop at the first whose check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("artifacts/benchmarks/rows.csv"), help="file to append to")
    parser.add_argument("--quick", action="store_true", help="fewer shapes, a tenth of the time")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = measure.Rows(arguments.rows, device)
    for case in cases(arguments.quick, device):
        case.check()
        times = measure.alternate(case.paths, SECONDS / 10 if arguments.quick else SECONDS)
        slowest = max(measure.median(t.all) for t in times.values())
        for path, measured in times.items():
            launched = measure.kernels_launched(case.paths[path])
            row = rows.add(
                measured,
                path=path,
                bytes=case.bytes.get(path),
                kernels=launched,
                peak_gib=round(peak_gib(), 2),
                **case.shape,
            )
            ratio = slowest / (row["p50_us"] * 1e-6)
            print(f"{row['operation']:24} {path:20} {case.shape} {row['p50_us']:12.1f} µs {ratio:7.1f} ×", flush=True)


if __name__ == "__main__":
    main()
