import numpy as np
import pytest

from medmm_lib.scaling.law import Law
from medmm_lib.scaling.planner import QUANTITIES, FineTuning, Machine, plan

PARTS = np.array([482.01, 2085.43, 1.8169, 0.3478, 0.3658])
LAW = Law(*PARTS)
COST = {"flops_per": 6.0, "measured": 1e21}
MACHINE = Machine(peak=989.5e12, mfu=0.35, euros_per_hour=3.0, memory_gb=80)


def draws(count=81, spread=0.01):
    return Law(*(PARTS * (1 + spread * np.random.default_rng(0).normal(size=(count, 5)))).T, repeats=15.4)


def test_hours_euros_and_loss_ask_the_same_question():
    by_hours = plan(LAW, draws(), MACHINE, "hours", 1000.0, **COST)
    assert by_hours["euros"].value == pytest.approx(3000)
    by_euros = plan(LAW, draws(), MACHINE, "euros", 3000.0, **COST)
    assert by_euros == by_hours
    by_loss = plan(LAW, draws(), MACHINE, "loss", by_hours["loss"].value, **COST)
    for name in QUANTITIES:
        assert by_loss[name].value == pytest.approx(by_hours[name].value, rel=1e-6), name


def test_compute_is_what_model_and_data_cost():
    made = plan(LAW, draws(), MACHINE, "hours", 1000.0, **COST)
    flops = 1000 * 3600 * 989.5e12 * 0.35
    assert 6 * made["parameters"].value * made["tokens"].value == pytest.approx(flops)
    assert made["pf_days"].value == pytest.approx(flops / 8.64e19)
    assert made["beyond"].value == pytest.approx(flops / 1e21)
    assert made["bookings"].value == np.ceil(1000 / 96)
    assert made["memory_gb"].value == pytest.approx(made["parameters"].value * 16 / 1e9)
    assert made["memory_percent"].value == pytest.approx(made["memory_gb"].value / 0.8)


def test_intervals_are_those_of_the_draws_and_grow_with_them():
    narrow, wide = (plan(LAW, draws(spread=s), MACHINE, "loss", 2.2, **COST)["euros"] for s in (0.001, 0.01))
    assert narrow.low < narrow.value < narrow.high
    assert wide.high / wide.low > 2 * narrow.high / narrow.low


def test_a_loss_that_some_draws_never_reach_has_no_upper_end():
    made = plan(LAW, draws(spread=0.02), MACHINE, "loss", 1.83, **COST)
    assert np.isfinite(made["euros"].value)
    assert made["euros"].high == np.inf
    assert plan(LAW, draws(), MACHINE, "loss", 1.5, **COST)["hours"].value == np.inf


def test_little_data_is_seen_again_and_costs_more():
    law = Law(*PARTS, repeats=15.4)
    endless, little = (plan(law, draws(), MACHINE, "loss", 2.5, **COST, unique=u) for u in (np.inf, 2e9))
    assert endless["epochs"].value == 1
    assert little["epochs"].value > 2
    assert little["euros"].value > endless["euros"].value
    assert plan(law, draws(), MACHINE, "loss", 2.0, **COST, unique=1e8)["euros"].value == np.inf


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_what_is_no_wish_is_refused(value):
    with pytest.raises(ValueError, match="hours is"):
        plan(LAW, draws(), MACHINE, "hours", value, **COST)


def test_what_is_given_has_a_name_and_data_an_amount():
    with pytest.raises(ValueError, match="given is 'hour'; expected loss, hours, euros"):
        plan(LAW, draws(), MACHINE, "hour", 1.0, **COST)
    with pytest.raises(ValueError, match="unique 0"):
        plan(LAW, draws(), MACHINE, "hours", 1.0, **COST, unique=0)


@pytest.mark.parametrize(
    "changed", [{"peak": 0.0}, {"mfu": 0.0}, {"mfu": 35.0}, {"euros_per_hour": 0.0}, {"memory_gb": 0}]
)
def test_what_is_no_machine_is_refused(changed):
    with pytest.raises(ValueError, match="expected a peak"):
        Machine(**{"peak": 1e12, "mfu": 0.3, "euros_per_hour": 1.0, "memory_gb": 16} | changed)


def test_a_year_of_fine_tuning():
    work = FineTuning(frozen=2.9e9, adapter=11e6, tokens=300, questions=10_000, epochs=3, times=4, memory_gib=20)
    year = work.year(MACHINE)
    flops = 300 * 10_000 * 3 * 4 * (4 * (2.9e9 + 11e6) + 2 * 11e6)
    assert year["hours"] == pytest.approx(flops / (989.5e12 * 0.35 * 3600))
    assert year["euros"] == pytest.approx(3 * year["hours"])
    assert year["bookings"] == 1
