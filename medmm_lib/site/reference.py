"""The reference of public names, `report/reference.qmd`: signatures and docstrings as they stand in the code."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType

import medmm_kernels
from medmm_lib import paths, plots

HEADER = """---
title: Public names
description: What can be imported, with its signature, shapes, units, errors and source
---

These names are kept stable. Everything else may change. They work without the notebooks: install the project with
`pip install .`, then import them as written.
"""
# What is offered: a heading, what it is for, and names by module.
OFFERED: list[tuple[str, str, dict[str, list[str]]]] = [
    (
        "Masking kernels",
        "4M's masking for whole batches, on any device, and attention by segments. They need PyTorch only.",
        {"medmm_kernels": list(medmm_kernels.__all__)},
    ),
    (
        "Data",
        "One schema for every source, splits by patient, and flags for bad questions.",
        {
            "medmm_lib.data": ["load", "loaded", "fingerprint", "examples", "DataError"],
            "medmm_lib.data.quality": ["flags"],
            "medmm_lib.data.splits": ["leakage", "stratified", "unseen_conditions"],
            "medmm_lib.data.shards": ["write", "index", "damaged"],
            "medmm_lib.data.streams": ["stream", "decoded"],
        },
    ),
    (
        "Fine-tuning",
        "What a model takes in memory, from its configuration alone.",
        {"medmm_lib.vlm.memory": ["plan", "MemoryPlan", "layer_table"]},
    ),
    (
        "One model for all modalities",
        "4M's encoder–decoder, and its generation.",
        {"medmm_lib.fourm": ["FourM", "FourMShape", "Space"]},
    ),
    (
        "Contrastive losses",
        "Of images and texts in one space.",
        {"medmm_lib.contrastive.losses": ["margin", "infonce", "sigmoid", "sigmoid_in_blocks"]},
    ),
    (
        "Evaluation",
        "Metrics of predictions, their intervals, and controls. They know nothing of models.",
        {
            "medmm_lib.evaluation": ["text_metrics"],
            "medmm_lib.evaluation.predictions": ["read", "score"],
            "medmm_lib.evaluation.closed": ["majority_right", "disagreement"],
            "medmm_lib.evaluation.classification": ["classification_metrics"],
            "medmm_lib.evaluation.retrieval": ["retrieval_metrics"],
            "medmm_lib.evaluation.regions": ["box_iou", "box_hits", "dice"],
            "medmm_lib.evaluation.degenerate": ["degenerate"],
            "medmm_lib.evaluation.controls": ["controls"],
            "medmm_lib.evaluation.intervals": ["interval", "paired_difference", "Estimate", "Difference"],
        },
    ),
    (
        "Scaling laws",
        "Fits that say when they know nothing, and the bill of a plan.",
        {
            "medmm_lib.scaling": ["fit_power_law", "PowerLawFit", "fit_parametric", "ParametricFit"],
            "medmm_lib.scaling.planner": ["plan", "Machine"],
            "medmm_lib.scaling.compute": ["encoder_decoder_flops", "lora_flops_per_token"],
        },
    ),
    (
        "Guard and patient report",
        "What a patient may read, and a page to take home. They work right after installation.",
        {"medmm_lib.guard": ["Guard", "Verdict"], "medmm_lib.patient": ["Report", "write"]},
    ),
]


def write() -> None:
    """Write the page, from the code as it is."""
    paths.write_atomically(paths.REPORT / "reference.qmd", page())


def page() -> str:
    """The page's Markdown."""
    parts = [HEADER]
    for title, purpose, modules in OFFERED:
        parts.append(f"## {title}\n\n{purpose}\n")
        for module, names in modules.items():
            parts += [_entry(module, name) for name in names]
    return "\n".join(parts)


def _entry(module: str, name: str) -> str:
    offered = getattr(import_module(module), name)
    lines = [f"### `{name}`\n", f"from `{module}`\n", _signature(name, offered), _prose(inspect.getdoc(offered) or "")]
    for member, function in _members(offered):
        lines += [_signature(f"{name}.{member}", function), _prose(inspect.getdoc(function) or "")]
    return "\n".join(lines)


def _members(offered: object) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class itself documents."""
    for name, member in vars(offered).items() if inspect.isclass(offered) else ():
        function = getattr(member, "__func__", member)
        if isinstance(function, property):
            function = function.fget
        if not name.startswith("_") and isinstance(function, FunctionType) and function.__doc__:
            yield name, function


def _signature(name: str, offered: object) -> str:
    """How a name is called, a parameter a line where one line would be long."""
    if inspect.isclass(offered) and issubclass(offered, Exception):
        return f"```python\nclass {name}({offered.__base__.__name__})\n```\n"
    signature = inspect.signature(offered)
    signature = signature.replace(parameters=[one for one in signature.parameters.values() if one.name != "self"])
    text = f"{name}{signature}"
    if len(text) > 88:
        parameters, marked = [], False
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and not marked:
                parameters.append("*")
                marked = True
            parameters.append(str(parameter))
        returned = text[text.rindex(") -> ") + 1 :] if ") -> " in text else ""
        text = f"{name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){returned}"
    return f"```python\n{text}\n```\n"


def _prose(docstring: str) -> str:
    """A docstring as Markdown: code and lists stay, all else is shown as it is: `@key` and `$` mean something there."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*- )", docstring.strip()):
        parts = re.split(r"(`[^`]+`)", " ".join(paragraph.split()))
        paragraphs.append("".join(part if part.startswith("`") else _literal(part) for part in parts))
    return "\n\n".join(paragraphs) + "\n"


def _literal(text: str) -> str:
    """`plots.literal` with the spaces at the ends, which stand between words and code."""
    stripped = text.strip()
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return before + plots.literal(stripped) + after if stripped else text
