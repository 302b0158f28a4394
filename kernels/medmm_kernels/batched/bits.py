"""Philox over the batch: every random word as a function of its counter."""

import math
from collections.abc import Callable

import torch

from medmm_kernels import streams
from medmm_kernels.streams import MASK32


def philox(block: torch.Tensor, stream: torch.Tensor | int, samples: torch.Tensor, seed: int) -> list[torch.Tensor]:
    """The four words of blocks, as int64: Philox4x32-7. The arguments broadcast, at first not to their common shape."""
    a, b, c, d = block, stream, samples & MASK32, samples >> 32 & MASK32
    key0, key1 = seed & MASK32, seed >> 32 & MASK32
    for _ in range(streams.PHILOX_ROUNDS):
        high, low = a * 0xD2511F53, c * 0xCD9E8D57  # modulo 2^64, which keeps all bits
        a = ((low >> 32) ^ (b ^ key0)).bitwise_and_(MASK32)
        c = ((high >> 32) ^ (d ^ key1)).bitwise_and_(MASK32)
        b, d = low, high  # only their low 32 bits count
        key0, key1 = key0 + 0x9E3779B9 & MASK32, key1 + 0xBB67AE85 & MASK32
    return [a, b & MASK32, c, d & MASK32]


def words(count: int, stream: int, samples: torch.Tensor, seed: int, convert: Callable | None = None) -> torch.Tensor:
    """The first `count` words of a stream, converted if asked for. samples [B] → [B, count]."""
    block = torch.arange((count + 3) // 4, device=samples.device)
    drawn = philox(block, stream, samples[:, None], seed)
    return torch.stack([convert(word) for word in drawn] if convert else drawn, dim=-1).flatten(1)[:, :count]


def signed(word: torch.Tensor) -> torch.Tensor:
    """Words less 2^31 as int32: in the same order, in half the memory."""
    return (word - (1 << 31)).int()


def uniform(word: torch.Tensor) -> torch.Tensor:
    """Numbers in (0, 1), float64."""
    return (word.double() + 0.5) * streams.WORD


def cosine_share(word: torch.Tensor) -> torch.Tensor:
    """1 − cos(πu/2): the share that stays visible under MaskGIT's cosine schedule."""
    return 1 - torch.cos(math.pi / 2 * uniform(word))
