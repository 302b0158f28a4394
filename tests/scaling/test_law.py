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


def test_draws_are_computed_at_once():
    draws = Law(*(np.array([part, part * 1.01]) for part in (482.01, 2085.43, 1.8169, 0.3478, 0.3658, 15.4)))
    for unique in (np.inf, 1e9):
        together = draws.flops_for(3.0, 6.0, unique)
        assert together[0] == pytest.approx(LAW.flops_for(3.0, 6.0, unique), rel=1e-6)


def test_data_seen_again_counts_less_and_less():
    assert effective_tokens(5e8, 1e9, 15.4) == 5e8
    worth = effective_tokens(np.array([1e9, 2e9, 4e9, 1e12, np.inf]), 1e9, 15.4)
    assert worth[0] == 1e9
    assert np.all(np.diff(worth) > 0) or worth[-1] == pytest.approx(worth[-2])
    assert 1.9e9 < worth[1] < 2e9
    assert worth[-1] == pytest.approx(16.4e9)
