import numpy as np
import pytest

from medmm_lib.scaling import curves, fit_power_law
from medmm_lib.scaling.power_law import naive_fit
from medmm_lib.scaling.simulation import curve

NOTES = "runs/tensorboard__max256__2809-072523.csv"


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(16):
        fit = fit_power_law(*curve(seed), resamples=30)
        ends = [(fit.intervals[name].low, fit.intervals[name].high) for name in "abc"]
        held += [low < truth < high for (low, high), truth in zip(ends, (10.0, 0.4, 2.0), strict=True)]
    assert np.mean(held) >= 0.85  # 0.95 of 48, less what 30 resamples and chance take


def test_an_asymptote_is_identified_where_the_curve_has_come_near_it():
    found = [fit_power_law(*curve(seed), resamples=40) for seed in range(6)]
    assert np.mean([fit.asymptote_identified for fit in found]) >= 0.6
    best = next(fit for fit in found if fit.asymptote_identified)
    assert best.c == pytest.approx(2.0, abs=0.15)
    assert best.comparison.set_index("form")["second_half"].idxmin() == "a · t^(−b) + c"


def test_no_asymptote_is_identified_where_there_is_none():
    found = [fit_power_law(*curve(seed, a=20.0, b=0.3, c=0.0), resamples=30) for seed in range(5)]
    assert not any(fit.asymptote_identified for fit in found)
    assert all("reaches 0" in fit.reason or "errs by" in fit.reason for fit in found)


def test_a_curve_that_is_no_power_law_is_found_out():
    t = np.arange(1, 4001)
    steps = np.random.default_rng(0).normal(scale=0.1, size=4000)
    losses = np.where(t < 800, 8.0 * t**-0.05, 6.0 * (t / 800.0) ** -0.4) + steps  # a bend: a second phase
    fit = fit_power_law(t, losses, resamples=60)
    assert not fit.asymptote_identified
    assert fit.reason


def test_points_that_strike_out_do_not_matter():
    t, losses = curve(1)
    struck = losses.copy()
    struck[[40, 300, 1200]] = 60.0
    plain, robust = fit_power_law(t, losses, resamples=2), fit_power_law(t, struck, resamples=2)
    assert robust.c == pytest.approx(plain.c, abs=0.2)
    assert abs(robust.b - plain.b) < abs(naive_fit(t, struck)[0][1] - naive_fit(t, losses)[0][1])


def test_a_prediction_is_the_law():
    fit = fit_power_law(*curve(2), resamples=2)
    np.testing.assert_allclose(fit.predict([1, 100]), [fit.a + fit.c, fit.a * 100**-fit.b + fit.c])


def test_the_seed_decides():
    t, losses = curve(3)
    first, same, other = (fit_power_law(t, losses, resamples=5, seed=seed) for seed in (0, 0, 1))
    assert first.intervals == same.intervals != other.intervals


@pytest.mark.parametrize(
    ("steps", "losses", "told"),
    [
        (np.arange(1, 6), np.ones(5), "bins; expected enough steps"),
        (np.arange(1, 301), np.full(300, 2.0), "expected a fall"),
        (np.arange(1, 301), np.linspace(1, 3, 300), "expected a fall"),
        (np.arange(1, 301), np.r_[np.nan, np.ones(299)], r"losses\[0\] is nan"),
        (np.arange(1, 301), np.r_[np.ones(299), -1], r"losses\[299\] is -1"),
        (np.arange(0, 300), np.ones(300), r"steps\[0\] is 0"),
        (np.r_[1:300, 299], np.ones(300), "steps that rise"),
        (np.arange(1, 301), np.ones(299), "as many of both"),
    ],
)
def test_what_is_no_curve_is_refused(steps, losses, told):
    with pytest.raises(ValueError, match=told):
        fit_power_law(steps, losses)


@pytest.mark.data
def test_the_notes_curve(medpix_root):
    notes = curves.read(medpix_root / NOTES)
    (a, b, c), errors = naive_fit(notes.steps, notes.losses)
    assert (a, b, c) == pytest.approx((18.719, 0.33645, 5.0547), rel=1e-4)
    assert errors[2] == pytest.approx(0.088, abs=5e-4)
    fit = fit_power_law(notes.steps, notes.losses, resamples=60)
    assert not fit.asymptote_identified
    assert "25%" in fit.reason
    assert fit.prefixes["drift"].iloc[0] < -1
