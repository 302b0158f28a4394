"""The mask explorer for the website: one study, masked in the reader's browser by `report/assets/masks.js`.

What is drawn first comes from Python and stays where JavaScript is off. The script then changes classes and texts only.
"""

import html
import json
from dataclasses import dataclass
from typing import Any

import torch
from IPython.display import HTML

from medmm_kernels import MaskSpec, Modality, mask_batch, token_budgets
from medmm_kernels.spec import STRATEGIES, Strategy
from medmm_kernels.streams import NORMAL_QUANTILE
from medmm_lib.masking import FIRST_WORD, SENTINELS, SIDE, texts, tissue, words

ALPHAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
MOST_TOKENS = 320  # of a slider
CAPTION, *PICTURES = NAMES = ("caption", "image", "label map")  # in the order of their indices
STRATEGY_NAMES: dict[Strategy, str] = {
    "uniform": "uniform: as 4M, any places",
    "blockwise": "block-wise: places side by side",
    "cosine": "cosine: total from a quarter up, often little kept",
    "weighted": "weighted: tissue before background",
    "curriculum": "curriculum: total from a quarter up as training goes on",
}
CELL = 10  # of a picture's grid, in SVG units


@dataclass(frozen=True)
class Setting:
    """What the controls are set to. `seed` and `sample` are from 0 to 2^32 − 1; `progress` is a curriculum's."""

    strategy: Strategy = "uniform"
    inputs: int = 96
    targets: int = 64
    input_alpha: float = 1.0
    target_alpha: float = 1.0
    progress: float = 0.5
    sample: int = 0
    seed: int = 0

    @property
    def specification(self) -> MaskSpec:
        """Three modalities, each of which can be given and asked for; cosine and curriculum start at a quarter."""
        places, alphas = SIDE * SIDE, (self.input_alpha, self.target_alpha)
        modalities = {name: Modality("dense", places, *alphas, grid=(SIDE, SIDE)) for name in PICTURES}
        modalities[CAPTION] = Modality("sequence", 64, *alphas)
        changes: dict[str, Any] = {"strategy": self.strategy}
        total = (self.inputs // 4, self.inputs) if self.strategy == "cosine" else self.inputs
        if self.strategy == "curriculum":
            changes |= {"first_input_tokens": self.inputs // 4, "progress": self.progress}
        return MaskSpec(modalities, total, self.targets, first_sentinel=2, sentinels=SENTINELS, **changes)


START = Setting(sample=19)  # some words are given, some asked for, some left out


@dataclass(frozen=True)
class Drawn:
    """A masked study as the page shows it; lists by modality are in the order of `NAMES`.

    `states`: of every patch and word `given`, `asked` or `left`. `numbers`: tokens held, budget given, given, budget
    asked for, asked for, left out. `texts`: the caption as given, as asked for. `filled`: encoder's, decoder's places.
    """

    states: list[list[str]]
    numbers: list[list[int]]
    texts: tuple[str, str]
    filled: tuple[str, str]


def draw(row: dict[str, Any], setting: Setting) -> Drawn:
    """Mask a study by the kernels. `row` has the schema of `medmm_lib.data.schema`."""
    spec, sample = setting.specification, torch.tensor([setting.sample])
    holds = [len(words(row)), SIDE * SIDE, SIDE * SIDE]
    tokens = {name: FIRST_WORD + torch.arange(n)[None] for name, n in zip(NAMES, holds, strict=True)}
    weights = {name: tissue(row)[None] for name in PICTURES} if setting.strategy == "weighted" else None
    masked = mask_batch(tokens, {}, spec, seed=setting.seed, sample_ids=sample, weights=weights)
    budgets = token_budgets(spec, torch.tensor([holds]), seed=setting.seed, sample_ids=sample)
    states, numbers = [], []
    for m, held in enumerate(holds):
        given = masked.encoder.ids[0][masked.encoder.modality[0] == m].tolist()
        asked = masked.decoder.targets[0][masked.decoder.modality[0] == m].tolist()
        state = [_state(FIRST_WORD + k, given, asked) for k in range(held)]
        drawn = [int(side[0, m]) for side in budgets]
        states.append(state)
        numbers.append([held, drawn[0], len(given), drawn[1], len(asked), state.count("left")])
    totals = zip(masked, (setting.inputs, setting.targets), strict=True)
    return Drawn(states, numbers, texts(row, masked), tuple(_filled(int(side.valid.sum()), n) for side, n in totals))


def _state(token: int, given: list[int], asked: list[int]) -> str:
    return "given" if token in given else "asked" if token in asked else "left"


def _filled(held: int, places: int) -> str:
    share = f" ({int(100 * held / places + 0.5)} %)" if places else ""
    return f"{held} of {places} places filled{share}"


def page(row: dict[str, Any]) -> HTML:
    """The explorer of a study's masks for the website."""
    drawn = draw(row, START)
    told = {
        "names": NAMES, "holds": [held for held, *_ in drawn.numbers], "words": words(row), "places": SIDE * SIDE,
        "block": START.specification.block, "sentinels": SENTINELS, "weights": tissue(row).tolist(),
        "normal": NORMAL_QUANTILE,
    }  # fmt: skip
    return HTML(
        f'<div class="masks" data-masks="{html.escape(json.dumps(told), quote=True)}">{_form(START)}'
        '<p class="masks-static">This is one example. With JavaScript, the page draws others: other budgets, α and '
        f"strategies.</p>{_legend()}"
        f'<div class="masks-drawn">{"".join(_picture(m, drawn) for m in (1, 2))}</div>{_caption(row, drawn)}'
        f'<p aria-live="polite"><b>Encoder:</b> <span data-filled="given">{drawn.filled[0]}</span>. '
        f'<b>Decoder:</b> <span data-filled="asked">{drawn.filled[1]}</span>.</p>{_table(drawn)}'
        '</div><script src="../assets/masks.js" defer></script>'
    )


def _form(setting: Setting) -> str:
    strategies = {name: STRATEGY_NAMES[name] for name in STRATEGIES}
    alphas = {f"{alpha:g}": f"{alpha:g}" for alpha in ALPHAS}
    return "".join([
        "<form hidden>",
        _choice("strategy", "Strategy", strategies, setting.strategy),
        _slider("progress", "Progress of the training", 1, 0.05, setting.progress),
        _slider("inputs", "Tokens given", MOST_TOKENS, 1, setting.inputs),
        _slider("targets", "Tokens asked for", MOST_TOKENS, 1, setting.targets),
        _choice("input_alpha", "α of what is given", alphas, f"{setting.input_alpha:g}"),
        _choice("target_alpha", "α of what is asked for", alphas, f"{setting.target_alpha:g}"),
        _number("seed", "Seed", setting.seed),
        _number("sample", "Sample", setting.sample),
        "<button>Draw another</button></form>",
    ])  # fmt: skip


def _choice(name: str, title: str, options: dict[str, str], chosen: str) -> str:
    listed = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{text}</option>'
        for value, text in options.items()
    )
    return f'<label>{title}<select name="{name}">{listed}</select></label>'


def _slider(name: str, title: str, most: float, step: float, value: float) -> str:
    return (
        f'<label>{title}<output></output><input type="range" name="{name}" min="0" max="{most}" step="{step}" '
        f'value="{value}"></label>'
    )


def _number(name: str, title: str, value: int) -> str:
    return f'<label>{title}<input type="number" name="{name}" min="0" max="{2**32 - 1}" value="{value}"></label>'


def _legend() -> str:
    meanings = {"given": "given to the encoder", "asked": "asked of the decoder", "left": "left out"}
    keys = "".join(f"<li>{_svg(CELL, _cell(0, state))} {text}</li>" for state, text in meanings.items())
    return f'<ul class="masks-legend">{keys}</ul>'


def _picture(modality: int, drawn: Drawn) -> str:
    """A grid of patches; what is given fills its place, what is asked for is round, what is left out is a dot."""
    cells = "".join(_cell(place, state) for place, state in enumerate(drawn.states[modality]))
    _, _, given, _, asked, left = drawn.numbers[modality]
    label = f"{NAMES[modality]}: {given} patches given, {asked} asked for, {left} left out"
    attributes = f'role="img" aria-label="{label}" data-modality="{modality}"'
    return f"<figure>{_svg(CELL * SIDE, cells, attributes)}<p>{NAMES[modality].capitalize()}</p></figure>"


def _svg(size: int, cells: str, attributes: str = 'aria-hidden="true"') -> str:
    return f'<svg viewBox="0 0 {size} {size}" {attributes}>{cells}</svg>'


def _cell(place: int, state: str) -> str:
    y, x = (CELL * k + CELL // 2 for k in divmod(place, SIDE))
    return f'<path data-place class="{state}" d="M{x} {y}h0"/>'


def _caption(row: dict[str, Any], drawn: Drawn) -> str:
    cells = " ".join(
        f'<span data-place class="{state}">{html.escape(word)}</span>'
        for word, state in zip(words(row), drawn.states[0], strict=True)
    )
    given, asked = map(html.escape, drawn.texts)
    return (
        f'<p class="masks-words" data-modality="0">{cells}</p>'
        f'<p>Caption, given: <span data-text="given">{given}</span><br>'
        f'Caption, asked for: <span data-text="asked">{asked}</span></p>'
    )


def _table(drawn: Drawn) -> str:
    head = (
        '<tr><th rowspan="2" scope="col">Tokens</th><th rowspan="2" scope="col">held</th>'
        '<th colspan="2" scope="colgroup">given</th><th colspan="2" scope="colgroup">asked for</th>'
        '<th rowspan="2" scope="col">left out</th></tr>'
        "<tr>" + 2 * '<th scope="col">budget</th><th scope="col">used</th>' + "</tr>"
    )
    rows = "".join(
        f'<tr data-row="{m}"><th scope="row">{name}</th>{"".join(f"<td>{n}</td>" for n in numbers)}</tr>'
        for m, (name, numbers) in enumerate(zip(NAMES, drawn.numbers, strict=True))
    )
    return (  # Quarto would make a table of its own, without the rows' names
        '<div role="region" aria-label="Counts of tokens" tabindex="0">'
        f'<table data-quarto-disable-processing="true"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    )
