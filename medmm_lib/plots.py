"""Figures that work everywhere the report is read: JupyterLab, the website, print, and a screen reader."""

import base64
import html
import json
import os
import re

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML, display
from markdown_it import MarkdownIt

from medmm_lib.static_pictures import StaticPictures

PICTURES = StaticPictures()
FIGURE_HEIGHT = 420  # px, where a figure does not set its own
# Okabe and Ito's colours, which stay apart for every kind of colour vision. Their yellow and black are left out:
# one is lost on a white page, the other on a dark one.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]
TEXT = "#767676"  # readable on white and on black, as JupyterLab does not say which it has; the website sets its own
GRID = "rgba(128, 128, 128, 0.25)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_AXIS = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True, "title": {"standoff": 10}}
pio.templates["medmm"] = go.layout.Template(
    layout={
        "colorway": PALETTE,
        "colorscale": {"sequential": "Cividis", "sequentialminus": "Cividis", "diverging": "RdBu"},
        "font": {"family": FONT, "size": 14, "color": TEXT},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "margin": {"l": 56, "r": 16, "t": 40, "b": 48},
        "title": {"font": {"size": 16}, "x": 0, "xref": "paper"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
pio.templates.default = "medmm"


def show(figure: go.Figure, *, alt: str) -> None:
    """Display a figure in every form that a reader may need.

    `alt` says in one or two sentences what the figure shows, for whoever does not see it. The website draws the figure
    with its own plotly.js (`report/assets/figures.js`); a static picture for PDF is added where Chromium can be had.
    """
    if not alt.strip():
        raise ValueError('alt is empty: say what the figure shows, as in alt="Loss falls from 7 to 0.03 in 300 steps"')
    data = figure.to_json()
    config = {"displaylogo": False, "responsive": True}
    bundle = {
        "application/vnd.plotly.v1+json": json.loads(data) | {"config": config},
        "text/html": _for_website(data, alt, _height(figure)),
        "text/plain": alt,
    }
    if picture := _picture(figure):
        bundle["image/png"] = picture
    display(bundle, raw=True)


def table(frame: pd.DataFrame) -> HTML:
    """A table for the page: no index, whole numbers with thousands separated."""
    formatters = {
        name: (lambda value: f"{value:,}" if isinstance(value, int) else str(value)) for name in frame.columns
    }
    return HTML(frame.astype(object).to_html(index=False, border=0, formatters=formatters))


def box(markdown: str, kind: str, title: str = "") -> None:
    """Display text in a box: on the website a div of class `kind`, such as `callout-tip`; in JupyterLab HTML."""
    named = f' title="{title}"' if title else ""
    heading = f"**{title}**\n\n" if title else ""
    rendered = MarkdownIt().enable("table").render(heading + markdown)
    display(
        {
            "text/markdown": f"::: {{.{kind}{named}}}\n{markdown}\n:::",
            "text/html": f'<div style="border-left: 3px solid currentcolor; padding-left: 1rem">{rendered}</div>',
        },
        raw=True,
    )


def literal(text: str) -> str:
    """A text of the data, so that Markdown shows it as it is, in a line: no HTML, links, formatting or citations."""
    marks = re.sub(r"([\\`*_{}\[\]$!#|~@^])", r"\\\1", " ".join(text.split()))
    return html.escape(marks, quote=False)


def _height(figure: go.Figure) -> int:
    return figure.layout.height or FIGURE_HEIGHT


def _for_website(data: str, alt: str, height: int) -> str:
    """The figure's data and its description; figures.js draws it, however often a page names the script."""
    text = html.escape(alt)
    # A "<" could end the script element early; JSON can do without it.
    data = data.replace("<", "\\u003c")
    return (
        f'<div class="medmm-figure" role="figure" aria-label="{text}" style="min-height: {height}px">'
        f'<script type="application/json">{data}</script><p class="medmm-figure-alt">{text}</p></div>'
        '<script src="../assets/figures.js" defer></script>'
    )


def _picture(figure: go.Figure) -> str | None:
    """The figure as a PNG in base64, for white paper, or None where nobody needs it or no browser can draw it."""
    # Only a Jupyter server sets this. Someone is looking, and Plotly's renderer there would show the picture instead.
    if "JPY_SESSION_NAME" in os.environ:
        return None
    printed = go.Figure(figure)
    printed.update_layout(font_color="#222222", paper_bgcolor="white")
    png = PICTURES.png(printed, 760, _height(figure))
    return base64.b64encode(png).decode() if png else None
