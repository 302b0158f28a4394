import itertools
import random
import re
import shutil

import pytest

from medmm_kernels.spec import STRATEGIES
from medmm_lib import data, masking_page, paths
from medmm_lib.masking_page import ALPHAS, MOST_TOKENS, STRATEGY_NAMES, Setting

CHROMIUM = shutil.which("chromium")
ALL_SHOWN = """(settings) => {
    const root = document.querySelector(".masks"), form = root.querySelector("form");
    const texts = (selector) => [...root.querySelectorAll(selector)].map((one) => one.textContent);
    return settings.map((setting) => {
        for (const [name, value] of Object.entries(setting)) form.elements[name].value = value;
        form.dispatchEvent(new Event("input"));
        return {
            states: [0, 1, 2].map((m) => [...root.querySelectorAll(`[data-modality="${m}"] [data-place]`)]
                .map((cell) => cell.getAttribute("class"))),
            numbers: [0, 1, 2].map((m) => texts(`[data-row="${m}"] td`).map(Number)),
            texts: texts("[data-text]"),
            filled: texts("[data-filled]"),
        };
    });
}"""


@pytest.fixture(scope="module")
def study():
    return data.examples()[5]


@pytest.fixture(scope="module")
def tab(study):
    """A browser's page with the explorer."""
    from playwright.sync_api import sync_playwright

    script = (paths.REPORT / "assets" / "masks.js").read_text(encoding="utf-8")
    source = masking_page.page(study).data.replace('<script src="../assets/masks.js" defer></script>', "")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.set_content(f"{source}<script>{script}</script>")
        yield opened
        browser.close()


def settings(count):
    """Settings from all over what the controls can be set to, and their ends."""
    draw = random.Random(0)
    ends = [
        Setting(strategy, inputs, targets, alpha, alpha)
        for strategy, inputs, targets, alpha in itertools.product(
            STRATEGIES, (0, 1, MOST_TOKENS), (0, 1, MOST_TOKENS), (ALPHAS[0], ALPHAS[-1])
        )
    ]
    return ends + [
        Setting(
            draw.choice(STRATEGIES), draw.randint(0, MOST_TOKENS), draw.randint(0, MOST_TOKENS), draw.choice(ALPHAS),
            draw.choice(ALPHAS), draw.randint(0, 20) / 20, draw.choice((draw.randrange(100), draw.randrange(2**32))),
            draw.choice((draw.randrange(10), draw.randrange(2**32))),
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.browser
def test_the_page_masks_as_the_kernels_do(tab, study):
    tried = settings(500)
    for setting, shown in zip(tried, tab.evaluate(ALL_SHOWN, [vars(one) for one in tried]), strict=True):
        made = masking_page.draw(study, setting)
        assert shown == vars(made) | {"texts": list(made.texts), "filled": list(made.filled)}, setting


@pytest.mark.browser
def test_draw_another_takes_the_next_sample(tab, study):
    tab.evaluate(ALL_SHOWN, [vars(Setting(sample=7))])
    tab.get_by_role("button", name="Draw another").press("Enter")
    assert tab.get_by_label("Sample").input_value() == "8"
    _, _, given, _, asked, left = masking_page.draw(study, Setting(sample=8)).numbers[1]
    assert tab.get_by_role("img", name=f"image: {given} patches given, {asked} asked for, {left} left out").count() == 1


@pytest.mark.browser
def test_progress_is_asked_for_in_a_curriculum_only(tab):
    for strategy in STRATEGIES:
        tab.get_by_label("Strategy").select_option(strategy)
        assert tab.get_by_label("Progress of the training").is_visible() == (strategy == "curriculum")


def test_the_page_shows_an_example_without_javascript(study):
    source, drawn = masking_page.page(study).data, masking_page.draw(study, masking_page.START)
    assert "<form hidden>" in source
    for m in (1, 2):
        grid = re.search(rf'data-modality="{m}">(.*?)</svg>', source)[1]
        assert re.findall(r'class="(\w+)"', grid) == drawn.states[m]
    rows = re.findall(r"<tr data-row.*?</tr>", source)
    assert [[int(n) for n in re.findall(r"<td>(\d+)", row)] for row in rows] == drawn.numbers


def test_every_strategy_can_be_chosen():
    assert set(STRATEGY_NAMES) == set(STRATEGIES)
