import shutil
from dataclasses import replace

import ipywidgets
import numpy as np
import pytest

from medmm_lib import paths
from medmm_lib.scaling import explore
from medmm_lib.scaling.compute import gpus
from medmm_lib.scaling.explore import Desk, cells, short
from medmm_lib.scaling.law import Law
from medmm_lib.scaling.planner import FineTuning
from medmm_lib.vlm.step_memory import StepMemory

MOVED = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }"
CHROMIUM = shutil.which("chromium")
PARTS = np.array([482.01, 2085.43, 1.8169, 0.3478, 0.3658])
BASES = {
    "PaliGemma 3B": FineTuning(2.9e9, 11.3e6, 300, 10_000, 3, 4, 16.8),
    "PaliGemma 2 10B": FineTuning(9.7e9, 24e6, 1100, 10_000, 3, 4, 40.2),
}
STEPS = {
    name: StepMemory(gib * np.arange(1, 9).reshape(2, 2, 2), gib / np.arange(1, 9).reshape(2, 2, 2))
    for name, gib in (("PaliGemma 3B", 16.8), ("PaliGemma 2 10B", 40.2))
}


@pytest.fixture
def desk():
    draws = PARTS * (1 + 0.01 * np.random.default_rng(0).normal(size=(60, 5)))
    first, *others = gpus().values()
    return Desk(
        Law(*PARTS, repeats=15.4), Law(*draws.T, repeats=np.linspace(5, 30, 60)), 6.0, 1e9, (1.9, 4.0), 1e21,
        (first, *others), 0.35, 3.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"), (0.00012345, "1.2e-4"), (0.12345, "0.123"), (12.345, "12.3"), (999.4, "999"), (1234.5, "1,235"),
        (123456, "123,456"), (2_923_456_789, "2.92 billion"), (1.5e13, "15 T"), (float("inf"), "never"),
        (float("nan"), "undefined"), (1e33, "1.0e33"), (2.125, "2.13"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, told):
    assert short(value) == told


def test_a_plan_as_rows_says_what_is_certain_only_once(desk):
    rows = cells(desk.plan(desk.machine(), "loss", 2.5))
    assert rows[0] == ("nats a token", "2.5", "")
    assert all(" to " in ends for _, _, ends in rows[1:3])


@pytest.mark.browser
def test_the_page_computes_what_python_does(desk):
    from playwright.sync_api import sync_playwright

    script = (paths.REPORT / "assets" / "planner.js").read_text(encoding="utf-8")
    tag = '<script src="../assets/planner.js" defer></script>'
    source = explore.page(desk).data.replace(tag, "") + explore.fine_tuning_page(desk, BASES, STEPS).data.replace(
        tag, ""
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_content(f"{source}<script>{script}</script>")
        training, year = tab.locator("form").nth(0), tab.locator("form").nth(1)

        def choose(form, **values):
            for name, value in values.items():
                form.locator(f"[name={name}]").evaluate(MOVED, str(value))

        def shown(form):
            return [row.locator("td").all_inner_texts() for row in form.locator("[data-quantity]").all()]

        for gpu in ("H100 SXM 80 GB", "V100 SXM2 32 GB"):
            for given, slider, value in (("loss", 2.425, 2.425), ("hours", 4.5, 10**4.5), ("euros", 5, 1e5)):
                for unique in (7.5, 9, 12):
                    choose(training, gpu=gpu, given=given, unique=unique, mfu=20, price=2.5, **{given: slider})
                    value = float(training.locator(f"[name={given}]").input_value()) if given == "loss" else value
                    made = desk.plan(desk.machine(gpu, 0.20, 2.5), given, value, 10.0**unique)
                    assert shown(training) == [list(row[1:]) for row in cells(made)], (gpu, given, unique)
        name = "PaliGemma 2 10B"
        choose(year, base=name, gpu="A100 SXM 80 GB", questions=4.5, epochs=5, times=12, mfu=30, price=2)
        for rank, context, batch, way in ((8, 256, 1, "kept"), (64, 1024, 16, "checkpointed"), (4, 352, 3, "kept")):
            choose(year, rank=rank, context=context, batch=batch, activations=way)
            gib = STEPS[name].gib(rank, context, batch, checkpointing=way == "checkpointed")
            work = replace(BASES[name], adapter=24e6 * rank / 8, questions=10**4.5, epochs=5, times=12, memory_gib=gib)
            made = work.year(desk.machine("A100 SXM 80 GB", 0.3, 2.0))
            assert shown(year) == [[short(made[name])] for name in explore.YEAR]
        assert training.locator("label:visible").count() == 6  # of three wishes, the one that is given
        browser.close()


def test_a_gpu_that_is_not_there_is_named(desk):
    with pytest.raises(ValueError, match="gpu is 'H300'; expected one of V100"):
        desk.machine("H300")


def test_the_widget_computes_when_a_control_moves(desk):
    made = explore.widget(desk)
    given, *_, shown = made.children
    assert isinstance(shown, ipywidgets.HTML)
    before = shown.value
    given.value = "euros"
    assert shown.value != before
    assert cells(desk.plan(desk.machine(), "euros", 10.0 ** (desk.powers("euros")[0] + 1)))[1][1] in shown.value


def test_the_widget_shows_the_control_of_what_is_given_and_all_others_but_its_rivals(desk):
    controls = {one.description: one for one in explore.widget(desk).children[:-1]}
    hidden = {name for name, one in controls.items() if one.layout.display == "none"}
    assert hidden == {explore.WISHES["hours"], explore.WISHES["euros"]}
