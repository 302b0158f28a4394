from dataclasses import replace

import pytest
import torch

from medmm_lib.contrastive import studies, text_targets
from medmm_lib.contrastive.labels import Labels
from medmm_lib.contrastive.material import BAG_OF_WORDS, Material
from tests.contrastive import small


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Squares, with bags of letters in place of a language model."""

    def letters(texts, model, pooling, folder):
        first = text_targets.bag_of_words([" ".join(text) for text in texts for _ in (0, 1)])[0][::2]
        return first if pooling == "mean" else first[:, ::-1].copy()

    monkeypatch.setattr(text_targets, "embed", letters)
    monkeypatch.setattr(text_targets, "TfidfVectorizer", lambda min_df: TEXTS)
    times = small.schedule(steps=30)
    return studies.Setup(small.material(), small.mae(), 8, "infonce", "letters", "mean", times, times, tmp_path, "test")


class _Letters:
    """Counts of letters, whatever the training texts."""

    def fit(self, _):
        return self

    def transform(self, texts):
        from scipy.sparse import csr_matrix

        return csr_matrix([[text.count(letter) for letter in "aefghilmqrstu"] for text in texts], dtype=float)


TEXTS = _Letters()


def test_losses_and_targets_have_their_arms(setup):
    table = studies.losses(setup, (0,))
    assert list(table["arm"]) == ["margin", "infonce", "sigmoid"]
    assert table["seeds"].isna().all()
    table = studies.targets(setup, (0, 1))
    assert BAG_OF_WORDS in set(table["arm"])
    assert table["arm"].iloc[-1] == "another patient's text"
    assert table["r_at_5"].iloc[0] >= table["r_at_5"].iloc[-1]
    assert not table["seeds"].isna().any()


def test_label_efficiency(setup):
    starts = {"MAE": [setup.tower(0)], "from scratch": [setup.tower(0, small.mae(1))]}
    table = studies.efficiency(replace(setup, tuning=small.schedule(steps=5)), starts, (0,))
    assert len(table) == 3 * 2 * 2
    first = table[table["arm"] == "MAE"]
    assert (first["difference"] == 0).all()
    assert table["images"].max() == 64


def test_the_printed_loss_says_present(setup):
    table = studies.printed(setup, setup.tower(0), (0,)).set_index("arm")
    assert table.loc["printed", "said_present"] > table.loc["bce", "said_present"]


def test_tuning_leaves_the_tower_as_it_is(setup):
    tower = setup.tower(0)
    before = {name: weight.clone() for name, weight in tower.state_dict().items()}
    setup.tuned(tower, 0)
    assert all(torch.equal(weight, before[name]) for name, weight in tower.state_dict().items())


def test_texts_are_findings_or_captions():
    with pytest.raises(ValueError, match="findings or caption"):
        Material.of({}, Labels([], {}, ()), 16, "history", "none")
