"""Fitting the parametric law to losses of models of several sizes, trained on several amounts of data.

Hoffmann et al. 2022 (arXiv:2203.15556), approach 3, with what Besiroglu et al. 2024 (arXiv:2404.10102) found wanting:
the objective is scaled, so that the optimiser does not stop early, and errors come with the fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats import t as student

from medmm_lib.evaluation.intervals import Estimate
from medmm_lib.scaling.law import Law
from medmm_lib.scaling.points import NAMES, Points, checked

DELTA = 1e-3  # Huber's, of the logarithm of the loss
SCALE = 1e4  # of the objective: unscaled, an optimiser stops before the end
FOLLOWED = 4  # best starts that are followed to their end
SHARES = (0.1, 0.3, 0.6)  # of the loss at the middle of the data that starts give to size, and to data
EXPONENTS = (0.1, 0.3, 0.5, 0.8, 1.2)
NARROWER = 0.7  # than Hall and Sheather's bandwidth: intervals then hold the truth in 93 to 98 % of simulations
SPARE = 3  # points more than parameters, below which errors are not known
FLAT = 1e-12  # curvature of the objective, of the greatest there is, that is none
REPEATS = 15.4  # a start: Muennighoff's R*
WIDEST = 3  # interval of E or R*, its high end over its low one, that still says something


@dataclass(frozen=True)
class ParametricFit:
    """L(N, D) = E + A / N^α + B / D^β. `repeats` is R* where unique tokens were given, else None.

    `standard_errors`: of A, B, E, alpha, beta (and repeats). `intervals`: 95 %, of the same, and of log A, log B and
    log E. `covariance` [P, P] is that of log A, log B, log E, alpha, beta (and log R). `identified`: whether the points
    tell all parameters; `reasons` says what speaks against it. `residuals` [n]: of the logarithm of the loss.
    """

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    repeats: float | None
    standard_errors: Mapping[str, float]
    intervals: Mapping[str, Estimate]
    covariance: np.ndarray
    identified: bool
    reasons: tuple[str, ...]
    residuals: np.ndarray
    points: Points
    theta: np.ndarray

    @property
    def law(self) -> Law:
        """The fitted law."""
        return as_law(self.theta)

    def predict(self, parameters: np.ndarray, tokens: np.ndarray, unique: float = np.inf) -> np.ndarray:
        """Nats a token of models with so many weights after so many tokens."""
        return self.law.loss(np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float), unique)

    def foretell(
        self, drawn: np.ndarray, parameters: float, tokens: float, unique: float = np.inf, seed: int = 0
    ) -> Estimate:
        """The loss of one more model, with the 95 % interval in which it will be measured: that of the draws [R, P] of
        `bootstrap`, each with a residual of this fit, made larger as a fit runs closer to its own points than others.
        """
        count = len(self.residuals)
        wider = (count / (count - len(self.theta))) ** 0.5
        noise = wider * np.random.default_rng(seed).choice(self.residuals, size=len(drawn))
        losses = as_law(drawn).loss(parameters, tokens, unique) * np.exp(-noise)
        low, high = np.quantile(losses, [0.025, 0.975])
        return Estimate(float(self.predict(parameters, tokens, unique)), float(low), float(high))

    def optimal(self, flops: float, flops_per: float = 6.0, unique: float = np.inf) -> dict[str, float]:
        """The best use of some compute, which is `flops_per` · weights · tokens (6: Kaplan et al. 2020).

        → parameters, tokens, tokens_per_parameter, loss (nats).
        """
        size, data = self.law.optimal(flops, flops_per, unique)
        loss = self.law.loss(size, data, unique)
        return {
            "parameters": float(size), "tokens": float(data), "tokens_per_parameter": float(data / size),
            "loss": float(loss),
        }  # fmt: skip

    def bootstrap(self, resamples: int = 1000, seed: int = 0) -> np.ndarray:
        """Fits to points drawn with replacement: [resamples, P], as `covariance` is ordered.

        Each is followed from this fit and from the best start for its own points. Draws of fewer different points than
        parameters and one more can't be fitted and are drawn again. Raises ValueError for fewer points than parameters
        and `SPARE` more.
        """
        if len(self.residuals) < len(self.theta) + SPARE:
            raise ValueError(f"{len(self.residuals)} points; a bootstrap needs {len(self.theta) + SPARE}")
        starts = _starts(self.points, len(self.theta))
        costs = _huber(self.points.residuals(starts))  # [starts, n]
        rng, count = np.random.default_rng(seed), len(self.residuals)
        drawn: list[np.ndarray] = []
        while len(drawn) < resamples:
            weights = rng.multinomial(count, np.full(count, 1 / count)).astype(float)
            if np.count_nonzero(weights) > len(self.theta):
                firsts = (self.theta, starts[(costs @ weights).argmin()])
                drawn.append(min((_follow(self.points, one, weights) for one in firsts), key=lambda found: found[1])[0])
        return np.stack(drawn)


def fit_parametric(
    params: Sequence[float] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    *,
    unique: Sequence[float] | np.ndarray | None = None,
) -> ParametricFit:
    """Fit L(N, D) = E + A / N^α + B / D^β to n trained models: weights, tokens seen and losses (nats), [n] each.

    With `unique` [n], the tokens of which a training saw only so many different ones, D is what they are worth in new
    ones, and R* is fitted too. The objective is Huber's loss of the difference in log loss (δ = 10⁻³); all starts of a
    grid are tried at once and the best ones followed by BFGS with the analytic gradient. Standard errors are the
    sandwich's for an objective with a kink (Powell 1991, bandwidth of Hall and Sheather 1988), intervals Student's t.

    Raises ValueError for lists of unequal length, numbers that are not finite or not above 0, fewer points than
    parameters, and points that hold one model size, one amount of data or one loss only.
    """
    points = checked(params, tokens, losses, unique)
    count = len(NAMES) - (unique is None)
    starts = _starts(points, count)
    first = np.argsort(_objective(points, starts))[:FOLLOWED]
    theta, _ = min((_follow(points, starts[k]) for k in first), key=lambda found: found[1])
    residuals = points.residuals(theta)
    covariance = _sandwich(points, theta)
    errors, intervals = _errors(theta, covariance, len(residuals))
    reasons = _doubts(points, theta, intervals)
    return ParametricFit(
        *map(float, np.exp(theta[:2])), float(np.exp(theta[2])), *map(float, theta[3:5]),
        float(np.exp(theta[5])) if count == 6 else None, errors, intervals, covariance, not reasons,
        reasons, residuals, points, theta,
    )  # fmt: skip


def as_law(theta: np.ndarray) -> Law:
    """The law of parameters [..., P], ordered as `ParametricFit.covariance`; draws [R, P] make a law of R draws."""
    parts = np.moveaxis(theta, -1, 0)
    with np.errstate(over="ignore"):
        return Law(*np.exp(parts[:3]), *parts[3:5], *np.exp(parts[5:]))


def _huber(r: np.ndarray) -> np.ndarray:
    small = np.abs(r) <= DELTA
    return np.where(small, r**2 / 2, DELTA * (np.abs(r) - DELTA / 2))


def _objective(points: Points, theta: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """SCALE · Σ Huber(residual) for theta [..., P]."""
    return SCALE * (weights * _huber(points.residuals(theta))).sum(-1)


def _follow(points: Points, start: np.ndarray, weights: np.ndarray | float = 1.0) -> tuple[np.ndarray, float]:
    """From a start to the end: parameters and objective.

    BFGS runs on parameters at the middle of the data, where they have least to do with each other.
    """
    shift = _to_middle(points, len(start))

    def objective(centred: np.ndarray) -> tuple[float, np.ndarray]:
        theta = np.linalg.solve(shift, centred)
        r = points.residuals(theta)
        slope = SCALE * (weights * np.clip(r, -DELTA, DELTA)) @ points.slopes(theta)
        return SCALE * float((weights * _huber(r)).sum()), np.linalg.solve(shift.T, slope)

    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(objective, shift @ start, jac=True, method="BFGS", options={"gtol": 1e-5, "maxiter": 500})
    return np.linalg.solve(shift, found.x), float(found.fun)


def _to_middle(points: Points, count: int) -> np.ndarray:
    """The matrix [P, P] that turns log A and log B into the logarithms of both terms at the middle of the points."""
    shift = np.eye(count)
    shift[0, 3], shift[1, 4] = -points.size.mean(), -points.tokens.mean()
    return shift


def _starts(points: Points, count: int) -> np.ndarray:
    """The grid of starts [S, P]: how the middle loss is shared out among the three terms, and the exponents."""
    middle = np.median(points.loss)
    grid = []
    for by_size, by_data, alpha, beta in product(SHARES, SHARES, EXPONENTS, EXPONENTS):
        if by_size + by_data < 1:
            shares = middle + np.log([by_size, by_data, 1 - by_size - by_data])
            grid.append([
                shares[0] + alpha * points.size.mean(), shares[1] + beta * points.tokens.mean(), shares[2], alpha, beta,
                np.log(REPEATS),
            ])  # fmt: skip
    return np.array(grid)[:, :count]


def _sandwich(points: Points, theta: np.ndarray) -> np.ndarray:
    """Covariance of the parameters [P, P], for noise that may differ from point to point."""
    back = np.linalg.inv(_to_middle(points, len(theta)))  # turned over there, where the matrix is well conditioned
    slopes, r = points.slopes(theta) @ back, points.residuals(theta)
    count, size = slopes.shape
    if count < size + SPARE:
        return np.full((size, size), np.inf)
    # Huber's score has a slope only within DELTA of 0; its mean's slope is taken over a wider stretch of residuals.
    quantile = count ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * (1.5 * norm.pdf(0) ** 2) ** (1 / 3)
    spread = min(r.std(), np.subtract(*np.quantile(r, [0.75, 0.25])) / 1.34)
    width = max(NARROWER * spread * 2 * norm.ppf(min(0.5 + quantile, 0.99)), DELTA)
    bend = (np.clip(r + width, -DELTA, DELTA) - np.clip(r - width, -DELTA, DELTA)) / (2 * width)
    values, directions = np.linalg.eigh((slopes * bend[:, None]).T @ slopes)
    seen = values > FLAT * values[-1]
    bread = directions[:, seen] / values[seen] @ directions[:, seen].T
    scores = slopes * np.clip(r, -DELTA, DELTA)[:, None]
    covariance = back @ bread @ (scores.T @ scores) @ bread @ back.T * count / max(count - size, 1)
    # What no point tells anything of, such as E where it is next to nothing, could be anything.
    unseen = np.abs(back @ directions[:, ~seen]).max(1, initial=0.0) > FLAT**0.5
    covariance[unseen, unseen] = np.inf
    return covariance


def _errors(theta: np.ndarray, covariance: np.ndarray, count: int) -> tuple[dict[str, float], dict[str, Estimate]]:
    """Standard errors and intervals. Those of A, B, E and R* are the intervals of their logarithms, raised."""
    errors, intervals = {}, {}
    reach = student.ppf(0.975, max(count - len(theta), 1))
    for name, value, error in zip(NAMES, theta, np.sqrt(np.diag(covariance)), strict=False):
        low, high = value - reach * error, value + reach * error
        intervals[name] = Estimate(float(value), float(low), float(high))
        if name.startswith("log "):
            raised = {"log R": "repeats"}.get(name, name[-1])
            with np.errstate(over="ignore"):
                intervals[raised] = Estimate(*(float(np.exp(part)) for part in (value, low, high)))
                errors[raised] = float(np.exp(value) * error)
        else:
            errors[name] = float(error)
    return errors, intervals


def _doubts(points: Points, theta: np.ndarray, intervals: Mapping[str, Estimate]) -> tuple[str, ...]:
    """What speaks against reading the parameters as more than numbers that make the fit good."""
    count, doubts = len(points.loss), []
    for name, values in (("model sizes", points.size), ("amounts of data", points.tokens)):
        if (kinds := len(np.unique(values))) < 3:
            doubts.append(f"{kinds} {name} can't tell a power from a straight line; expected 3 or more")
    if count < 3 * len(theta):
        doubts.append(f"{count} points for {len(theta)} parameters; {3 * len(theta)} would be few")
    for name, what in (("alpha", "model size"), ("beta", "data")):
        low, high = intervals[name].low, intervals[name].high
        if low <= 0:
            doubts.append(f"the interval of {name}, {low:.2f} to {high:.2f}, reaches 0: more {what} may not help")
    for name in ("E", "repeats"):
        if name in intervals and not intervals[name].high < WIDEST * intervals[name].low:
            low, high = intervals[name].low, intervals[name].high
            doubts.append(f"the interval of {name}, {low:.2g} to {high:.2g}, spans more than a factor of {WIDEST}")
    return tuple(doubts)
