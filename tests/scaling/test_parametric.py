import time

import numpy as np
import pytest
from scipy.optimize import check_grad

from medmm_lib.scaling import fit_parametric
from medmm_lib.scaling.parametric import as_law
from medmm_lib.scaling.simulation import BESIROGLU, coverage, sweep


def test_exact_points_give_exact_parameters():
    fit = fit_parametric(*sweep(0, noise="none"))
    np.testing.assert_allclose(fit.theta, BESIROGLU, rtol=2e-3)
    assert pytest.approx(1.8169, rel=1e-3) == fit.E


@pytest.mark.parametrize("noise", ["normal", pytest.param("heavy", marks=pytest.mark.slow)])
def test_95_percent_intervals_hold_the_truth_in_about_95_percent(noise):
    shares = coverage(200, noise=noise)
    assert min(shares.values()) >= 0.90, shares
    assert max(shares.values()) <= 0.98, shares


def test_the_bootstrap_agrees():
    ratios = []
    for seed in range(5):
        fit = fit_parametric(*sweep(seed))
        ratios.append(fit.bootstrap(100).std(0) / np.sqrt(np.diag(fit.covariance)))
    assert np.all((np.mean(ratios, axis=0) > 0.75) & (np.mean(ratios, axis=0) < 1.33))


def test_a_fit_is_fast():
    given = sweep(0)
    start = time.perf_counter()
    fit_parametric(*given)
    assert time.perf_counter() - start < 2


def test_the_gradient_is_the_objectives():
    unique = np.full(240, 3e9)
    fit = fit_parametric(*sweep(1, unique=3e9, truth=np.r_[BESIROGLU, np.log(12)]), unique=unique)
    weights = np.random.default_rng(0).normal(size=240)
    error = check_grad(
        lambda theta: weights @ fit.points.residuals(theta), lambda theta: weights @ fit.points.slopes(theta), fit.theta
    )
    assert error < 1e-3


def test_data_seen_again_is_told_from_new_data():
    truth = np.r_[BESIROGLU, np.log(12.0)]
    rng = np.random.default_rng(4)
    unique = 10 ** rng.uniform(8.7, 10.5, 240)
    params, tokens, losses = sweep(4, truth=truth, unique=unique)
    fit = fit_parametric(params, tokens, losses, unique=unique)
    assert fit.intervals["repeats"].low < 12 < fit.intervals["repeats"].high
    assert fit.repeats == pytest.approx(12, rel=0.3)
    assert fit_parametric(params, tokens, losses).residuals.std() > 2 * fit.residuals.std()


def test_the_optimum_costs_what_was_given_and_nothing_near_is_better():
    fit = fit_parametric(*sweep(0))
    best = fit.optimal(5.76e23)
    assert 6 * best["parameters"] * best["tokens"] == pytest.approx(5.76e23)
    assert best["tokens_per_parameter"] == pytest.approx(best["tokens"] / best["parameters"])
    for factor in (0.8, 1.25):
        assert fit.predict(best["parameters"] * factor, best["tokens"] / factor) > best["loss"]


def test_few_points_are_fitted_and_flagged():
    sizes, tokens = (grid.ravel() for grid in np.meshgrid([1e7, 1e8, 1e9], [1e9, 4e9, 16e9]))
    losses = as_law(BESIROGLU).loss(sizes, tokens) * np.exp(np.random.default_rng(0).normal(scale=0.01, size=9))
    fit = fit_parametric(sizes, tokens, losses)
    assert not fit.identified
    assert any("9 points for 5 parameters" in reason for reason in fit.reasons)


def test_a_floor_that_no_point_shows_could_be_anything():
    sizes, tokens = (grid.ravel() for grid in np.meshgrid(10.0 ** np.arange(5, 9), 10.0 ** np.arange(6, 10)))
    noise = np.exp(np.random.default_rng(0).normal(scale=0.002, size=16))
    losses = (40 / sizes**0.3 + 30 / tokens**0.2) * noise
    fit = fit_parametric(sizes, tokens, losses)
    assert fit.intervals["E"].low < 0.01
    assert not fit.identified
    assert any("interval of E" in reason for reason in fit.reasons)
    assert np.ptp(fit.bootstrap(30)[:, 2]) > 1  # draws find floors where this fit has none


def test_a_bootstrap_of_few_points_can_be_fitted():
    drawn = fit_parametric(*(values[:8] for values in sweep(2))).bootstrap(20)
    assert np.isfinite(drawn).all()
    assert (drawn.std(0) > 0).all()


def test_with_hardly_more_points_than_parameters_nothing_is_certain():
    fit = fit_parametric(*(values[:6] for values in sweep(2)))
    assert fit.intervals["beta"].high == np.inf
    assert not fit.identified
    with pytest.raises(ValueError, match="6 points; a bootstrap needs 8"):
        fit.bootstrap(5)


def test_a_loss_that_rises_with_size_is_flagged():
    params, tokens, losses = sweep(0, noise="none")
    fit = fit_parametric(params, tokens, losses * (params / params.min()) ** 0.2)
    assert not fit.identified
    assert any("alpha" in reason for reason in fit.reasons)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"params": np.full(240, 1e8)}, "params are all 1e"),
        ({"tokens": np.full(240, 1e8)}, "tokens are all 1e"),
        ({"losses": np.full(240, 2.0)}, "losses are all 2"),
        ({"losses": np.r_[np.nan, np.ones(239)]}, r"losses\[0\] is nan"),
        ({"params": np.r_[np.ones(239), -3]}, r"params\[239\] is -3"),
        ({"losses": np.ones(3)}, "as many of each"),
        ({"unique": np.full(240, 1e15)}, "nothing was seen again"),
    ],
)
def test_what_is_no_sweep_is_refused(changed, told):
    given = dict(zip(("params", "tokens", "losses"), sweep(0), strict=True)) | changed
    with pytest.raises(ValueError, match=told):
        fit_parametric(**given)


def test_fewer_points_than_parameters_are_refused():
    with pytest.raises(ValueError, match="4 points; expected at least 5"):
        fit_parametric(*(values[:4] for values in sweep(0)))


def test_draws_make_a_law_of_draws():
    law = as_law(np.stack([BESIROGLU, BESIROGLU + np.eye(5)[2] / 10]))
    losses = law.loss(1e9, 1e10)
    assert losses.shape == (2,)
    assert losses[1] - losses[0] == pytest.approx(1.8169 * (np.exp(0.1) - 1))


@pytest.mark.slow
def test_one_more_model_lands_in_the_interval_that_was_foretold():
    sizes, tokens = (grid.ravel() for grid in np.meshgrid([5e4, 2e5, 8e5], [2e4, 4e4, 8e4, 16e4]))
    truth, rest = as_law(np.array([np.log(30), np.log(60), np.log(1.5), 0.3, 0.35])).loss(sizes, tokens), slice(0, -1)
    held = []
    for seed in range(40):
        losses = truth * np.exp(np.random.default_rng(seed).normal(scale=0.02, size=12))
        fit = fit_parametric(sizes[rest], tokens[rest], losses[rest])
        told = fit.foretell(fit.bootstrap(60, seed), sizes[-1], tokens[-1], seed=seed)
        held.append(told.low <= losses[-1] <= told.high)
    assert np.mean(held) >= 0.85
