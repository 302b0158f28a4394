"""Curves and sweeps with known truth, to see whether fits find it and whether their intervals are as wide as they
should be."""

from typing import Literal

import numpy as np

from medmm_lib.scaling.forms import power_law
from medmm_lib.scaling.parametric import ParametricFit, as_law, fit_parametric
from medmm_lib.scaling.points import NAMES

# log A, log B, log E, alpha, beta: Besiroglu et al. 2024 (arXiv:2404.10102), table 1.
BESIROGLU = np.array([np.log(482.01), np.log(2085.43), np.log(1.8169), 0.3478, 0.3658])
Noise = Literal["none", "normal", "heavy"]


def curve(
    seed: int, *, count: int = 3000, a: float = 10.0, b: float = 0.4, c: float = 2.0, noise: float = 0.2,
    alike: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Steps and losses of a training whose loss is a power law: noise in nats, `alike` its correlation from one step to
    the next."""
    rng = np.random.default_rng(seed)
    errors = rng.normal(scale=noise * np.sqrt(1 - alike**2), size=count)
    for n in range(1, count):
        errors[n] += alike * errors[n - 1]
    steps = np.arange(1.0, count + 1)
    return steps, power_law(steps, a, b, c) + errors


def sweep(
    seed: int, *, count: int = 240, noise: Noise = "normal", truth: np.ndarray = BESIROGLU,
    unique: np.ndarray | float = np.inf,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Weights, tokens and losses of models like those of Hoffmann et al. 2022.

    They take 10^18.8 to 10^21.9 FLOPs and see 1 to 300 tokens a weight. Noise is about 1 % of the loss; `heavy` is
    Student's t with three degrees of freedom.
    """
    rng = np.random.default_rng(seed)
    params, tokens = np.empty(0), np.empty(0)
    while len(params) < count:
        flops, size = 10 ** rng.uniform(18.8, 21.9, count), 10 ** rng.uniform(7.7, 10.2, count)
        kept = (flops / 6 / size**2 > 1) & (flops / 6 / size**2 < 300)
        params, tokens = np.r_[params, size[kept]], np.r_[tokens, (flops / 6 / size)[kept]]
    params, tokens = params[:count], tokens[:count]
    errors = {"none": np.zeros(count), "normal": rng.normal(scale=0.01, size=count)}
    errors["heavy"] = rng.standard_t(3, count) * 0.007
    return params, tokens, as_law(truth).loss(params, tokens, unique) * np.exp(errors[noise])


def held(fit: ParametricFit, truth: np.ndarray = BESIROGLU) -> list[bool]:
    """Whether the 95 % interval of each parameter holds the truth, in the order of `points.NAMES`."""
    ends = [fit.intervals[name] for name in NAMES[: len(truth)]]
    return [one.low < value < one.high for one, value in zip(ends, truth, strict=True)]


def coverage(simulations: int, *, noise: Noise = "normal") -> dict[str, float]:
    """The share of simulated sweeps whose interval holds the truth, by parameter."""
    shares = np.mean([held(fit_parametric(*sweep(seed, noise=noise))) for seed in range(simulations)], axis=0)
    return dict(zip(NAMES, map(float, shares), strict=False))
