import pytest

from medmm_lib.vlm import memory
from medmm_lib.vlm.step_memory import ENDS, START, step_memory

NAME = "google/paligemma-3b-mix-224"


@pytest.fixture(scope="module")
def planned():
    return step_memory(NAME)


@pytest.mark.parametrize("point", [START, (16, 300, 3), (2, 128, 1), (64, 1024, 16), (4, 1000, 2), (32, 160, 12)])
def test_a_step_is_what_the_plan_says(planned, point):
    rank, context, batch = point
    one = memory.plan(NAME, lora_rank=rank, context=context, batch_size=batch)
    assert planned.gib(*point) == pytest.approx(one.total_gib, rel=1e-4)
    assert planned.gib(*point, checkpointing=True) == pytest.approx(one.checkpointed.total_gib, rel=1e-4)


def test_beyond_what_was_planned_nothing_is_guessed(planned):
    with pytest.raises(ValueError, match="out of bounds"):
        planned.gib(START[0], ENDS[1][1] + 1, START[2])
