"""What to mask: modalities, token budgets and the strategy, checked and turned into the numbers the kernels read."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args
from weakref import WeakValueDictionary

import numpy as np
import torch
from scipy import special

Kind = Literal["dense", "sequence"]
Keep = Literal["uniform", "all", "binary"]
Strategy = Literal["uniform", "blockwise", "cosine", "weighted", "curriculum"]
KEEPS: tuple[Keep, ...] = get_args(Keep)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
MOST_PLACES = 1 << 16  # the place of a token is kept in 16 bits of its key
MOST_MODALITIES = 64
_HANDLES = itertools.count()
_OF_HANDLE: "WeakValueDictionary[int, MaskSpec]" = WeakValueDictionary()


@dataclass(frozen=True)
class Modality:
    """One kind of token and how much of it is drawn.

    `kind` is `dense` (a grid: any places may be shown or asked for, none both) or `sequence` (text: span corruption).
    `input_alpha` and `target_alpha` are Dirichlet concentrations, one number or one per mixture component; 0 keeps the
    modality out. `keep` says how the share of kept text tokens is drawn (uniform in [0, 1], `all`, or `binary`: 0 or
    1), once or per component. `grid` (rows, columns) is needed by block-wise masking only.
    """

    kind: Kind
    max_tokens: int
    input_alpha: float | tuple[float, ...]
    target_alpha: float | tuple[float, ...]
    keep: Keep | tuple[Keep, ...] = "uniform"
    grid: tuple[int, int] | None = None


class Tables(NamedTuple):
    """A `MaskSpec` as arrays. C mixture components, 2 sides (input, target), M modalities in sorted order."""

    component_cut: torch.Tensor  # [C] int64: component = how many cuts are <= the drawn word
    gamma: torch.Tensor  # [C, 2, M, 3] float64: d, 1 / sqrt(9 d) and the exponent 1/α of Marsaglia and Tsang
    active: torch.Tensor  # [C, 2, M] int64: 1 where α > 0, everywhere 1 in an even split
    even: torch.Tensor  # [C, 2] int64: 1 where every α is 0
    remainder_cut: torch.Tensor  # [C, 2, M] int64: like component_cut, for the modality of a left-over token
    keep: torch.Tensor  # [C, M] int64: index into KEEPS
    max_tokens: torch.Tensor  # [M] int64
    sequence: torch.Tensor  # [M] int64: 1 for sequences
    grid: torch.Tensor  # [M, 2] int64: rows, columns; 0 where not given


@dataclass(frozen=True)
class MaskSpec:
    """How a batch is masked.

    `input_tokens` and `target_tokens` are the totals per sample, a number or an inclusive range; the upper ends are the
    widths of the encoder's and decoder's rows. `mixture` weighs the components of the Dirichlet mixture (equal when
    empty). Sentinel k of a text (0, 1, …) has the id `first_sentinel + k % sentinels`.

    `strategy` (4M, Mizrahi et al. 2023, is `uniform`):
    `blockwise` picks dense places in `block` × `block` blocks, as BEiT and I-JEPA do;
    `cosine` draws the totals within their ranges and the keep share as 1 − cos(πu/2), the mask ratio of MaskGIT;
    `weighted` picks dense places in proportion to given weights (Efraimidis and Spirakis 2006);
    `curriculum` moves the input range from `first_input_tokens` (`progress` 0) to `input_tokens` (`progress` 1).

    `parity` is what the public 4M code does, to the statistics: budgets know nothing of a sample's own lengths, surplus
    is lost, and text is redrawn with a lower keep until it fits. By default surplus goes to the modalities that have
    room, missing modalities get nothing, text that is too long keeps just as much as fits, and target budgets count
    decoder places.
    """

    modalities: Mapping[str, Modality]
    input_tokens: int | tuple[int, int]
    target_tokens: int | tuple[int, int]
    first_sentinel: int = 0
    sentinels: int = 0
    mixture: tuple[float, ...] = ()
    strategy: Strategy = "uniform"
    block: int = 4
    first_input_tokens: int | tuple[int, int] | None = None
    progress: float = 1.0
    parity: bool = False

    handle: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the fields. Raises ValueError that names the field, what it holds and what was expected."""
        _check(self)
        object.__setattr__(self, "handle", next(_HANDLES))
        _OF_HANDLE[self.handle] = self
        _ = self.names, self.components, self.widths, self.totals  # torch.compile can read them, but not compute them

    def __reduce__(self) -> tuple:
        """Pickle the fields alone: another process has its own handles."""
        return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.init)

    @staticmethod
    def of_handle(handle: int) -> "MaskSpec":
        """The spec with this number, by which an operator of PyTorch, which takes no other objects, is told it."""
        return _OF_HANDLE[handle]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The modalities in the order of their indices: sorted by name."""
        return tuple(sorted(self.modalities))

    @cached_property
    def components(self) -> int:
        """How many mixture components the α describe."""
        return max(len(_tuple(alpha)) for m in self.modalities.values() for alpha in (m.input_alpha, m.target_alpha))

    @cached_property
    def widths(self) -> tuple[int, int]:
        """Columns of the encoder's and the decoder's rows, whatever the progress of a curriculum."""
        first = _range(self.first_input_tokens)[1] if self.strategy == "curriculum" else 0
        return max(first, _range(self.input_tokens)[1]), _range(self.target_tokens)[1]

    @cached_property
    def totals(self) -> tuple[int, int, int, int]:
        """Smallest and largest input total, smallest and largest target total, at this point of a curriculum."""
        low, high = _range(self.input_tokens)
        if self.strategy == "curriculum":
            first = _range(self.first_input_tokens)
            low, high = (round(a + (b - a) * self.progress) for a, b in zip(first, (low, high), strict=True))
        return low, high, *_range(self.target_tokens)

    def at(self, progress: float) -> "MaskSpec":
        """The same curriculum at `progress` in [0, 1] of the training."""
        return dataclasses.replace(self, progress=progress)

    @cached_property
    def arrays(self) -> Tables:
        """The numbers the kernels read, as NumPy arrays."""
        return Tables(*map(np.ascontiguousarray, _tables(self)))

    def tables(self, device: torch.device) -> Tables:
        """The same as tensors on `device`; made once."""
        if device not in self._on_device:
            self._on_device[device] = Tables(*(torch.from_numpy(array).to(device) for array in self.arrays))
        return self._on_device[device]

    @cached_property
    def _on_device(self) -> dict[torch.device, Tables]:
        return {}


def _tuple(value: object) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _range(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _per_component(value: object, components: int) -> tuple:
    values = _tuple(value)
    return values * components if len(values) == 1 else values


def _check(spec: MaskSpec) -> None:
    """Raise ValueError naming the field, what it holds and what was expected."""

    def expect(condition: bool, what: str, value: object, expected: str) -> None:
        if not condition:
            raise ValueError(f"MaskSpec: {what} is {value!r}; expected {expected}")

    count = len(spec.modalities)
    expect(1 <= count <= MOST_MODALITIES, "the number of modalities", count, f"1 to {MOST_MODALITIES}")
    expect(spec.strategy in STRATEGIES, "strategy", spec.strategy, " or ".join(STRATEGIES))
    for name in ("input_tokens", "target_tokens", "first_input_tokens"):
        given = getattr(spec, name)
        if name == "first_input_tokens" and given is None:
            continue
        whole = all(isinstance(n, int) for n in _tuple(given)) and len(_tuple(given)) in (1, 2)
        low, high = _range(given) if whole else (1, 0)
        expect(0 <= low <= high <= MOST_PLACES, name, given, "a whole number or two, 0 <= smallest <= largest <= 65536")
    if spec.strategy == "curriculum":
        expect(spec.first_input_tokens is not None, "first_input_tokens", None, "the input range to start from")
        expect(0.0 <= spec.progress <= 1.0, "progress", spec.progress, "a number from 0 to 1")
    else:
        expect(
            spec.first_input_tokens is None, "first_input_tokens", spec.first_input_tokens, "None without a curriculum"
        )
    expect(spec.block >= 1, "block", spec.block, "1 or more")
    for name, modality in spec.modalities.items():
        expect(modality.kind in ("dense", "sequence"), f"{name}.kind", modality.kind, "dense or sequence")
        expect(1 <= modality.max_tokens <= MOST_PLACES, f"{name}.max_tokens", modality.max_tokens, "1 to 65536")
        for side in ("input_alpha", "target_alpha", "keep"):
            values = _tuple(getattr(modality, side))
            expect(len(values) in (1, spec.components), f"{name}.{side}", values, f"1 or {spec.components} values")
            if side == "keep":
                expect(set(values) <= set(KEEPS), f"{name}.keep", values, " or ".join(KEEPS))
            else:
                expect(all(0 <= v < math.inf for v in values), f"{name}.{side}", values, "numbers from 0 on")
        if modality.kind == "sequence":
            expect(spec.sentinels >= 2, "sentinels", spec.sentinels, f"2 or more, as {name} is a sequence")
        if modality.grid is not None:
            size = modality.grid[0] * modality.grid[1]
            expect(size == modality.max_tokens, f"{name}.grid", modality.grid, f"{modality.max_tokens} places in all")
        elif modality.kind == "dense":
            expect(spec.strategy != "blockwise", f"{name}.grid", None, "rows and columns, for block-wise masking")
    weights = spec.mixture or (1.0,) * spec.components
    expect(len(weights) == spec.components, "mixture", spec.mixture, f"{spec.components} weights, one a component")
    expect(
        all(0 <= w < math.inf for w in weights) and sum(weights) > 0,
        "mixture",
        spec.mixture,
        "numbers from 0 on, not all 0",
    )


def _cuts(weights: np.ndarray) -> np.ndarray:
    """Cumulative probabilities as 32-bit words: a uniform word w falls in class `(cuts <= w).sum()`."""
    cuts = np.floor(np.cumsum(weights / weights.sum()) * 2.0**32 + 0.5).astype(np.int64)
    cuts[np.flatnonzero(weights)[-1] :] = 1 << 32  # rounding must not open a class behind the last
    return cuts


def largest_share_probabilities(alpha: np.ndarray) -> np.ndarray:
    """P(share m is the largest) for shares drawn from Dirichlet(α), α > 0. [M] → [M].

    The shares are independent gamma variates over their sum, so P(m) = ∫₀¹ ∏ⱼ≠ₘ Fⱼ(Fₘ⁻¹(t)) dt, by Gauss-Legendre.
    """
    if np.all(alpha == alpha[0]):
        return np.full(len(alpha), 1 / len(alpha))
    nodes, weights = np.polynomial.legendre.leggauss(512)
    t, weights = (nodes + 1) / 2, weights / 2
    probability = np.empty(len(alpha))
    for m, a in enumerate(alpha):
        below = special.gammainc(np.delete(alpha, m)[:, None], special.gammaincinv(a, t)[None])
        probability[m] = (weights * below.prod(axis=0)).sum()
    return probability / probability.sum()


def _tables(spec: MaskSpec) -> tuple[np.ndarray, ...]:
    """The arrays of `Tables`, in its order."""
    count, components = len(spec.names), spec.components
    modalities = [spec.modalities[name] for name in spec.names]
    alpha = np.array(
        [[_per_component(a, components) for a in (m.input_alpha, m.target_alpha)] for m in modalities], dtype=np.float64
    ).transpose(2, 1, 0)  # [C, 2, M]
    shape = np.where(alpha < 1, alpha + 1, alpha)
    d = shape - 1 / 3
    boost = np.divide(1.0, alpha, out=np.zeros_like(alpha), where=(alpha > 0) & (alpha < 1))
    even = (alpha == 0).all(axis=2)
    remainder = np.zeros((components, 2, count), dtype=np.int64)
    for c in range(components):
        for side in range(2):
            weights = np.zeros(count)
            drawn = alpha[c, side] > 0
            if drawn.any() and spec.parity:  # only 4M's budgets draw left-over tokens so
                weights[drawn] = largest_share_probabilities(alpha[c, side][drawn])
            else:
                weights[0] = 1.0  # arg-max of equal shares: the first
            remainder[c, side] = _cuts(weights)
    keep = [[KEEPS.index(k) for k in _per_component(m.keep, components)] for m in modalities]
    return (
        _cuts(np.array(spec.mixture or (1.0,) * components)),
        np.stack([d, 1 / np.sqrt(9 * d), boost], axis=-1),
        ((alpha > 0) | even[..., None]).astype(np.int64),
        even.astype(np.int64),
        remainder,
        np.array(keep, dtype=np.int64).T,
        np.array([m.max_tokens for m in modalities], dtype=np.int64),
        np.array([m.kind == "sequence" for m in modalities], dtype=np.int64),
        np.array([m.grid or (0, 0) for m in modalities], dtype=np.int64),
    )
