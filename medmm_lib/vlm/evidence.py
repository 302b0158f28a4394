"""A widget from image to answer and back: what speaks for an answer, and what is answered without it."""

import html

import ipywidgets
import numpy as np
from PIL import Image
from torch import nn

from medmm_lib.data.browse import data_uri
from medmm_lib.evaluation.explained import BLANK
from medmm_lib.vlm.collator import Collator
from medmm_lib.vlm.inference import answer
from medmm_lib.vlm.saliency import KINDS, maps
from medmm_lib.vlm.training import Rows


def widget(model: nn.Module, collator: Collator, rows: Rows) -> ipywidgets.VBox:
    """For JupyterLab: which places of an image speak for an answer, and what the model answers without them."""
    place = ipywidgets.IntSlider(0, 0, len(rows) - 1, description="Question")
    typed = ipywidgets.Text(description="Answer", placeholder="the model's own")
    kind = ipywidgets.Dropdown(options=KINDS, value=KINDS[-1], description="Map")
    share = ipywidgets.IntSlider(0, 0, 100, 5, description="Hide, %")
    view = ipywidgets.HTML()
    for control in (place, share, typed):
        control.continuous_update = False

    def show(_: object = None) -> None:
        row = dict(rows[place.value])
        own = answer(model, collator, [row])[0]
        told = typed.value.strip() or own or row["answer"]
        values = maps(model, collator, [row], [told])[kind.value][0]
        image = np.asarray(row["image"].convert("RGB"))
        hidden = without(image, values, share.value / 100)
        then = answer(model, collator, [{**row, "image": Image.fromarray(hidden)}])[0]
        lines = {"question": row["question"], "reference": row["answer"], "the model says": own}
        lines |= {"mapped": f"what speaks for “{told}”", f"with {share.value} % hidden, it says": then}
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in lines.items())
        pictures = {"image": image, "map": _bright(values, image), "shown to the model": hidden}
        figures = "".join(
            f'<figure style="margin:0"><img width="192" alt="{name}" src="{data_uri(Image.fromarray(made))}">'
            f"<figcaption>{name}</figcaption></figure>"
            for name, made in pictures.items()
        )
        view.value = f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{figures}</div><table>{cells}</table>'

    for control in (place, typed, kind, share):
        control.observe(show, "value")
    show()
    controls = ipywidgets.Box([place, typed, kind, share], layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([controls, view])


def without(image: np.ndarray, values: np.ndarray, share: float) -> np.ndarray:
    """An image [H, W, 3] uint8 with the `share` of its places that a map [rows, columns] marks most turned grey."""
    order = np.argsort(-values.ravel(), kind="stable")[: round(share * values.size)]
    marked = np.zeros(values.size, dtype=bool)
    marked[order] = True
    where = _stretched(marked.reshape(values.shape), image)
    return np.where(where[..., None], np.uint8(BLANK), image)


def _bright(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The image, the brighter the more the map marks a place."""
    scaled = values / max(values.max(), 1e-12)
    return (image * (0.15 + 0.85 * _stretched(scaled, image)[..., None])).astype(np.uint8)


def _stretched(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A map in the pixels of an image of any size: [H, W]."""
    rows, columns = (np.arange(size) * count // size for size, count in zip(image.shape[:2], values.shape, strict=True))
    return values[rows][:, columns]
