import shutil

import pandas as pd
import pytest
from IPython.display import HTML

from medmm_lib import paths
from medmm_lib.sortable import sortable

CHROMIUM = shutil.which("chromium")
FRAME = pd.DataFrame({"name": ["b <x>", "a", "c"], "size": ["2B", "300M", "1B"], "n": [10, 9, 1000]})


def test_texts_are_escaped_and_html_is_kept():
    page = sortable(FRAME.assign(link=[HTML('<a href="x">y</a>')] * 3)).data
    assert "b &lt;x&gt;" in page
    assert '<td><a href="x">y</a></td>' in page
    assert "<td>1,000</td>" in page


@pytest.mark.browser
def test_a_click_sorts_up_and_another_down():
    from playwright.sync_api import sync_playwright

    script = (paths.REPORT / "assets" / "tables.js").read_text(encoding="utf-8")
    page = sortable(FRAME, {"size": [2e9, 3e8, ""]}).data.replace(
        '<script src="../assets/tables.js" defer></script>', ""
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_content(f"{page}<script>{script}</script><script>{script}</script>")

        def order():
            return tab.locator("tbody tr td:first-child").all_inner_texts()

        for column, wanted in (
            ("name", ["a", "b <x>", "c"]),
            ("n", ["a", "b <x>", "c"]),
            ("size", ["a", "b <x>", "c"]),
        ):
            tab.get_by_role("button", name=column, exact=True).click()
            assert order() == wanted
        tab.get_by_role("button", name="size").press("Enter")  # the other way round; what is empty stays last
        assert order() == ["b <x>", "a", "c"]
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        browser.close()
