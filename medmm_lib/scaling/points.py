"""The points that the parametric law is fitted to: models of several sizes, and the losses that they ended with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medmm_lib.scaling.law import effective_tokens

NAMES = ("log A", "log B", "log E", "alpha", "beta", "log R")  # of the law's parameters, in their order


@dataclass(frozen=True)
class Points:
    """What is fitted: log N, log D and log L [n], unique tokens [n] or None."""

    size: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    unique: np.ndarray | None

    def terms(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of the three terms, theta [..., P] → [..., n, 3]; and what D counts for, log [..., n]."""
        log_a, log_b, log_e, alpha, beta, *repeats = (part[..., None] for part in np.moveaxis(theta, -1, 0))
        data = self.tokens
        if self.unique is not None:
            data = np.log(effective_tokens(np.exp(self.tokens), self.unique, np.exp(repeats[0])))
        parts = (log_a - alpha * self.size, log_b - beta * data, log_e + 0 * self.size)
        return np.stack(np.broadcast_arrays(*parts), axis=-1), data

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """log of what the law says, less log loss: [..., n]."""
        return np.logaddexp.reduce(self.terms(theta)[0], axis=-1) - self.loss

    def slopes(self, theta: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals by theta [P]: [n, P]."""
        terms, data = self.terms(theta)
        by_size, by_data, rest = np.exp(terms - np.logaddexp.reduce(terms, axis=-1, keepdims=True)).T
        columns = [by_size, by_data, rest, -by_size * self.size, -by_data * data]
        if self.unique is not None:
            again, repeats = np.maximum(np.exp(self.tokens) / self.unique - 1, 0), np.exp(theta[5])
            fall = np.exp(-again / repeats)
            worth = self.unique * repeats * (1 - fall * (1 + again / repeats))  # D's worth by log R
            columns.append(-by_data * theta[4] * worth / np.exp(data))
        return np.stack(columns, axis=1)


def checked(
    params: Sequence[float] | np.ndarray, tokens: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray,
    unique: Sequence[float] | np.ndarray | None,
) -> Points:  # fmt: skip
    """What can be fitted, from weights, tokens and losses [n]. Raises ValueError as `fit_parametric` says."""
    given = {"params": params, "tokens": tokens, "losses": losses} | ({} if unique is None else {"unique": unique})
    arrays = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    sizes = {name: values.shape for name, values in arrays.items()}
    if len(set(sizes.values())) > 1 or len(sizes["params"]) != 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in sizes.items())
        raise ValueError(f"{told}; expected as many of each, [n]")
    for name, values in arrays.items():
        if (bad := ~np.isfinite(values) | (values <= 0)).any():
            at = int(bad.argmax())
            raise ValueError(f"{name}[{at}] is {values[at]}; expected finite numbers above 0 ({bad.sum()} are not)")
    if len(params) < len(NAMES) - (unique is None):
        raise ValueError(f"{len(params)} points; expected at least {len(NAMES) - (unique is None)}, one a parameter")
    for name in ("params", "tokens", "losses"):
        if len(np.unique(arrays[name])) == 1:
            raise ValueError(f"{name} are all {arrays[name][0]:g}; a law needs points that differ in {name}")
    if unique is not None and (arrays["unique"] > arrays["tokens"]).all():
        raise ValueError("unique is above tokens in every point: nothing was seen again, and R* can't be fitted")
    logs = {name: np.log(values) for name, values in arrays.items()}
    return Points(logs["params"], logs["tokens"], logs["losses"], arrays.get("unique"))
