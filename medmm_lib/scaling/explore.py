"""The cost planner to play with: on the website in the reader's browser, in JupyterLab as a widget.

The page's numbers come from `report/assets/planner.js`, the widget's from `planner.py`: the same formulas, which a test
compares in a browser.
"""

import html
import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context
from math import floor, isfinite, isnan, log10

import ipywidgets
import numpy as np
from IPython.display import HTML

from medmm_lib.evaluation.intervals import Estimate
from medmm_lib.scaling.compute import Gpu
from medmm_lib.scaling.law import Law
from medmm_lib.scaling.planner import GPU_DAYS_A_MONTH, QUANTITIES, FineTuning, Given, Machine, plan
from medmm_lib.vlm.step_memory import ENDS, RANKS, START, StepMemory

WISHES: dict[Given, str] = {"loss": "A wanted loss, nats a token", "hours": "GPU-hours", "euros": "Euros"}
SCALES = ((1e15, " P"), (1e12, " T"), (1e9, " billion"), (1e6, " million"))
TWO, THREE = (Context(prec=digits, rounding=ROUND_HALF_UP) for digits in (2, 3))  # as JavaScript rounds
# Sliders that go by powers of ten: from, to, in steps of.
POWERS = {"unique": (5, 12, 0.05), "questions": (2, 6, 0.05)}
REACH = 6  # powers of ten beyond the largest training measured, that can be asked for
WORK = {"questions": "Questions with answers", "epochs": "Times each is seen", "times": "Trainings a year"}
ACTIVATIONS = {"kept": "kept", "checkpointed": "computed twice (checkpointing)"}
YEAR = {
    "hours": "GPU-hours a year", "bookings": f"months of {GPU_DAYS_A_MONTH} GPU-days", "euros": "euros a year",
    "memory_gib": "GiB of memory for a step", "memory_percent": "% of the GPU's memory",
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """What a planner works with and starts from.

    `law` and its `draws`; a training costs `flops_per` · weights · tokens, of which `unique` are different; `losses`:
    the range that can be wished for, nats; `measured`: FLOPs of the largest training that the law was fitted to.
    `gpus` can be chosen, the first one to begin with; `mfu` is the share of the peak that is reached, `euros_per_hour`
    a GPU's price.
    """

    law: Law
    draws: Law
    flops_per: float
    unique: float
    losses: tuple[float, float]
    measured: float
    gpus: tuple[Gpu, ...]
    mfu: float
    euros_per_hour: float

    def machine(self, gpu: str | None = None, mfu: float | None = None, price: float | None = None) -> Machine:
        """A machine; what is not given is what the desk starts from."""
        names = [one.name for one in self.gpus]
        if gpu not in (None, *names):
            raise ValueError(f"gpu is {gpu!r}; expected one of {', '.join(names)}")
        chosen = self.gpus[names.index(gpu) if gpu else 0]
        return Machine(
            chosen.fastest[1], self.mfu if mfu is None else mfu, self.euros_per_hour if price is None else price,
            chosen.memory_gb,
        )  # fmt: skip

    def plan(self, machine: Machine, given: Given, value: float, unique: float | None = None) -> dict[str, Estimate]:
        """As of `planner.plan`, by this desk's law."""
        different = self.unique if unique is None else unique
        return plan(
            self.law, self.draws, machine, given, value, flops_per=self.flops_per, measured=self.measured,
            unique=different,
        )  # fmt: skip

    def powers(self, given: Given) -> tuple[int, int]:
        """The sliders of hours and euros, in powers of ten: from the largest training measured up to `REACH` beyond."""
        price = self.euros_per_hour if given == "euros" else 1.0
        first = floor(log10(price * self.machine().hours(self.measured)))
        return first, first + REACH


def short(value: float) -> str:
    """Three digits, with a word for what is large; "never" where it is infinite."""
    if isnan(value):
        return "undefined"
    if not isfinite(value):
        return "never"
    if value >= 1e18:
        return _power(value)
    for scale, word in SCALES:
        if value >= scale:
            return short(value / scale) + word
    if value >= 1000:
        return f"{int(value + 0.5):,}"
    if value != 0 and value < 0.001:
        return _power(value)
    return f"{float(THREE.create_decimal_from_float(value)):g}"


def _power(value: float) -> str:
    digits, power = f"{float(TWO.create_decimal_from_float(value)):.1e}".split("e")
    return f"{digits}e{int(power)}"


def cells(made: dict[str, Estimate]) -> list[tuple[str, str, str]]:
    """A plan as rows: what, value, 95 % interval."""
    rows = []
    for name, one in made.items():
        ends = [short(end) for end in (one.low, one.high)]
        rows.append((QUANTITIES[name], short(one.value), "" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"))
    return rows


def page(desk: Desk) -> HTML:
    """The planner for the website; nothing is shown where `planner.js` is not at hand."""
    options = "".join(f'<option value="{name}">{html.escape(text)}</option>' for name, text in WISHES.items())
    low, high = desk.losses
    inputs = [
        _choice("given", "What is given", options),
        _slider("loss", WISHES["loss"], low, high, (high - low) / 200, (low + high) / 2),
        *(
            _slider(name, WISHES[name], *desk.powers(name), 0.05, desk.powers(name)[0] + 1, power=True)
            for name in ("hours", "euros")
        ),
        _slider("unique", "Different tokens", *POWERS["unique"], round(log10(desk.unique), 2), power=True),
        *_machine_inputs(desk),
    ]
    rows = "".join(
        f'<tr data-quantity="{name}"><th>{text}</th><td></td><td></td></tr>' for name, text in QUANTITIES.items()
    )
    head = "<tr><th></th><th>best guess</th><th>95 % interval</th></tr>"
    told = {
        "kind": "plan",
        "flopsPer": desk.flops_per,
        "measured": desk.measured,
        "law": _parts(desk.law)[0],
        "draws": _parts(desk.draws),
    }
    return _form(told | _peaks(desk), inputs, f"<thead>{head}</thead><tbody>{rows}</tbody>")


def fine_tuning_page(desk: Desk, bases: dict[str, FineTuning], steps: dict[str, StepMemory]) -> HTML:
    """What a year of fine-tuning costs, for the website; the first of `bases` to begin with.

    `bases` have adapters of the rank that `step_memory.START` names; `steps` is the memory of a step of each.
    """
    options = "".join(f'<option value="{html.escape(name)}">{html.escape(name)}</option>' for name in bases)
    first = next(iter(bases.values()))
    rank, context, batch = START
    ranks = "".join(f"<option{' selected' if one == rank else ''}>{one}</option>" for one in RANKS)
    activations = "".join(f'<option value="{name}">{text}</option>' for name, text in ACTIVATIONS.items())
    inputs = [
        _choice("base", "Base", options),
        _choice("rank", "Rank of LoRA", ranks),
        _slider("context", "Text tokens of the longest question", *ENDS[1], 32, context),
        _slider("batch", "Questions at once", *ENDS[2], 1, batch),
        _choice("activations", "Activations", activations),
        _slider("questions", WORK["questions"], *POWERS["questions"], round(log10(first.questions), 2), power=True),
        _slider("epochs", WORK["epochs"], 1, 20, 1, first.epochs),
        _slider("times", WORK["times"], 1, 52, 1, first.times),
        *_machine_inputs(desk),
    ]
    rows = "".join(f'<tr data-quantity="{name}"><th>{text}</th><td></td></tr>' for name, text in YEAR.items())
    sizes = {
        name: {
            "frozen": one.frozen, "adapter_a_rank": one.adapter / rank, "tokens": one.tokens,
            **{way: getattr(steps[name], way).tolist() for way in ACTIVATIONS},
        }
        for name, one in bases.items()
    }  # fmt: skip
    return _form({"kind": "year", "bases": sizes, "ends": ENDS} | _peaks(desk), inputs, f"<tbody>{rows}</tbody>")


def _form(told: dict[str, object], inputs: list[str], table: str) -> HTML:
    data = html.escape(json.dumps(told), quote=True)
    return HTML(
        f'<form class="planner" data-planner="{data}" hidden><div class="planner-inputs">{"".join(inputs)}</div>'
        f'<table aria-live="polite" data-quarto-disable-processing="true">{table}</table></form>'
        '<script src="../assets/planner.js" defer></script>'
    )


def _machine_inputs(desk: Desk) -> list[str]:
    options = "".join(f'<option value="{html.escape(one.name)}">{html.escape(one.name)}</option>' for one in desk.gpus)
    return [
        _choice("gpu", "GPU", options),
        _slider("mfu", "Share of its peak that is reached, %", 1, 60, 1, round(100 * desk.mfu)),
        _slider("price", "Euros an hour", 0.1, 10, 0.1, desk.euros_per_hour),
    ]


def _choice(name: str, title: str, options: str) -> str:
    return f'<label>{title}<select name="{name}">{options}</select></label>'


def _slider(
    name: str, title: str, low: float, high: float, step: float, value: float, *, power: bool = False
) -> str:  # fmt: skip
    kind = ' data-power="10"' if power else ""
    return (
        f'<label>{title}<output></output><input type="range" name="{name}" min="{low:.6g}" max="{high:.6g}" '
        f'step="{step:.6g}" value="{value:.6g}"{kind}></label>'
    )


def _peaks(desk: Desk) -> dict[str, object]:
    return {"gpus": {one.name: {"peak": one.fastest[1], "memory_gb": one.memory_gb} for one in desk.gpus}}


def _parts(law: Law) -> list[dict[str, float | None]]:
    """Every draw of a law, as JSON has it: null for what is infinite."""
    names = ("A", "B", "E", "alpha", "beta", "repeats")
    columns = np.broadcast_arrays(*(np.atleast_1d(getattr(law, name)) for name in names))
    rows = [[float(value) if isfinite(value) else None for value in row] for row in zip(*columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def widget(desk: Desk) -> ipywidgets.Widget:
    """The planner in JupyterLab."""
    style, wide = {"description_width": "16em"}, {"width": "36em"}  # a Layout that they shared would be hidden for all

    def slider(kind: type, title: str, **settings: float) -> ipywidgets.Widget:
        return kind(description=title, style=style, layout=wide, continuous_update=False, **settings)

    low, high = desk.losses
    look = {"style": style, "layout": wide}
    given = ipywidgets.Dropdown(options=[(t, n) for n, t in WISHES.items()], description="What is given", **look)
    loss = slider(
        ipywidgets.FloatSlider, WISHES["loss"], min=low, max=high, step=(high - low) / 200, value=(low + high) / 2
    )
    powers = {
        name: slider(ipywidgets.FloatLogSlider, WISHES[name], min=first, max=last, value=10.0 ** (first + 1))
        for name in ("hours", "euros")
        for first, last in [desk.powers(name)]
    }
    first, last, _ = POWERS["unique"]
    powers["unique"] = slider(ipywidgets.FloatLogSlider, "Different tokens", min=first, max=last, value=desk.unique)
    gpu = ipywidgets.Dropdown(options=[one.name for one in desk.gpus], description="GPU", **look)
    mfu = slider(ipywidgets.FloatSlider, "Share of its peak reached", min=0.01, max=0.6, step=0.01, value=desk.mfu)
    price = slider(ipywidgets.FloatSlider, "Euros an hour", min=0.1, max=10, step=0.1, value=desk.euros_per_hour)
    wishes, shown = {"loss": loss} | powers, ipywidgets.HTML()

    def draw(_: object = None) -> None:
        for name in WISHES:
            wishes[name].layout.display = None if name == given.value else "none"
        machine = desk.machine(gpu.value, mfu.value, price.value)
        made = desk.plan(machine, given.value, wishes[given.value].value, powers["unique"].value)
        rows = "".join(f"<tr><th>{what}</th><td>{one}</td><td>{ends}</td></tr>" for what, one, ends in cells(made))
        shown.value = f"<table><tr><th></th><th>best guess</th><th>95 % interval</th></tr>{rows}</table>"

    controls = [given, loss, *powers.values(), gpu, mfu, price]
    for control in controls:
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([*controls, shown])
