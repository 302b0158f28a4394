"""The power law of one training curve, L(t) = a · t^(−b) + c, and whether the curve says anything about c.

A loss that still falls can be fitted well by many c: what is lost at the end can be made up for by a slower fall. So a
fit comes with intervals, with what the beginning of the curve says of the rest, and with other forms beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit

from medmm_lib.evaluation.intervals import Estimate
from medmm_lib.scaling import forms
from medmm_lib.scaling.forms import WITH_ASYMPTOTE, Bins, binned, power_law

FEWEST = 12  # bins that a fit needs
SHARES = (0.25, 0.5, 0.75)  # of the steps, that are fitted alone


@dataclass(frozen=True)
class PowerLawFit:
    """L(t) = a · t^(−b) + c of a training curve.

    `intervals`: 95 %, of a, b and c. `asymptote_identified`: whether c is more than a number that makes the fit good;
    `reason` says why. `prefixes`: c of the first steps alone, a row a share of them; `drift` is that c less the whole
    curve's, `low` and `high` are what noise alone would make of it. `comparison`: this form beside others, as of
    `forms.compare`. `bins`: what was fitted. `block`: neighbouring points that were drawn together.
    """

    a: float
    b: float
    c: float
    intervals: Mapping[str, Estimate]
    asymptote_identified: bool
    reason: str
    prefixes: pd.DataFrame
    comparison: pd.DataFrame
    bins: Bins
    block: int

    def predict(self, steps: np.ndarray | Sequence[float]) -> np.ndarray:
        """The loss at these steps [T], in nats."""
        return power_law(np.asarray(steps, dtype=float), self.a, self.b, self.c)


def naive_fit(
    steps: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """a, b, c by plain least squares over all points, from SciPy's own start, as the notes did; and their standard
    errors, which take points for independent."""
    values, covariance = curve_fit(power_law, np.asarray(steps, dtype=float), losses, p0=(1.0, 1.0, 1.0))
    return values, np.sqrt(np.diag(covariance))


def fit_power_law(
    steps: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray, *, resamples: int = 200, seed: int = 0
) -> PowerLawFit:
    """Fit L(t) = a · t^(−b) + c to a training curve: steps [T] from above 0, rising, and losses [T] above 0.

    Bins are even in log t and count the same; Huber's loss; a and c not below 0, b from 0 to 5; several starts.
    Intervals are those of the moving-block bootstrap of residuals (Künsch 1989), as the losses of neighbouring steps
    are alike. The asymptote counts as identified when all of these hold:

    - the interval of c begins above 0;
    - c of the first 25, 50 and 75 % of the steps lies as near to c as noise alone would let it;
    - no other form does as well on stretches left out, or on the second half of the steps, nor does a loss that stays
      what it was.

    Raises ValueError for steps and losses that are not as many, not finite, not above 0, too few, or don't fall.
    """
    t, y = _checked(steps, losses)
    bins = binned(t, y)
    if len(bins) < FEWEST:
        raise ValueError(
            f"{len(t)} steps from {t[0]:g} to {t[-1]:g} fill {len(bins)} bins; expected enough steps, over a wide "
            f"enough range, for {FEWEST}"
        )
    _check_fall(bins)
    best = forms.fit(bins)
    residuals = y - power_law(t, *best)
    block = _block(residuals)
    ends = [int(np.searchsorted(t, t[-1] * share, side="right")) for share in SHARES]
    ends = [end for end in ends if end and len(binned(t[:end], y[:end])) >= FEWEST]
    at_ends = [forms.fit(binned(t[:end], y[:end]))[2] - best[2] for end in ends]

    rng = np.random.default_rng(seed)
    drawn, drifts = np.empty((resamples, 3)), np.empty((resamples, len(ends)))
    for n in range(resamples):
        first = rng.integers(len(t) - block + 1, size=-(-len(t) // block))
        like = power_law(t, *best) + residuals[(first[:, None] + np.arange(block)).ravel()[: len(t)]]
        drawn[n] = forms.fit(binned(t, like), start=best)
        drifts[n] = [forms.fit(binned(t[:end], like[:end]), start=best)[2] - drawn[n, 2] for end in ends]
    drawn[drawn[:, 2] < 1e-6 * np.ptp(y), 2] = 0.0  # the solver stays a hair inside its bounds
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    intervals = {name: Estimate(*map(float, part)) for name, *part in zip("abc", best, low, high, strict=True)}
    least, most = np.quantile(drifts, [0.01, 0.99], axis=0) if ends else ([], [])
    prefixes = pd.DataFrame({
        "share": [t[end - 1] / t[-1] for end in ends], "steps": [t[end - 1] for end in ends],
        "c": best[2] + np.array(at_ends), "drift": at_ends, "low": least, "high": most,
    })  # fmt: skip
    comparison = forms.compare(bins, t[-1] / 2)
    identified, reason = _judge(intervals["c"], prefixes, comparison)
    return PowerLawFit(*map(float, best), intervals, identified, reason, prefixes, comparison, bins, block)


def _checked(steps: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray) -> tuple[np.ndarray, ...]:
    t, y = (np.asarray(values, dtype=float) for values in (steps, losses))
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"steps are {list(t.shape)}, losses {list(y.shape)}; expected as many of both, [T]")
    for name, values in (("steps", t), ("losses", y)):
        if (bad := ~np.isfinite(values) | (values <= 0)).any():
            at = int(bad.argmax())
            raise ValueError(f"{name}[{at}] is {values[at]}; expected finite numbers above 0 ({bad.sum()} are not)")
    if (back := np.diff(t) <= 0).any():
        at = int(back.argmax())
        raise ValueError(
            f"steps[{at + 1}] is {t[at + 1]:g} after {t[at]:g}; expected steps that rise. `curves.read` averages "
            "losses of the same step"
        )
    return t, y


def _check_fall(bins: Bins) -> None:
    """A curve that does not fall has no power law."""
    losses, quarter = bins.losses, len(bins) // 4
    first, last = losses[:quarter].mean(), losses[-quarter:].mean()
    if last >= first:
        raise ValueError(f"losses go from {first:.4g} in the first bins to {last:.4g} in the last; expected a fall")


def _block(residuals: np.ndarray) -> int:
    """Neighbouring points that are drawn together: five times the integrated autocorrelation time, a twentieth of
    the curve at most."""
    centred = residuals - residuals.mean()
    size = 2 ** int(np.ceil(np.log2(2 * len(centred))))
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    alike = np.fft.irfft(spectrum)[: len(centred)]
    alike = alike / alike[0] if alike[0] > 0 else np.zeros(len(centred))
    until = int((alike < 0.05).argmax()) or len(alike)
    return int(np.clip(5 * (1 + 2 * alike[1:until].sum()), 1, max(1, len(residuals) // 20)))


def _judge(c: Estimate, prefixes: pd.DataFrame, comparison: pd.DataFrame) -> tuple[bool, str]:
    errors = comparison.set_index("form")
    against = []
    if c.low <= 0:
        against.append(f"the interval of c, {c.low:.2f} to {c.high:.2f}, reaches 0")
    if prefixes.empty:
        against.append("the curve is too short to fit its beginning alone")
    for row in prefixes.itertuples():
        if not row.low <= row.drift <= row.high:
            against.append(
                f"the first {row.share:.0%} of the steps give c = {row.c:.2f}, {row.drift:+.2f} from the whole curve's "
                f"{c.value:.2f}, where noise alone would give {row.low:+.2f} to {row.high:+.2f}"
            )
    for column, where in (("left_out", "on stretches left out"), ("second_half", "on the second half of the steps")):
        own, others = errors.loc[WITH_ASYMPTOTE, column], errors[column].drop(WITH_ASYMPTOTE)
        if others.min() <= own:
            against.append(f"“{others.idxmin()}” errs by {others.min():.3f} nats {where}, this form by {own:.3f}")
    if against:
        return False, "; ".join(against)
    return True, "the beginning of the curve gives the same c, and no other form does as well"
