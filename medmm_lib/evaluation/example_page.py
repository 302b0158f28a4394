"""The example browser for the website: questions with their images, what models answer, and what they answer without.

Everything stands in the page, a list without JavaScript; `report/assets/examples.js` only hides what is not asked for.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML
from PIL import Image

from medmm_lib.data.browse import data_uri
from medmm_lib.evaluation.gathered import MODEL, Answered
from medmm_lib.evaluation.scored import cases, example_scores

WIDTH = 192  # of an image on the page, pixels
RANKED = "token_f1"
SCORES = {"exact_match": "exact match", RANKED: "token F1", "edit_distance": "edit distance"}
GROUPS = {  # in the order of the choice; the first holds all
    "all": "all examples",
    "best": "the best",
    "median": "the middle",
    "worst": "the worst",
    "ahead": "better than under every control",
    "level": "no better than under some control",
}


@dataclass(frozen=True)
class Example:
    """A question of one model with its image.

    `answers`: condition → text and its scores by the names of `SCORES`, `model` first. `groups`: those of `GROUPS`.
    """

    image: Image.Image
    question: str
    reference: str
    answers: Mapping[str, tuple[str, Mapping[str, float]]]
    groups: tuple[str, ...]


def chosen(one: Answered, images: Mapping[str, Image.Image], count: int, seed: int = 0) -> list[Example]:
    """The best, the middle and the worst answers of a model by token F1, `count` of each, ties drawn at random.

    `images`: those of the model's own data by their ids, which other data may use for other images.
    """
    scores = {name: example_scores(rows) for name, rows in one.conditions.items()}
    found: dict[int, str] = {}
    for group, places in cases(scores[MODEL][RANKED], count, seed).items():
        found |= {place: group for place in places if place not in found}
    own, *controls = (scores[name][RANKED] for name in one.conditions)
    return [
        Example(
            images[one.rows["image_id"].iloc[k]],
            *(one.rows[name].iloc[k] for name in ("question", "reference")),
            {
                name: (rows["prediction"].iloc[k], {score: float(scores[name][score][k]) for score in SCORES})
                for name, rows in one.conditions.items()
            },
            ("all", group, "ahead" if all(own[k] > control[k] for control in controls) else "level"),
        )
        for k, group in found.items()
    ]


def page(examples: Mapping[str, Sequence[Example]]) -> HTML:
    """The browser of examples, model → its examples, of images that may be published."""
    shown = [_example(name, number, one) for name, own in examples.items() for number, one in enumerate(own, 1)]
    return HTML(
        f'<div class="examples">{_form(list(examples))}{"".join(shown)}</div>'
        '<script src="../assets/examples.js" defer></script>'
    )


def _form(models: list[str]) -> str:
    names = {name: name for name in models}
    return (
        f"<form hidden>{_choice('model', 'Model', names)}{_choice('group', 'Show', GROUPS)}"
        '<label><input type="checkbox" name="controls"> What it says without the evidence</label>'
        '<p><button type="button" name="previous">Previous</button> <button type="button" name="next">Next</button> '
        '<output aria-live="polite"></output></p></form>'
    )


def _choice(name: str, title: str, options: Mapping[str, str]) -> str:
    listed = "".join(
        f'<option value="{html.escape(key)}">{html.escape(text)}</option>' for key, text in options.items()
    )
    return f'<label>{title}<select name="{name}">{listed}</select></label>'


def _example(model: str, number: int, example: Example) -> str:
    escaped = {name: html.escape(text) for name, text in (("model", model), ("question", example.question))}
    picture = (
        f'<img width="{WIDTH}" alt="The image of the question: {escaped["question"]}" src="{data_uri(example.image)}">'
    )
    heads = "".join(f'<th scope="col">{title}</th>' for title in ("", "answer", *SCORES.values()))
    rows = [_row(name, *answer) for name, answer in example.answers.items()]
    return (
        f'<article class="question-case" data-model="{escaped["model"]}" data-groups="{" ".join(example.groups)}">'
        f'{picture}<div><p class="examples-title">{escaped["model"]}, example {number}</p>'
        f"<p><b>Question:</b> {escaped['question']}<br><b>Reference:</b> {html.escape(example.reference)}</p></div>"
        f'<div role="region" aria-label="Answers and scores" tabindex="0"><table data-quarto-disable-processing="true">'
        f"<thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows[0]}</tbody><tbody data-controls>{''.join(rows[1:])}</tbody></table></div></article>"
    )


def _row(condition: str, text: str, scores: Mapping[str, float]) -> str:
    said = html.escape("" if pd.isna(text) else text) or "<i>nothing</i>"
    numbers = "".join(f"<td>{scores[name]:.{0 if name == 'edit_distance' else 2}f}</td>" for name in SCORES)
    return f'<tr><th scope="row">{html.escape(condition)}</th><td>{said}</td>{numbers}</tr>'
