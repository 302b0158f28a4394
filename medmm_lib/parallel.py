"""Data-parallel training with one process a GPU: `torchrun --no-python --nproc-per-node 2 medmm run ...`

Every process runs the whole chapter; the Trainer joins them in its trainings, of which each does a part of every batch.
`batch_size` stays the whole batch, so that a chapter's parameters mean the same on any number of GPUs. What here is
shared is what makes the losses the same, too. In a run of one process all of this does nothing.
"""

import os

import torch
import torch.distributed as dist

PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))
MAIN = os.environ.get("RANK", "0") == "0"  # the process that writes

if PROCESSES > 1 and torch.cuda.is_available():  # models outside the Trainer go to this process's GPU, too
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _joined() -> bool:
    return PROCESSES > 1 and dist.is_initialized()


def wait() -> None:
    """Until every process is here."""
    if _joined():
        dist.barrier()


def decided(value: float) -> float:
    """What the main process measured. Clocks and roundings differ, and processes that stop at different steps wait for
    each other for ever."""
    if not _joined():
        return value
    place = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    shared = torch.tensor(value, dtype=torch.float64, device=place)
    dist.broadcast(shared, 0)
    return float(shared)


def agree(model: torch.nn.Module) -> None:
    """Give every process the main one's weights. What a GPU sums in any order, such as a codebook, may differ in the
    last bit, and what is made of it, such as the name of a folder, in all."""
    if _joined():
        for weight in model.state_dict().values():
            dist.broadcast(weight, 0)


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, without gradients."""
    if not _joined():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def share(count: torch.Tensor) -> torch.Tensor | float:
    """What to multiply a loss by that is a mean over `count` terms of this process's part of a batch.

    DDP takes the mean of the processes' gradients, which is that of the whole batch only where all have as many terms.
    """
    return PROCESSES * count / summed(count).clamp(min=1) if _joined() else 1.0


def gathered(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes' parts of a batch, in order, with gradients: for what compares them with each other."""
    return _Gathered.apply(rows) if _joined() else rows


def own(rows: torch.Tensor) -> torch.Tensor:
    """This process's part of what was `gathered`."""
    return rows.chunk(PROCESSES)[dist.get_rank()] if _joined() else rows


class _Gathered(torch.autograd.Function):
    """Each process computes the whole loss, so that the gradient of a row is the sum of theirs."""

    @staticmethod
    def forward(_: torch.autograd.function.FunctionCtx, rows: torch.Tensor) -> torch.Tensor:
        """All rows."""
        parts = [torch.empty_like(rows) for _ in range(PROCESSES)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        """Those of this process's rows."""
        return own(summed(gradient.contiguous()))
