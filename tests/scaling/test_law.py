from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from medmm_lib.scaling.law import Law, effective_tokens

LAW = Law(482.01, 2085.43, 1.8169, 0.3478, 0.3658, repeats=15.4)


@pytest.mark.parametrize("unique", [np.inf, 1e9, 1e11])
@pytest.mark.parametrize("flops", [1e18, 1e21, 1e24])
def test_the_optimum_is_scipys(flops, unique):
    size, tokens = LAW.optimal(flops, 6.0, unique)
    assert 6 * size * tokens == pytest.approx(flops)
    theirs = minimize_scalar(
        lambda log: LAW.loss(np.exp(log), flops / 6 / np.exp(log), unique), bounds=(5, 40), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert LAW.loss(size, tokens, unique) == pytest.approx(theirs.fun, rel=1e-6)


@pytest.mark.parametrize("unique", [np.inf, 1e9, 1e11])
def test_the_compute_for_a_loss_reaches_it(unique):
    wanted = 3.0
    flops = LAW.flops_for(wanted, 6.0, unique)
    assert LAW.loss(*LAW.optimal(flops, 6.0, unique), unique) == pytest.approx(wanted, rel=1e-6)
    assert LAW.loss(*LAW.optimal(flops / 1.1, 6.0, unique), unique) > wanted


def test_what_no_compute_reaches_is_infinite():
    assert LAW.flops_for(1.8, 6.0) == np.inf
    assert LAW.flops_for(1.9, 6.0, unique=1e8) == np.inf


def test_a_law_in_which_more_does_harm_makes_no_plan():
    for name in ("alpha", "beta", "A"):
        with pytest.raises(ValueError, match=f"{name} is -0.1"):
            replace(LAW, **{name: -0.1}).optimal(1e20, 6.0)
    with pytest.raises(ValueError, match="beta is"):
        replace(LAW, beta=np.array([0.3, -0.2])).flops_for(3.0, 6.0)


def test_steep_laws_have_their_optimum_too():
    steep = replace(LAW, beta=2.0, B=1e18)
    size, _ = steep.optimal(1e22, 6.0, 1e9)
    losses = [steep.loss(size * factor, 1e22 / 6 / size / factor, 1e9) for factor in (0.8, 1.0, 1.25)]
    assert min(losses) == losses[1]


def test_draws_are_computed_at_once():
    draws = Law(*(np.array([part, part * 1.01]) for part in (482.01, 2085.43, 1.8169, 0.3478, 0.3658, 15.4)))
    for unique in (np.inf, 1e9):
        together = draws.flops_for(3.0, 6.0, unique)
        assert together[0] == pytest.approx(LAW.flops_for(3.0, 6.0, unique), rel=1e-6)


def test_data_seen_again_counts_less_and_less():
    assert effective_tokens(5e8, 1e9, 15.4) == 5e8
    worth = effective_tokens(np.array([1e9, 2e9, 4e9, 1e12, np.inf]), 1e9, 15.4)
    assert worth[0] == 1e9
    assert np.all(np.diff(worth[:-1]) > 0)
    assert 1.9e9 < worth[1] < 2e9
    assert worth[-1] == pytest.approx(16.4e9)
