"""Looking at masks: a study as tokens, masked, and what is given and asked for; on a page, or as a widget.

Places are patches of the image and of its label map, as no tokeniser is trained here. The image is input only.
"""

import html
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
import torch
from datasets import Dataset
from PIL import Image

from medmm_kernels import MaskedBatch, MaskSpec, Modality, mask_batch
from medmm_kernels.spec import STRATEGIES
from medmm_lib.data.browse import COLOURS, data_uri
from medmm_lib.data.schema import MASK_CLASSES

SIDE = 12  # patches along a side
SENTINELS, FIRST_WORD = 32, 40
PANELS = ("image, given", "label map, given", "label map, asked for")
HIDDEN = (128, 128, 128, 40)  # RGBA of a patch that is not there
GAP = 8  # pixels between panels
SHADES = {"background": "#202020", "body": "#707070"}  # of classes that are not drawn over a scan
CLASS_COLOURS = np.array(
    [[*bytes.fromhex((COLOURS[name] or SHADES[name])[1:]), 255] for name in MASK_CLASSES], np.uint8
)


def specification(
    alpha: float = 1.0, inputs: int | tuple[int, int] = 96, targets: int = 64, **changes: object
) -> MaskSpec:
    """Three modalities of a study: patches of the image, patches of the label map, words of the caption."""
    places, grid = SIDE * SIDE, (SIDE, SIDE)
    modalities = {
        "image": Modality("dense", places, alpha, 0.0, grid=grid),
        "label map": Modality("dense", places, alpha, alpha, grid=grid),
        "caption": Modality("sequence", 64, alpha, alpha),
    }
    return MaskSpec(modalities, inputs, targets, first_sentinel=2, sentinels=SENTINELS, **changes)


def words(row: dict[str, Any]) -> list[str]:
    """The words of a study's caption and the end of it. `row` has the schema of `medmm_lib.data.schema`."""
    return [*(row["caption"] or "").split(), "[end]"]


def mask(row: dict[str, Any], spec: MaskSpec, sample_id: int = 0) -> MaskedBatch:
    """Mask one study. Tokens are the numbers of the patches, and of the words in their order."""
    width, height = row["image"].size
    if row["mask"] is None or row["mask"].size != (width, height) or width != height or width % SIDE:
        raise ValueError(
            f"study {row['image_id']!r} is {width} × {height}; expected a square whose side is a multiple of {SIDE}, "
            "and a label map of that size"
        )
    places = torch.arange(SIDE * SIDE)[None]
    caption = FIRST_WORD + torch.arange(len(words(row)))[None]
    tokens = {"image": places, "label map": places, "caption": caption}
    weights = {"image": tissue(row)[None], "label map": tissue(row)[None]} if spec.strategy == "weighted" else None
    return mask_batch(tokens, {}, spec, seed=0, sample_ids=torch.tensor([sample_id]), weights=weights)


def tissue(row: dict[str, Any]) -> torch.Tensor:
    """Of every patch the share that is not background, and a little, so that no place is out of reach. → [places]."""
    inside = np.asarray(row["mask"]) > 0
    height, width = (side // SIDE for side in inside.shape)
    return torch.from_numpy(inside.reshape(SIDE, height, SIDE, width).mean((1, 3)).flatten() + 0.05).float()


def panels(row: dict[str, Any], masked: MaskedBatch) -> np.ndarray:
    """The panels `PANELS` of a masked study side by side. → RGBA [H, 3 W + gaps, 4] uint8"""
    image = np.asarray(row["image"].convert("RGBA"))
    labels = CLASS_COLOURS[np.asarray(row["mask"])]
    (encoder, decoder), image_at, labels_at = masked, 1, 2  # modalities are in the order of their names
    given = [encoder.position[0][encoder.modality[0] == m] for m in (image_at, labels_at)]
    asked = decoder.position[0][decoder.modality[0] == labels_at]
    drawn = [_patches(image, given[0]), _patches(labels, given[1]), _patches(labels, asked)]
    gap = np.zeros((image.shape[0], GAP, 4), np.uint8)
    return np.concatenate([part for panel in drawn for part in (panel, gap)][:-1], axis=1)


def _patches(picture: np.ndarray, places: torch.Tensor) -> np.ndarray:
    """A picture of which only some patches are there."""
    there = np.zeros(SIDE * SIDE, bool)
    there[places.numpy()] = True
    size = picture.shape[0] // SIDE
    there = there.reshape(SIDE, SIDE).repeat(size, 0).repeat(size, 1)
    return np.where(there[..., None], picture, np.array(HIDDEN, np.uint8))


def texts(row: dict[str, Any], masked: MaskedBatch) -> tuple[str, str]:
    """The caption as given and as asked for, ⟨k⟩ being sentinels; what is asked for follows a first sentinel."""
    caption = dict(enumerate(words(row), FIRST_WORD)) | {2 + k: f"⟨{k}⟩" for k in range(SENTINELS)}
    (encoder, decoder), caption_at = masked, 0
    given = encoder.ids[0][encoder.modality[0] == caption_at].tolist()
    asked = decoder.modality[0] == caption_at
    target = [*decoder.ids[0][asked][:1].tolist(), *decoder.targets[0][asked].tolist()]
    return tuple(" ".join(caption[token] for token in part) or "nothing" for part in (given, target))


def figure(pictures: dict[str, np.ndarray]) -> go.Figure:
    """Rows of panels under each other, named by the keys."""
    rows = list(pictures.values())
    height, width = rows[0].shape[:2]
    gap = np.zeros((GAP, width, 4), np.uint8)
    stacked = np.concatenate([part for row in rows for part in (row, gap)][:-1])
    drawn = go.Figure(go.Image(source=data_uri(Image.fromarray(stacked)), hoverinfo="skip"))
    centre, step = (width - 2 * GAP) / 6, (width + GAP) / 3
    drawn.update_xaxes(
        tickvals=[centre + step * i for i in range(3)], ticktext=[p.replace(", ", ",<br>") for p in PANELS],
        side="top", showgrid=False, zeroline=False,
    )  # fmt: skip
    drawn.update_yaxes(
        tickvals=[height / 2 + i * (height + GAP) for i in range(len(rows))], ticktext=list(pictures),
        showgrid=False, zeroline=False, constraintoward="top",
    )  # fmt: skip
    aspect = stacked.shape[0] / width
    drawn.update_layout(height=70 + 160 * len(rows), margin={"l": 8, "r": 8, "t": 56, "b": 8}, meta={"aspect": aspect})
    return drawn


def widget(part: Dataset) -> ipywidgets.VBox:
    """Masks of a study, for JupyterLab: choose the study, the strategy, the budgets and α, and draw again."""
    study = ipywidgets.IntSlider(0, 0, len(part) - 1, description="Study")
    strategy = ipywidgets.Dropdown(options=STRATEGIES, description="Strategy")
    alpha = ipywidgets.FloatLogSlider(1.0, min=-1, max=1.3, step=0.1, description="α", readout_format=".2f")
    inputs = ipywidgets.IntSlider(96, 0, 256, description="Given")
    targets = ipywidgets.IntSlider(64, 0, 256, description="Asked for")
    sample = ipywidgets.IntSlider(0, 0, 99, description="Draw")
    progress = ipywidgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.1, description="Progress")
    controls = (study, strategy, alpha, inputs, targets, sample, progress)
    view = ipywidgets.HTML()  # not an Output: under Papermill, that can wait for ever

    def show(_: object = None) -> None:
        changes: dict[str, Any] = {"strategy": strategy.value}
        total = (inputs.value // 4, inputs.value) if strategy.value == "cosine" else inputs.value
        if strategy.value == "curriculum":
            changes |= {"first_input_tokens": inputs.value // 4, "progress": progress.value}
        progress.layout.display = None if strategy.value == "curriculum" else "none"
        row = part[study.value]
        masked = mask(row, specification(alpha.value, total, targets.value, **changes), sample.value)
        given, asked = map(html.escape, texts(row, masked))
        heads = "".join(f"<th>{panel}</th>" for panel in PANELS)
        picture = data_uri(Image.fromarray(panels(row, masked)))
        view.value = (
            f'<table style="width: 45rem; max-width: 100%; table-layout: fixed"><tr>{heads}</tr>'
            f'<tr><td colspan="3"><img style="width: 100%" src="{picture}" alt="A study, masked: {strategy.value}">'
            f"</td></tr></table><p>{int(masked.encoder.valid.sum())} tokens given, "
            f"{int(masked.decoder.valid.sum())} asked for</p>"
            f"<p><b>Caption, given:</b> {given}</p><p><b>Caption, asked for:</b> {asked}</p>"
        )

    for control in controls:
        control.observe(show, "value")
    show()
    return ipywidgets.VBox([ipywidgets.Box(controls, layout=ipywidgets.Layout(flex_flow="row wrap")), view])
