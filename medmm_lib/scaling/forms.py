"""Forms that a training curve may have, fitted to bins that are even in the logarithm of the steps."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

BINS = 50  # every doubling of the steps counts the same
NODES = 4  # of a bin
SMALLEST = 4  # points of a bin; smaller ones are joined to the next
STEEPEST = 5.0  # the largest b: a curve that falls faster is over before it is seen
STARTS = (0.05, 0.15, 0.3, 0.6, 1.2, 2.4)  # of b
FOLLOWED = 2  # of them: those that fit best to begin with
HUBER = 1.345  # times the noise: 95 % as efficient as least squares where noise is normal
FOLDS = 5  # stretches of a curve, each left out once


@dataclass(frozen=True)
class Form:
    """L(t) as `curve(t, *parameters)`, its derivatives [..., P], and bounds. `moved(parameters, factor)`: those of the
    same curve when steps are counted in units of 1 / factor."""

    curve: Callable[..., np.ndarray]
    slopes: Callable[..., np.ndarray]
    moved: Callable[[np.ndarray, float], np.ndarray]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]


def power_law(t: np.ndarray, a: float, b: float, c: float = 0.0) -> np.ndarray:
    """a · t^(−b) + c"""
    return a * t**-b + c


def _power_slopes(t: np.ndarray, a: float, b: float, *c: float) -> np.ndarray:
    fall = t**-b
    return np.stack([fall, -a * np.log(t) * fall, *(np.ones_like(t) for _ in c)], axis=-1)


def _log_slopes(t: np.ndarray, *_: float) -> np.ndarray:
    return np.stack([np.ones_like(t), -np.log(t)], axis=-1)


def _power_moved(p: np.ndarray, factor: float) -> np.ndarray:
    return np.array([p[0] * factor ** p[1], *p[1:]])


def _log_moved(p: np.ndarray, factor: float) -> np.ndarray:
    return np.array([p[0] + p[1] * np.log(factor), p[1]])


FORMS = {
    "a · t^(−b) + c": Form(power_law, _power_slopes, _power_moved, (0, 0, 0), (np.inf, STEEPEST, np.inf)),
    "a · t^(−b)": Form(power_law, _power_slopes, _power_moved, (0, 0), (np.inf, STEEPEST)),
    "a − b · ln t": Form(
        lambda t, a, b: a - b * np.log(t), _log_slopes, _log_moved, (-np.inf, -np.inf), (np.inf, np.inf)
    ),
}
WITH_ASYMPTOTE = next(iter(FORMS))


@dataclass(frozen=True)
class Bins:
    """Stretches of a curve that are even in log t: `losses` [B] are means over `points` [B]; `nodes` [B, NODES] are
    steps spread over each, so that a form's mean over a bin is that at its nodes. A steep curve's is not its value in
    the middle."""

    nodes: np.ndarray
    losses: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        """How many."""
        return len(self.losses)

    def __getitem__(self, chosen: np.ndarray) -> "Bins":
        """Some of them."""
        return Bins(self.nodes[chosen], self.losses[chosen], self.points[chosen])

    @property
    def steps(self) -> np.ndarray:
        """The middle of each [B], a geometric mean."""
        return np.exp(np.log(self.nodes).mean(1))


def binned(steps: np.ndarray, losses: np.ndarray) -> Bins:
    """A curve in bins; steps [T] rise."""
    edges = np.geomspace(steps[0], steps[-1], BINS + 1)[1:-1]
    starts = [0]
    for end in np.searchsorted(steps, edges, side="right"):
        if end - starts[-1] >= SMALLEST and len(steps) - end >= SMALLEST:
            starts.append(int(end))
    points = np.diff([*starts, len(steps)])
    among = (np.arange(NODES) + 0.5) / NODES * points[:, None] - 0.5
    nodes = np.interp(np.array(starts)[:, None] + among, np.arange(len(steps)), steps)
    return Bins(nodes, np.add.reduceat(losses, starts) / points, points)


def fit(bins: Bins, form: str = WITH_ASYMPTOTE, start: np.ndarray | None = None) -> np.ndarray:
    """The form's parameters by Huber's loss, every bin counting the same; from `start`, else from several."""
    one, y = FORMS[form], bins.losses
    middle = np.exp(np.log(bins.nodes).mean())  # fitted there, a and b have little to do with each other
    t = bins.nodes / middle
    starts = _starts(one, t, y) if start is None else [one.moved(start, 1 / middle)]
    starts = [np.clip(first, one.lowest, one.highest) for first in starts]
    starts.sort(key=lambda first: np.abs(one.curve(t, *first).mean(1) - y).sum())
    found = [
        least_squares(
            lambda p: one.curve(t, *p).mean(1) - y, first, lambda p: one.slopes(t, *p).mean(1),
            bounds=(one.lowest, one.highest), loss="huber", f_scale=HUBER * _noise(y), x_scale="jac",
        )
        for first in starts[:FOLLOWED]
    ]  # fmt: skip
    return one.moved(min(found, key=lambda result: result.cost).x, middle)


def predict(form: str, bins: Bins, parameters: np.ndarray) -> np.ndarray:
    """The form's mean over each bin [B]."""
    return FORMS[form].curve(bins.nodes, *parameters).mean(1)


def _starts(form: Form, t: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """For each b of `STARTS` the best a (and c) by least squares."""
    if form.curve is not power_law:
        return [np.array([y.mean(), 0.0])]
    found = []
    for b in STARTS:
        columns = form.slopes(t, 1.0, b, *form.lowest[2:]).mean(1)[:, [0, *range(2, len(form.lowest))]]
        a, *c = np.linalg.lstsq(columns, y, rcond=None)[0]
        found.append(np.array([a, b, *c]))
    return found


def _noise(values: np.ndarray) -> float:
    """Standard deviation of noise around any smooth curve: from second differences, by their median."""
    bent = values[1:-1] - (values[:-2] + values[2:]) / 2
    spread = 1.4826 * np.median(np.abs(bent)) / np.sqrt(1.5)
    return float(max(spread, 1e-6 * np.ptp(values)))


def compare(bins: Bins, half: float) -> pd.DataFrame:
    """All forms, a row each: the root mean square error over bins, in nats.

    `left_out`: on each of `FOLDS` stretches of neighbouring bins but the first, before which no fit knows anything,
    fitted on the others. `second_half`: on the bins beyond the step `half`, fitted on those before. The last row says
    that the loss stays what it was in the last bin.
    """
    y, fold = bins.losses, np.arange(len(bins)) * FOLDS // len(bins)
    ahead = bins.steps > half
    rows = []
    for name in FORMS:
        errors = [predict(name, bins[fold == k], fit(bins[fold != k], name)) - y[fold == k] for k in range(1, FOLDS)]
        beyond = predict(name, bins[ahead], fit(bins[~ahead], name)) - y[ahead]
        rows.append((name, *(float(np.sqrt(np.mean(part**2))) for part in (np.concatenate(errors), beyond))))
    stays = y[ahead] - y[~ahead][-1]
    rows.append(("stays as it is", np.nan, float(np.sqrt(np.mean(stays**2)))))
    return pd.DataFrame(rows, columns=["form", "left_out", "second_half"])
