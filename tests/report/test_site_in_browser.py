"""The built website in a real browser: what a reader meets on a laptop, on a phone, and in the dark."""

import http.server
import os
import re
import shutil
import threading
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from medmm_lib import paths
from medmm_lib.site.check import Website

pytestmark = pytest.mark.browser

SITE = Path(os.environ.get("MEDMM_SITE", paths.SITE))
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
AXE = Axe()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

if not PAGES:
    pytest.skip(f"no website in {SITE}: run `make report` first", allow_module_level=True)
if not CHROMIUM:
    pytest.skip("Chromium is not installed", allow_module_level=True)

DRAW_EVERY_FIGURE = """async () => {
    for (const figure of document.querySelectorAll(".medmm-figure")) {
        if (!figure.offsetParent) continue; // in a tab that is not open
        figure.scrollIntoView();
        for (let i = 0; i < 100 && !figure.dataset.drawn; i++) await new Promise(r => setTimeout(r, 50));
    }
    window.scrollTo(0, 0);
}"""
FIGURES = """() => [...document.querySelectorAll(".medmm-figure")].map(figure => ({
    drawn: Boolean(figure.dataset.drawn) || !figure.offsetParent,
    label: figure.getAttribute("aria-label") || "",
}))"""
PICTURES_WITHOUT_ALT = """() => [...document.querySelectorAll("img")]
    .filter(image => !image.closest("[aria-hidden=true]") && !image.getAttribute("alt"))
    .map(image => image.outerHTML.slice(0, 120))"""
CELLS_OVER_OTHERS = """() => [...document.querySelectorAll("main td, main th")]
    .filter(cell => cell.offsetParent && cell.scrollWidth > cell.clientWidth + 1)
    .filter(cell => getComputedStyle(cell).overflowX === "visible")
    .map(cell => cell.textContent.trim().slice(0, 60))"""
PROSE = """() => {
    const copy = document.body.cloneNode(true);
    copy.querySelectorAll("code, pre, script, style, annotation, .medmm-figure").forEach(element => element.remove());
    return copy.textContent;
}"""
# Each text with its colour and the first opaque background behind it; axe counts in what is translucent.
COLOURS = """(selector) => [...document.querySelectorAll(selector)].map(element => {
    let behind = element;
    while (behind && /^transparent|, 0\\)$|\\/ 0[.\\d]*\\)$/.test(getComputedStyle(behind).backgroundColor)) {
        behind = behind.parentElement;
    }
    const style = getComputedStyle(element);
    return [
        element instanceof SVGElement ? style.fill : style.color,
        behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)",
        element.getClientRects().length ? element.textContent.slice(0, 40) : "",
    ];
})"""
TEXTS = "main p, main li, main a, main h1, main h2, main td, main th, .sidebar-item-text, .nav-link, footer"
PLOT_TEXTS = ".medmm-figure .xtick text, .medmm-figure .ytick text, .medmm-figure .xtitle, .medmm-figure .ytitle"


@pytest.fixture(scope="module")
def address():
    """Where the website is served from."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page and draws its figures; the test fails on any error or request to elsewhere."""
    troubles, contexts = [], []

    def open_page(name, width, scheme):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()

        def guard(route):
            if route.request.url.startswith(address):
                return route.continue_()
            troubles.append(f"request to {urlsplit(route.request.url).netloc}")
            return route.abort()

        page.route(re.compile("^https?://"), guard)
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
        page.goto(address + name, wait_until="load")
        page.evaluate(DRAW_EVERY_FIGURE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def luminance(colour):
    """The relative luminance of a CSS colour, as WCAG 2 defines it."""
    channels = [float(value) / 255 for value in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """The contrast ratio of two colours, from 1 to 21; 4.5 is what WCAG 2 asks of text."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def faint(page, selector):
    """The texts that are hard to read against what is behind them."""
    return [
        f"{text!r}: {colour} on {behind}"
        for colour, behind, text in page.evaluate(COLOURS, selector)
        if text.strip() and contrast(colour, behind) < 4.5
    ]


def barriers(page):
    """What keeps people from reading the page, by axe's rules for WCAG 2.1 A and AA: serious and critical ones."""
    found = AXE.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['target']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:5]
    ]


def test_links_and_keys_are_resolved():
    assert Website(SITE).problems() == []


@pytest.mark.parametrize("name", PAGES)
def test_page_on_a_phone(visit, name):
    page = visit(name, 390, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(CELLS_OVER_OTHERS) == []
    assert re.findall(r"(?<![\w@./-])@[A-Za-z][\w:-]*", page.evaluate(PROSE)) == []
    assert page.evaluate(PICTURES_WITHOUT_ALT) == []
    for figure in page.evaluate(FIGURES):
        assert figure["drawn"], figure
        assert figure["label"], figure
    assert faint(page, TEXTS) == []
    assert faint(page, PLOT_TEXTS) == []
    assert barriers(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_in_the_dark(visit, name):
    page = visit(name, 1280, "dark")
    page.wait_for_timeout(500)  # a theme's stylesheet and the figures' colours settle
    background, text = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert luminance(background) < 0.2
    assert contrast(background, text) >= 4.5
    assert faint(page, TEXTS) == []
    assert faint(page, PLOT_TEXTS) == []
    assert barriers(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_at_every_width_in_both_themes(visit, name):
    for width in (390, 820, 1440):
        for scheme in ("light", "dark"):
            page = visit(name, width, scheme)
            page.wait_for_timeout(500)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert barriers(page) == [], (width, scheme)


def test_the_site_is_light():
    sizes = {path.relative_to(SITE).as_posix(): path.stat().st_size for path in SITE.rglob("*") if path.is_file()}
    assert {name: size for name, size in sizes.items() if name in PAGES and size > 1.5e6} == {}
    assert sum(sizes.values()) < 15e6
