"""Looking at fine-tuning: LoRA in a picture, how a model reads a question, cases, and two widgets."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import ipywidgets
import pandas as pd
from PIL import Image
from torch import nn

from medmm_lib.vlm import memory
from medmm_lib.vlm.adapters import ATTENTION, PROJECTIONS
from medmm_lib.vlm.collator import IGNORED, Collator
from medmm_lib.vlm.inference import answer
from medmm_lib.vlm.training import Rows

WIDTH = 160  # pixels, of an image on a page
KINDS = {
    "everything, bf16": {"quantised": False, "method": "full"},
    "LoRA, bf16 base": {"quantised": False},
    "LoRA, 4-bit base": {"quantised": True},
}

LORA = """
<svg viewBox="0 0 640 200" role="img" aria-label="LoRA in a picture: the input x goes through the frozen weight W, and
beside it through the small matrices A and B that are trained. The results are added to the output y."
style="max-width: 40rem; width: 100%" fill="none" stroke="currentColor" stroke-width="1.5" font-size="15"
text-anchor="middle">
<path d="M40 100h60M100 55v90M100 55h60M100 145h60M340 55h140v33M440 145h40v-33M492 100h80l-9-5m9 5-9 5"/>
<rect x="160" y="20" width="180" height="70" stroke="#0072B2" stroke-width="2.5"/>
<path d="M160 110l140 20v30l-140 20z" stroke="#D55E00" stroke-width="2.5"/>
<path d="M440 110l-140 20v30l140 20z" stroke="#D55E00" stroke-width="2.5"/>
<circle cx="480" cy="100" r="12"/><path d="M474 100h12M480 94v12"/>
<g fill="currentColor" stroke="none"><text x="25" y="105">x</text><text x="590" y="105">y</text>
<text x="250" y="52">W, frozen</text><text x="250" y="73" font-size="12">stored in few bits</text>
<text x="225" y="150">A, trained</text><text x="375" y="150">B, trained</text>
<text x="510" y="150" font-size="13">× α / r</text></g></svg>
"""


def as_read(collator: Collator, row: Mapping[str, object]) -> pd.DataFrame:
    """How one question with its answer is read, a token a row: token, type, and whether it is to be predicted.

    The image's tokens are one row.
    """
    batch = collator([row])
    ids, types, labels = (batch[name][0].tolist() for name in ("input_ids", "token_type_ids", "labels"))
    count = ids.count(collator.processor.image_token_id)
    tokens = collator.processor.tokenizer.convert_ids_to_tokens(ids)
    rows = [(f"{tokens[0]} × {count}", "prefix", "")]
    for token, kind, label in list(zip(tokens, types, labels, strict=True))[count:]:
        asked = "" if label == IGNORED else "yes"
        rows.append((token.replace("\n", "\\n").replace("▁", "␣"), "suffix" if kind else "prefix", asked))
    return pd.DataFrame(rows, columns=["token", "part", "to be predicted"])


def case(row: Mapping[str, object], answers: Mapping[str, str], note: str = "") -> str:
    """HTML of one question: its image, the question, the reference and what each model said."""
    lines = {"question": row["question"], "reference": row["answer"], **answers} | ({"score": note} if note else {})
    cells = [
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(said) or 'nothing'}</td></tr>"
        for name, said in lines.items()
    ]
    return f'<div class="question-case">{_picture(row["image"], row["type"])}<table>{"".join(cells)}</table></div>'


def _picture(image: Image.Image, alt: str) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    described = f"The image of a question on {html.escape(alt)}"
    return f'<img width="{WIDTH}" alt="{described}" src="data:image/png;base64,{data}">'


def memory_widget(names: Sequence[str]) -> ipywidgets.VBox:
    """Choose a base and how it is trained, and see what a step takes and which GPU it fits."""
    base = ipywidgets.Dropdown(options=list(names), description="Base")
    kind = ipywidgets.Dropdown(options=list(KINDS), value=list(KINDS)[-1], description="Trained")
    wide = ipywidgets.Checkbox(False, description="all projections", indent=False)
    less = ipywidgets.Checkbox(False, description="checkpointing", indent=False)
    rank = ipywidgets.SelectionSlider(options=[2, 4, 8, 16, 32, 64], value=8, description="Rank")
    batch = ipywidgets.SelectionSlider(options=[1, 2, 4, 8, 16], value=1, description="Batch")
    context = ipywidgets.SelectionSlider(options=[128, 256, 512, 1024], value=256, description="Context")
    view = ipywidgets.HTML()

    def show(_: object = None) -> None:
        plan = memory.plan(
            base.value, lora_rank=rank.value, target_modules=PROJECTIONS if wide.value else ATTENTION,
            batch_size=batch.value, context=context.value, **KINDS[kind.value],
        )  # fmt: skip
        plan = plan.checkpointed if less.value else plan
        parts = "".join(f"<tr><td>{name}</td><td>{size:.2f}</td></tr>" for name, size in plan.training_gib.items())
        fits = "; ".join(f"{gpu}: {'fits' if plan.fits(room) else 'does not fit'}" for gpu, room in memory.GPUS.items())
        view.value = (
            f"<table><tr><th>part</th><th>GiB</th></tr>{parts}<tr><th>all</th><th>{plan.total_gib:.2f}</th></tr></table>"
            f"<p>{plan.trainable:,} weights are trained, {plan.trainable_percent:.3g} %. {fits}.</p>"
        )

    for control in (base, kind, wide, less, rank, batch, context):
        control.observe(show, "value")
    show()
    flow = ipywidgets.Layout(flex_flow="row wrap")
    return ipywidgets.VBox([ipywidgets.Box([base, kind, rank, batch, context, wide, less], layout=flow), view])


def question_widget(models: Mapping[str, nn.Module], collator: Collator, rows: Rows) -> ipywidgets.VBox:
    """Choose a held-out question, change it, and let the models answer."""
    place = ipywidgets.IntSlider(0, 0, len(rows) - 1, description="Question")
    text = ipywidgets.Text(layout=ipywidgets.Layout(width="36rem"))
    button, view = ipywidgets.Button(description="Ask"), ipywidgets.HTML()

    def ask(_: object = None) -> None:
        row = dict(rows[place.value])
        changed = text.value != row["question"]
        row |= {"question": text.value, "answer": "not known" if changed else row["answer"]}
        try:
            said = {name: answer(model, collator, [row])[0] for name, model in models.items()}
        except ValueError as error:  # too long a question: the message says so
            said = {"not asked": str(error)}
        view.value = case(row, said)

    def choose(_: object = None) -> None:
        text.value = rows[place.value]["question"]
        ask()

    place.observe(choose, "value")
    button.on_click(ask)
    choose()
    return ipywidgets.VBox([place, ipywidgets.HBox([text, button]), view])
