"""Numbers in prose: what a run produced is computed or taken from a result, never typed.

A digit in a notebook's text or on a page must be part of a name, a definition, or a statement with a source. The
journal is exempt: its entries are dated, and say what was measured on that day.
"""

import json
import re

import pytest

from medmm_lib import paths

# Models, data sets, metrics, formats, machines and licences that are called so.
NAMES = [
    r"\b4M\b",
    r"MedPix\s+2\.0",
    r"ROCOv2",
    r"PMC-15M",
    r"ICBM 152",
    r"PaliGemma[- ](2|3B)",
    r"Llama [23]",
    r"SmolLM2-135M",
    r"\b(NF4|F1|BLEU-4|3D|V100|T4|bf16|fp16)\b",
    r"CC (BY|BY-NC-SA) 4\.0|CC0 1\.0|Apache 2\.0|Health Data License 1\.5\.0|Version 0\.1\.0",
    r"[Cc]hapters? \d\d",
]
# What a word means, how something works, or what is true by its design, whatever a run brings.
DEFINITIONS = [
    r"4[- ]bits?\b",
    r"95 % interval",
    r"interval holds 0|stays away from 0|stays below 0\.5|fall below 0\.05",
    r"1 is always, 0\.5 a coin",
    r"at least 1 − δ",
    r"sum of their sizes, 0 to 1",
    r"10\^15 a second|8\.64 · 10\^19",
    r"one of 16 values|64 weights share",
    r"[CLIP]+ reads 77 tokens",
    r"the notes' runs used 256 and 512",
    r"clipping the gradient at 1 ",
    r"looks at 16 × 16 pixels",
    r"patches of 8 pixels",
    r"of length 1\b",
    r"⟨[01]⟩",
    r"4 operations a token instead of 6",
    r"claims 60,000 × 60,000 pixels",
    r"(From )?2,050 images to 15 million|[Aa]t 15 million|to 15 million",
    r"compute capability 8\.0",
    r"14 labels|for 16 languages",
    r"at 09:00",
    r"older than 3\.11|step 6\b",
]
ALLOWED = re.compile("|".join(DEFINITIONS + NAMES))
# Code, formulas, shortcodes, links' addresses, attributes, citation keys, and the numbers of a list's items.
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\{\{<.*?>\}\}|\]\([^)]*\)|(?<!\w)@[\w:-]+|\{[^}]*\}|^\s*\d+\.\s|^---.*?^---",
    re.DOTALL | re.MULTILINE,
)
CHAPTER_LINK = re.compile(r"\[(?:chapters? )?\d\d\]\([^)]*\)")
GENERATED = {"reference.qmd"}  # from docstrings
PAGES = [paths.ROOT / "index.qmd", *sorted(page for page in paths.REPORT.glob("*.qmd") if page.name not in GENERATED)]
NOTEBOOKS = [paths.NOTEBOOKS / f"{chapter}.ipynb" for chapter in paths.chapters()]


def typed_numbers(text):
    """The typed numbers of a text, with the words around them; sentences that cite a source are left out."""
    text = NOT_PROSE.sub(" ", CHAPTER_LINK.sub(" ", text.replace("[@", "§[@")))
    prose = " ".join(ALLOWED.sub(" ", text.replace("\n", " ")).split())
    sentences = [one for one in re.split(r"(?<=[.!?:|])\s+", prose) if "§" not in one]
    return [
        one[max(0, found.start() - 30) : found.end() + 30] for one in sentences for found in re.finditer(r"\d+", one)
    ]


@pytest.mark.parametrize("path", NOTEBOOKS + PAGES, ids=lambda path: path.name)
def test_numbers_in_prose_are_not_typed(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert typed_numbers(text) == []


@pytest.mark.parametrize(
    "text",
    ["It has 0.87 right.", "Of 1,441 questions, most.", "| right | 12 |", "It took 3 hours [as said](page.qmd)."],
)
def test_a_typed_result_is_found(text):
    assert typed_numbers(text)


@pytest.mark.parametrize(
    "text",
    [
        "4M on MedPix 2.0, with 95 % intervals, see [chapter 03](03_fourm_pretraining.ipynb).",
        "PaliGemma was trained on a billion pairs of 35 languages [@beyer2024].",
        "It has {{< var latest.01_data_preparation.images >}} images, `x = 3`, $x_1$.",
    ],
)
def test_names_sources_and_computed_numbers_may_stand(text):
    assert typed_numbers(text) == []
