import pytest

from medmm_lib.scaling.costs import Costs
from medmm_lib.scaling.planner import Machine


def test_a_bill_is_proportional_and_counts_what_it_says():
    machine = Machine(peak=4e12, mfu=0.25, euros_per_hour=3.0, memory_gb=80)
    costs = Costs(
        write=0.001, read=0.002, tokenise=0.003, train_flops=1e9, bytes=1e5, token_bytes=200, euros_core=0.1,
        euros_tb=20.0,
    )  # fmt: skip
    bill = costs.bill(3.6e6, machine, cores=2, epochs=5)
    assert bill == pytest.approx({
        "write_hours": 0.5, "read_hours": 1.0, "tokenise_hours": 1.5, "gpu_hours": 5.0, "gb": 360.0, "token_gb": 0.72,
        "feeding_cores": 2.0, "euros": 0.6 + 15.0, "euros_a_month": 7.2,
    })  # fmt: skip
    twice = costs.bill(7.2e6, machine, cores=2, epochs=5)
    assert all(twice[key] == pytest.approx(2 * value) for key, value in bill.items() if key != "feeding_cores")
    assert costs.trained_a_second(machine) == pytest.approx(1000)
