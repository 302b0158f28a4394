import numpy as np
import pytest
import torch

import medmm_lib.data
from medmm_lib.fourm import preparation, saliency
from medmm_lib.fourm.experiment import Setup
from medmm_lib.fourm.kept import kept

PARAMETERS = {
    "modalities": ["patches", "label map", "caption"],
    "side": 64,
    "patch": 8,
    "vocabulary_size": 600,
    "seed": 0,
}
PARAMETERS |= {"longest_text": 40, "image_codes": 16, "image_steps": 2, "map_codes": 16, "map_steps": 2}


@pytest.fixture(scope="module")
def dataset():
    return {split: part.select(range(10)) for split, part in medmm_lib.data.load("phantom").items()}


@pytest.fixture(scope="module")
def chapter(dataset, tmp_path_factory):
    """What chapter 03 leaves."""
    folder = tmp_path_factory.mktemp("chapter")
    settings = {name: PARAMETERS[name] for name in ("side", "patch", "vocabulary_size", "longest_text", "seed")}
    visual = {"label map": preparation.Codes(16, 2)}
    tokenisers = preparation.train_tokenisers(
        dataset["train"], PARAMETERS["modalities"], folder / "tokenisers", visual=visual, **settings
    )
    corpus = preparation.as_studies(
        tokenisers, {"phantom": dataset}, [1.0], folder / "tokens", fingerprints={"phantom": "f"}, count=1, seed=0
    )
    setup = Setup("tiny", ("1: patches -> caption",), (8, 16), (8, 16), 1, 2, 1e-3, 0, shape={"width": 32})
    model = setup.model(corpus)
    model.save_pretrained(folder / "model")
    return folder, model, corpus


def test_model_and_tokens_are_there_again(chapter, dataset):
    folder, model, corpus = chapter
    again, tokens = kept(folder, PARAMETERS, dataset)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(tokens.ids[name], corpus.held_out.ids[name]) for name in tokens.ids)
    assert set(tokens.ids) == {"patches", "caption"}


def test_without_a_model_the_chapter_to_run_is_named(tmp_path, dataset):
    with pytest.raises(FileNotFoundError, match="run chapter 03_fourm_pretraining first"):
        kept(tmp_path, PARAMETERS, dataset)


def test_its_maps_can_be_put_to_the_test(chapter, dataset):
    model, tokens = kept(chapter[0], PARAMETERS, dataset)
    one = saliency.explained("small", model, tokens, "caption", dataset["test"]["patient_id"])
    scans = preparation.pictures(dataset["test"], "patches", 64).numpy()
    np.testing.assert_array_equal(one.images, scans)
    assert one.maps["rollout"].shape == (10, 8, 8)
    assert not np.allclose(one.maps["rollout"], one.randomised["rollout"])
    scores = one.score(3, np.stack([scans[3], scans[3], np.full_like(scans[3], 128)]))
    assert scores[0] == scores[1] != scores[2]
    assert (scores < 0).all()


def test_other_data_than_the_models_are_refused(chapter, dataset):
    others = {split: part.map(lambda row: {"caption": "a b c"}) for split, part in dataset.items()}
    with pytest.raises(ValueError, match=r"caption of the model in .* is Space"):
        kept(chapter[0], PARAMETERS, others)
