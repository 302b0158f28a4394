import ipywidgets
import pytest

import medmm_lib.data
from medmm_lib.fourm import abilities, explore, preparation
from medmm_lib.fourm.experiment import Setup

MODALITIES = ["patches", "image", "label map", "caption", "boxes"]
SETTINGS = {"side": 64, "patch": 8, "vocabulary_size": 600, "longest_text": 40, "seed": 0}
VISUAL = {name: preparation.Codes(codes=16, steps=2) for name in ("image", "label map")}


@pytest.fixture(scope="module")
def parts():
    return {split: part.select(range(10)) for split, part in medmm_lib.data.load("phantom").items()}


@pytest.fixture(scope="module")
def tokenisers(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenisers")
    return preparation.train_tokenisers(parts["train"], MODALITIES, folder, visual=VISUAL, **SETTINGS)


@pytest.fixture(scope="module")
def corpus(parts, tokenisers, tmp_path_factory):
    return preparation.as_studies(
        tokenisers, {"phantom": parts}, [1.0], tmp_path_factory.mktemp("tokens"),
        fingerprints={"phantom": "f"}, count=3, seed=0,
    )  # fmt: skip


def test_studies_are_seen_in_several_views_and_tested_in_one(parts, corpus):
    assert [len(part) for part in corpus.training] == [30]
    assert len(corpus.validation) == len(corpus.held_out) == 10
    assert corpus.patients == parts["test"]["patient_id"]
    assert set(corpus.spaces) == set(MODALITIES)
    assert corpus.spaces["caption"].places <= 40
    assert set(corpus.codebooks) == {"image", "label map"}


def test_unknown_modalities_and_missing_codes_are_named(parts, tmp_path):
    with pytest.raises(ValueError, match="modalities has sound; expected some of patches, image"):
        preparation.train_tokenisers(parts["train"], ["patches", "sound"], tmp_path, visual=VISUAL, **SETTINGS)
    with pytest.raises(ValueError, match="no codes and steps for image"):
        preparation.train_tokenisers(parts["train"], ["patches", "image"], tmp_path, visual={}, **SETTINGS)


def test_what_a_model_makes_can_be_scored_and_looked_at(parts, tokenisers, corpus):
    setup = Setup("tiny", ("1: any -> any",), (8, 16), (8, 16), 1, 2, 1e-3, 0, shape={"width": 32})
    model = setup.model(corpus)
    chain = ["patches -> label map", "patches, label map -> boxes", "boxes -> caption"]
    made = abilities.generated(model, tokenisers, corpus.held_out.given("patches"), chain, 2)
    truth = abilities.known(parts["test"], tokenisers.entries, 64)
    scores = abilities.scores(made, truth, tokenisers.entries)
    assert {len(values) for values in scores.values()} == {10}
    with pytest.raises(ValueError, match="makes caption from boxes, which is neither given nor generated before"):
        abilities.generated(model, tokenisers, corpus.held_out.given("patches"), chain[::-1], 2)
    classes = {name: entry.classes for name, entry in tokenisers.entries.items()}
    page = explore.beside(parts["test"][0], truth, made, 0, 64, classes)
    assert page.count("<figure") == 4  # boxes and label map, known and generated
    assert "Caption, generated" in page


def test_the_widget_generates_what_is_hidden(parts, tokenisers, corpus):
    setup = Setup("tiny", ("1: any -> any",), (8, 16), (8, 16), 1, 2, 1e-3, 0, shape={"width": 32})
    box = explore.widget(setup.model(corpus), tokenisers, parts["test"], corpus.held_out)
    controls, ticks, view = box.children
    assert "patches, given" in view.value
    assert all(f"{name}, generated" in view.value for name in ("image", "label map", "boxes", "caption"))
    button = next(child for child in controls.children if isinstance(child, ipywidgets.Button))
    for tick in ticks.children:
        tick.value = tick.description in ("caption", "boxes")
    button.click()
    assert "caption, given" in view.value
    assert "patches" not in view.value
    for tick in ticks.children:
        tick.value = False
    button.click()
    assert "Tick at least one" in view.value


@pytest.mark.parametrize("line", ["patches", "patches ->", "-> caption", "patches -> boxes, caption"])
def test_a_line_of_a_chain_that_cannot_be_read_is_named(line):
    with pytest.raises(ValueError, match="expected a line such as"):
        abilities.read_line(line)
