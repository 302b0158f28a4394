"""Looking at encoders: what an MAE fills in, where a tower looks, which texts it finds; on a page or as a widget."""

import html
from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
import plotly.colors
import torch
from PIL import Image, ImageDraw

from medmm_lib.contrastive.alignment import Alignment
from medmm_lib.contrastive.explain import Box, maps
from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.mae import MAE, masks
from medmm_lib.data.browse import data_uri

WIDTH = 128  # pixels of a picture on the page
_COLOURS = np.array(
    plotly.colors.sample_colorscale("Cividis", np.linspace(0, 1, 256).tolist(), colortype="tuple"), dtype=float
)


def filled_in(mae: MAE, pixels: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """What an MAE is given of each image, hidden patches grey, and what it fills in: twice [side, side] uint8."""
    noise = masks(len(pixels), mae.shape.grid**2)[:, 0]
    both = asked(mae, lambda part, draw: torch.stack(_given_and_made(mae, part, draw), 1), pixels, noise)
    return [(given, made) for given, made in both.numpy().astype(np.uint8)]


def _given_and_made(mae: MAE, pixels: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    made, hidden = mae.filled_in(pixels, noise)
    grid, patch = mae.shape.grid, mae.shape.patch
    where = hidden.unflatten(1, (grid, grid)).repeat_interleave(patch, 1).repeat_interleave(patch, 2).bool()
    drawn = ((made.float() + 1) * 127.5).clamp(0, 255)
    return torch.where(where, 128.0, pixels.float()), torch.where(where, drawn, pixels.float())


def heat(values: np.ndarray, pixels: np.ndarray) -> Image.Image:
    """A map [side, side] in colours over its image [side, side] uint8; the brightest is the map's highest value."""
    scaled = (255 * (values - values.min()) / max(values.max() - values.min(), 1e-12)).astype(int)
    shown = 0.6 * 255 * _COLOURS[scaled] + 0.4 * pixels[..., None]
    return Image.fromarray(shown.astype(np.uint8))


def picture(image: np.ndarray | Image.Image, title: str, boxes: Sequence[Box] = ()) -> str:
    """HTML of a picture with boxes and a title."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image = image.convert("RGB").resize((2 * WIDTH, 2 * WIDTH), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        left, top, right, bottom = (2 * WIDTH * share for share in box["box"])
        draw.rectangle((left - 2, top - 2, max(left, right + 1), max(top, bottom + 1)), outline="#FFFFFF", width=2)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline="#D55E00", width=3)
    alt = html.escape(title, quote=True)
    return (
        f'<figure style="width:{WIDTH}px;margin:0"><img src="{data_uri(image.quantize(256))}" alt="{alt}" '
        f'style="width:100%"><figcaption>{html.escape(title)}</figcaption></figure>'
    )


def side_by_side(figures: Sequence[str]) -> str:
    """HTML of pictures in a row that wraps."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:1rem;margin-bottom:1rem">{"".join(figures)}</div>'


def widget(
    mae: MAE, model: Alignment, pixels: torch.Tensor, texts: Sequence[str], own: Sequence[str | None],
    boxes: Sequence[Sequence[Box] | None], embed: Callable[[Sequence[str]], np.ndarray],
) -> ipywidgets.VBox:  # fmt: skip
    """For JupyterLab: choose an image, see what is filled in, where the tower looks, and which texts it finds.

    `texts` are searched; one more can be typed, which `embed` turns into targets. `own`: the images' own texts.
    """
    place = ipywidgets.IntSlider(0, 0, len(pixels) - 1, description="Image")
    typed = ipywidgets.Text(placeholder="There is pleural effusion.", layout=ipywidgets.Layout(width="28rem"))
    view, known = ipywidgets.HTML(), list(dict.fromkeys(texts))
    gallery = asked(model, model.texts, torch.from_numpy(embed(known)))

    def show(_: object = None) -> None:
        one = pixels[place.value : place.value + 1]
        given, made = filled_in(mae, one)[0]
        looked = heat(maps(model.tower, one)[0], one[0].numpy())
        lesions = boxes[place.value] or []
        figures = [picture(one[0].numpy(), "image", lesions), picture(given, "given"), picture(made, "filled in")]
        figures.append(picture(looked, "where it looks", lesions))
        image = asked(model, model.tower, one)[0]
        found = sorted(zip((gallery @ image).tolist(), known, strict=True), reverse=True)[:5]
        if typed.value:
            likeness = float(asked(model, model.texts, torch.from_numpy(embed([typed.value])))[0] @ image)
            found.insert(0, (likeness, f"(typed) {typed.value}"))
        lines = "".join(f"<tr><td>{score:.2f}</td><td>{html.escape(text)}</td></tr>" for score, text in found)
        view.value = (
            f"{side_by_side(figures)}<p>Its own text: {html.escape(own[place.value] or 'none')}</p>"
            f"<table><tr><th>likeness</th><th>text</th></tr>{lines}</table>"
        )

    place.observe(show, "value")
    typed.continuous_update = False
    typed.observe(show, "value")
    show()
    return ipywidgets.VBox([ipywidgets.Box([place, typed], layout=ipywidgets.Layout(flex_flow="row wrap")), view])
