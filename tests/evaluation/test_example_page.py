import shutil

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from medmm_lib import paths
from medmm_lib.evaluation import example_page, gathered, scored

CHROMIUM = shutil.which("chromium")
SCRIPT = '<script src="../assets/examples.js" defer></script>'


@pytest.fixture
def models(artifacts):
    return gathered.gather("quick")[0]


@pytest.fixture
def examples(models):
    return {one.name: example_page.chosen(one, images(n), 3) for n, one in enumerate(models)}


@pytest.fixture
def source(examples):
    return example_page.page(examples).data


@pytest.fixture
def tab(source):
    """A browser's page with the examples and, as where a page has two of them, the script twice."""
    from playwright.sync_api import sync_playwright

    script = (paths.REPORT / "assets" / "examples.js").read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.set_content(f"{source.replace(SCRIPT, '')}<script>{script}</script><script>{script}</script>")
        yield opened
        browser.close()


def images(brightness):
    """Another brightness for every data set and image."""
    return {f"i{k}": Image.new("L", (8, 8), 100 * brightness + k) for k in range(20)}


def test_examples_have_the_answers_and_scores_of_every_condition(models, examples):
    for n, one in enumerate(models):
        scores = {condition: scored.example_scores(rows) for condition, rows in one.conditions.items()}
        for example in examples[one.name]:
            place = example.image.getpixel((0, 0)) - 100 * n
            assert (example.question, example.reference) == tuple(one.rows.iloc[place][["question", "reference"]])
            assert list(example.answers) == list(one.conditions)
            for condition, (text, own) in example.answers.items():
                assert text == one.conditions[condition]["prediction"].iloc[place]
                assert own == {score: scores[condition][score][place] for score in example_page.SCORES}


def test_examples_say_whether_the_answer_is_better_than_under_every_control(examples):
    for example in examples["PaliGemma, fine-tuned"]:  # always right; one control says always yes, one no way
        easy = example.reference in ("Yes", "No")
        assert example.groups[-1] == ("level" if example.reference == "Yes" else "ahead"), easy


def test_a_few_examples_are_shown_once(models):
    few = example_page.chosen(models[0], images(0), 15)  # the best, the middle and the worst of 20 overlap
    assert len({example.image.getpixel((0, 0)) for example in few}) == len(few) == 20
    assert {example.groups[1] for example in few} <= set(example_page.GROUPS)


def test_the_page_is_a_list_without_javascript(source, examples):
    page = BeautifulSoup(source, "html.parser")
    assert page.find("form").has_attr("hidden")
    articles = page.find_all("article")
    assert len(articles) == sum(map(len, examples.values()))
    assert not any(tag.has_attr("hidden") for article in articles for tag in [article, *article.find_all(True)])
    first = next(iter(examples.values()))[0]
    assert first.question in articles[0].text
    rows = [[cell.text for cell in row.find_all("td")] for row in articles[0].find_all("tr")][1:]
    wanted = [
        [text, f"{own['exact_match']:.2f}", f"{own['token_f1']:.2f}", f"{own['edit_distance']:.0f}"]
        for text, own in first.answers.values()
    ]
    assert rows == wanted
    assert articles[0].find("img")["alt"].endswith(first.question)


@pytest.mark.browser
def test_one_example_is_shown_at_a_time(tab, examples):
    following, before = (tab.get_by_role("button", name=name) for name in ("Next", "Previous"))
    for name, own in examples.items():
        tab.get_by_label("Model").select_option(name)
        for group in example_page.GROUPS:
            tab.get_by_label("Show").select_option(group)
            fitting = [k for k, example in enumerate(own, 1) if group in example.groups]
            for n, number in enumerate(fitting, 1):
                assert tab.locator("article:visible .examples-title").all_inner_texts() == [f"{name}, example {number}"]
                assert tab.locator("output").inner_text() == f"{n} of {len(fitting)}"
                assert before.is_disabled() == (n == 1)
                if n < len(fitting):
                    following.press("Enter")
            assert following.is_disabled()
            if not fitting:
                assert tab.locator("article:visible").count() == 0
                assert tab.locator("output").inner_text() == "no such example"


@pytest.mark.browser
def test_controls_are_shown_on_request_and_the_keyboard_keeps_its_place(tab, examples):
    conditions = tab.locator("article:visible tbody tr:visible th")
    assert conditions.all_inner_texts() == ["model"]
    tab.get_by_label("What it says without the evidence").check()
    assert conditions.all_inner_texts() == list(next(iter(examples.values()))[0].answers)
    tab.get_by_label("Show").select_option("best")
    assert conditions.count() > 1  # stays as it was
    for _ in range(2):
        tab.get_by_role("button", name="Next").press("Enter")
    assert tab.evaluate("document.activeElement.name") == "previous"
