"""Looking at cases: images with boxes, label map, caption and findings; on a page without a kernel, or as a widget."""

import base64
import html
import io
from typing import Any

import ipywidgets
import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw

from medmm_lib.data.schema import MASK_CLASSES

DISPLAY_WIDTH = 224  # pixels, on the page

# One colour a class of the label map; a lesion stands out on every organ. Okabe and Ito's palette, then Tol's.
COLOURS = dict(
    zip(
        MASK_CLASSES,
        [None, None, "#56B4E9", "#0072B2", "#009E73", "#CC79A7", "#999933", "#44AA99", "#882255", "#DDDDDD", "#E69F00"],
        strict=True,
    )
)


def page(rows: list[dict[str, Any]]) -> str:
    """HTML of some images, case by case; the overlay is switched by a check box without JavaScript.

    `rows` have the schema of `medmm_lib.data.schema`.
    """
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault(row["case_id"], []).append(row)
    widest = max(cases, key=lambda case: len(cases[case]))
    blocks = [_case(images, is_open=case == widest) for case, images in cases.items()]
    switch = '<label class="overlay-switch"><input type="checkbox" checked> Show label map and boxes</label>'
    return f'<div class="case-browser">{switch}{_legend(rows)}{"".join(blocks)}</div>'


def widget(part: Dataset) -> ipywidgets.VBox:
    """A browser of every case of one split, for JupyterLab: choose a case, switch the overlay."""
    places: dict[str, list[int]] = {}
    for place, case in enumerate(part["case_id"]):
        places.setdefault(case, []).append(place)
    case = ipywidgets.Dropdown(options=list(places), description="Case")
    overlay = ipywidgets.Checkbox(value=True, description="Label map and boxes")
    view = ipywidgets.HTML()

    def show(_: object = None) -> None:
        images = [part[place] for place in places[case.value]]
        view.value = _legend(images) + _case(images, is_open=True, overlay=overlay.value)

    case.observe(show, "value")
    overlay.observe(show, "value")
    show()
    return ipywidgets.VBox([ipywidgets.HBox([case, overlay]), view])


def overlay(row: dict[str, Any]) -> Image.Image | None:
    """The label map as half-transparent colours and the boxes as outlines, at four times the image's size.

    Returns an RGBA picture, or None for an image that has neither.
    """
    if row["mask"] is None and not row["boxes"]:
        return None
    width, height = row["image"].size
    picture = Image.new("RGBA", (width, height))
    if row["mask"] is not None:
        colours = np.array([_rgba(COLOURS[name]) for name in MASK_CLASSES], dtype=np.uint8)
        picture = Image.fromarray(colours[np.asarray(row["mask"])], "RGBA")
    picture = picture.resize((4 * width, 4 * height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    for box in row["boxes"] or []:
        left, top, right, bottom = (value * side for value, side in zip(box["box"], picture.size * 2, strict=True))
        draw.rectangle((left, top, right - 1, bottom - 1), outline="#FFFFFF", width=4)
        draw.rectangle((left + 4, top + 4, right - 5, bottom - 5), outline="#D55E00", width=4)
    return picture


def _rgba(colour: str | None) -> tuple[int, int, int, int]:
    return (0, 0, 0, 0) if colour is None else (*bytes.fromhex(colour[1:]), 110)


def _case(images: list[dict[str, Any]], *, is_open: bool, overlay: bool = True) -> str:
    first = images[0]
    figures = "".join(_figure(row, overlay) for row in images)
    person = ", ".join(str(value) for value in (first["sex"], first["age"] and f"{first['age']} years") if value)
    title = " · ".join(html.escape(text) for text in (first["case_id"], first["diagnosis"], person) if text)
    texts = "".join(
        f"<dt>{name.capitalize()}</dt><dd>{html.escape(first[name])}</dd>"
        for name in ("history", "findings")
        if first[name]
    )
    return (
        f"<details{' open' if is_open else ''}><summary>{title}</summary>"
        f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{figures}</div><dl>{texts}</dl></details>'
    )


def _figure(row: dict[str, Any], with_overlay: bool) -> str:
    caption = row["caption"] or "No caption."
    style = f"width:{DISPLAY_WIDTH}px;max-width:100%;image-rendering:pixelated"
    layers = f'<img src="{data_uri(row["image"])}" alt="{html.escape(caption, quote=True)}" style="{style}">'
    drawn = overlay(row) if with_overlay else None
    if drawn is not None:
        names = ", ".join(box["name"] for box in row["boxes"] or []) or "no lesion"
        alt = html.escape(f"Label map and boxes: {names}", quote=True)
        style += ";position:absolute;left:0;top:0"
        layers += f'<img class="overlay" src="{data_uri(drawn)}" alt="{alt}" style="{style}">'
    what = " ".join(text for text in (row["modality"], row["sequence"], row["plane"]) if text)
    text = f"<strong>{html.escape(what)}.</strong> {html.escape(caption)}"
    layers = f'<div style="position:relative">{layers}</div>'
    return f'<figure style="width:{DISPLAY_WIDTH}px">{layers}<figcaption>{text}</figcaption></figure>'


def _legend(rows: list[dict[str, Any]]) -> str:
    """The colours of the classes that occur in the label maps of `rows`."""
    present = {int(value) for row in rows if row["mask"] is not None for value in np.unique(np.asarray(row["mask"]))}
    swatch = "display:inline-block;width:0.8em;height:0.8em;margin:0 0.3em 0 0.8em"
    items = [
        f'<span><i style="{swatch};background:{COLOURS[MASK_CLASSES[value]]}"></i>{MASK_CLASSES[value]}</span> '
        for value in sorted(present)
        if COLOURS[MASK_CLASSES[value]]
    ]
    return f'<p class="legend">{"".join(items)}</p>' if items else ""


def data_uri(image: Image.Image) -> str:
    """A picture as the address of itself, for HTML and for Plotly."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
