import numpy as np
import pytest
import torch

import medmm_lib.data
from medmm_lib.fourm import preparation, saliency
from medmm_lib.fourm.experiment import Setup
from medmm_lib.fourm.kept import kept, kept_studies

MODALITIES = ["patches", "label map", "caption"]
SETTINGS = {"side": 64, "patch": 8, "vocabulary_size": 600, "longest_text": 40, "seed": 0}


@pytest.fixture(scope="module")
def dataset():
    return {split: part.select(range(10)) for split, part in medmm_lib.data.load("phantom").items()}


@pytest.fixture(scope="module")
def chapter(dataset, tmp_path_factory):
    """What chapter 03 leaves."""
    folder = tmp_path_factory.mktemp("chapter")
    visual = {"label map": preparation.Codes(16, 2)}
    tokenisers = preparation.train_tokenisers(
        dataset["train"], MODALITIES, folder / "tokenisers", visual=visual, **SETTINGS
    )
    corpus = preparation.as_studies(
        tokenisers, {"phantom": dataset}, [1.0], folder / "tokens", fingerprints={"phantom": "f"}, count=1, seed=0
    )
    setup = Setup("tiny", ("1: patches -> caption",), (8, 16), (8, 16), 1, 2, 1e-3, 0, shape={"width": 32})
    model = setup.model(corpus)
    model.save_pretrained(folder / "model")
    tokenisers.text.save(folder / "model")
    return folder, model, corpus


def test_model_and_tokens_are_there_again(chapter, dataset):
    folder, model, corpus = chapter
    again, tokens = kept(folder, dataset["test"], side=64, patch=8)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(tokens.ids[name], corpus.held_out.ids[name]) for name in tokens.ids)
    assert set(tokens.ids) == {"patches", "caption"}


def test_without_a_model_the_chapter_to_run_is_named(tmp_path, dataset):
    with pytest.raises(FileNotFoundError, match="run chapter 03_fourm_pretraining first"):
        kept(tmp_path, dataset["test"], side=64, patch=8)


def test_other_models_can_be_trained_on_its_tokens(chapter, dataset, tmp_path):
    folder, _, corpus = chapter
    given = {"fingerprint": "f", "side": 64, "patch": 8, "count": 2, "seed": 0}
    studies = kept_studies(folder, dataset, tmp_path, **given)
    assert set(studies.spaces) == {"patches", "caption"}
    assert len(studies.training[0]) == 20  # ten studies, each in two views
    assert torch.equal(studies.held_out.ids["caption"], corpus.held_out.ids["caption"])
    assert kept_studies(folder, dataset, tmp_path, **given).key == studies.key
    assert kept_studies(folder, dataset, tmp_path, **given | {"count": 1}).key != studies.key


def test_its_maps_can_be_put_to_the_test(chapter, dataset):
    model, tokens = kept(chapter[0], dataset["test"], side=64, patch=8)
    one = saliency.explained(model, tokens, "caption", dataset["test"]["patient_id"])
    scans = preparation.pictures(dataset["test"], "patches", 64).numpy()
    np.testing.assert_array_equal(one.images, scans)
    assert one.maps["rollout"].shape == (10, 8, 8)
    assert not np.allclose(one.maps["rollout"], one.randomised["rollout"])
    scores = one.score(3, np.stack([scans[3], scans[3], np.full_like(scans[3], 128)]))
    assert scores[0] == scores[1] != scores[2]
    assert (scores < 0).all()
