import pandas as pd
import plotly.graph_objects as go
import pypandoc
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from medmm_lib import plots

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "](javascript:alert(1))", "[a](javascript:b)",
    "![a](x)", "<javascript:alert(1)>", "`code`", "**bold**", "&lt;b&gt;", "$x$", "a | b",
    "{{< include /etc/passwd >}}", "[@key]", "\\<b>", "`<b>`{=html}", "# title\n\n<b>x</b>",
]  # fmt: skip


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_the_data_is_shown_as_it_is(text):
    made = [MarkdownIt().enable("table").render(f"Seen: {plots.literal(text)}, twice.")]
    made.append(pypandoc.convert_text(f"Seen: {plots.literal(text)}, twice.", "html", "markdown-smart"))
    for page in made:
        soup = BeautifulSoup(page, "html.parser")
        assert [tag.name for tag in soup.find_all()] == ["p"]
        assert words(soup.text) == f"Seen: {words(text)}, twice."


@given(st.text(st.sampled_from([*"<>[]()`*_\\&!#|~@^${}:=\"' \n-a1/"]), min_size=1).filter(str.strip))
def test_no_text_becomes_markup(text):
    soup = BeautifulSoup(MarkdownIt().enable("table").render(f"Seen: {plots.literal(text)}."), "html.parser")
    assert [tag.name for tag in soup.find_all()] == ["p"]
    assert words(soup.text) == words(f"Seen: {words(text)}.")


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_and_figures_escape_what_they_show(text, monkeypatch):
    table = BeautifulSoup(plots.table(pd.DataFrame({text: [text, 1000]})).data, "html.parser")
    assert {tag.name for tag in table.find_all()} == {"table", "thead", "tbody", "tr", "th", "td"}
    assert table.td.text == text
    shown = []
    monkeypatch.setattr(plots, "display", lambda bundle, raw: shown.append(bundle))
    monkeypatch.setattr(plots, "_picture", lambda _: None)
    plots.show(go.Figure(go.Bar(x=[text], y=[1], hovertext=[text])), alt=text)
    figure = BeautifulSoup(shown[0]["text/html"], "html.parser")
    assert [tag.name for tag in figure.find_all()] == ["div", "script", "p", "script"]
    assert figure.div["aria-label"] == text
