"""Looking at what a model makes: pictures and texts beside what is known, on a page or as a widget."""

import html
from collections.abc import Sequence

import ipywidgets
import numpy as np
import torch
from datasets import Dataset
from PIL import Image, ImageDraw

from medmm_lib.data.browse import COLOURS, data_uri
from medmm_lib.data.schema import MASK_CLASSES
from medmm_lib.fourm.abilities import Answers
from medmm_lib.fourm.boxes import Box, read
from medmm_lib.fourm.modalities import Row, grey
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.tokens import Tokenisers, Tokens
from medmm_lib.plots import PALETTE

WIDTH = 144  # pixels of a picture on the page: four fit side by side
_ORGANS = {"background": "#202020", "body": "#707070"} | {name: colour for name, colour in COLOURS.items() if colour}


def coloured(label_map: np.ndarray, classes: int) -> Image.Image:
    """A label map [side, side] in colours: those of chapter 01 for organs, else the palette's, the first class grey."""
    colours = list(_ORGANS.values()) if classes == len(MASK_CLASSES) else ["#202020", *PALETTE]
    table = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)
    return Image.fromarray(table[label_map])


def picture(image: Image.Image, boxes: Sequence[Box] | None, title: str, alt: str = "") -> str:
    """HTML of a picture with boxes and a title."""
    image = image.convert("RGB").resize((2 * WIDTH, 2 * WIDTH), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for box in boxes or []:
        left, top, right, bottom = (2 * WIDTH * share for share in box.place)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="#FFFFFF", width=3)
        draw.rectangle(
            (left + 3, top + 3, max(left + 3, right - 4), max(top + 3, bottom - 4)), outline="#D55E00", width=3
        )
    source, alt = data_uri(image.quantize(64)), html.escape(alt or title, quote=True)
    return (
        f'<figure style="width:{WIDTH}px;margin:0"><img src="{source}" alt="{alt}" style="width:100%">'
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
    )


def beside(row: Row, truth: Answers, made: Answers, at: int, side: int, classes: dict[str, int]) -> str:
    """HTML of study number `at`: the scan with known and generated boxes, known and generated label maps, and texts.

    `classes`: how many each label map has, 0 for images.
    """
    scan = Image.fromarray(grey(row, side))
    names = [", ".join(box.name for box in answers.boxes[at] or []) or "none" for answers in (truth, made)]
    figures = [
        picture(scan, answers.boxes[at], f"Boxes, {who}: {name}")
        for who, answers, name in zip(("known", "generated"), (truth, made), names, strict=True)
        if answers.boxes[at] is not None
    ] or [picture(scan, None, "Scan")]
    for name in made.grids:
        for who, answers in (("known", truth), ("generated", made)):
            if (drawn := answers.grids[name][at]) is not None:
                shown = coloured(drawn, classes[name]) if classes[name] else Image.fromarray(drawn)
                figures.append(picture(shown, None, f"{name.capitalize()}, {who}"))
    texts = "".join(
        f"<tr><th>{name.capitalize()}, {who}</th><td>{html.escape(answers.texts[name][at] or 'none')}</td></tr>"
        for name in made.texts
        for who, answers in (("known", truth), ("generated", made))
    )
    return f'{side_by_side(figures)}<table class="dataframe">{texts}</table>'


def side_by_side(figures: list[str]) -> str:
    """HTML of pictures in a row that wraps."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{"".join(figures)}</div>'


def widget(model: FourM, tokenisers: Tokenisers, studies: Dataset, tokens: Tokens) -> ipywidgets.VBox:
    """Any to any, for JupyterLab: choose a study, tick what the model is given, and it generates the rest."""
    study = ipywidgets.IntSlider(0, 0, len(studies) - 1, description="Study")
    boxes = {
        name: ipywidgets.Checkbox(name == "patches", description=name, indent=False) for name in tokenisers.entries
    }
    steps = ipywidgets.IntSlider(4, 1, 16, description="Steps")
    warmth = ipywidgets.FloatSlider(0.0, min=0.0, max=1.5, step=0.1, description="Temperature")
    button, view = ipywidgets.Button(description="Generate the rest"), ipywidgets.HTML()

    def generate(_: object = None) -> None:
        given = [name for name, ticked in boxes.items() if ticked.value]
        one, row = tokens.rows(torch.tensor([study.value])), studies[study.value]
        given = [name for name in given if one.lengths[name][0]]
        if not given:
            view.value = "<p>Tick at least one modality to give, one that this study has.</p>"
            return
        asked = [name for name, entry in tokenisers.entries.items() if entry.kind != "patches" and name not in given]
        asked.sort(key=lambda name: tokenisers.entries[name].kind)  # grids first: texts are then given them
        made = model.generate(one.given(*given), asked, steps=steps.value, temperature=warmth.value)
        view.value = _made(row, one, made, tokenisers, given)

    button.on_click(generate)
    generate()
    controls = [study, steps, warmth, button]
    ticks = ipywidgets.Box(list(boxes.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([ipywidgets.Box(controls, layout=ipywidgets.Layout(flex_flow="row wrap")), ticks, view])


def _made(row: Row, one: Tokens, made: dict[str, torch.Tensor], tokenisers: Tokenisers, given: Sequence[str]) -> str:
    """Every modality of one study: what was given, and what was generated from it."""
    figures, texts = [], []
    for name, entry in tokenisers.entries.items():
        who = "given" if name in given else "generated"
        if entry.kind == "patches":
            if name in given:
                figures.append(picture(Image.fromarray(grey(row, tokenisers.side)), None, f"{name}, {who}"))
            continue
        if name not in made and not one.lengths[name][0]:
            continue
        shown = tokenisers.decode(name, made.get(name, one.ids[name]))[0]
        if entry.kind == "sequence":
            texts.append(f"<tr><th>{name}, {who}</th><td>{html.escape(shown) or 'none'}</td></tr>")
            if name == "boxes":
                figures.append(picture(Image.fromarray(grey(row, tokenisers.side)), read(shown), f"boxes, {who}"))
        else:
            drawn = coloured(shown, entry.classes) if entry.classes else Image.fromarray(shown)
            figures.append(picture(drawn, None, f"{name}, {who}"))
    return f"{side_by_side(figures)}<table>{''.join(texts)}</table>"
