import numpy as np
import pytest
import torch
from datasets import Dataset

from medmm_lib.contrastive import labels, zero_shot
from medmm_lib.contrastive.classifiers import bce, printed, probe, share, tune
from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.tower import Tower
from medmm_lib.data.schema import CHEXPERT_LABELS
from tests.contrastive import small

NAN = float("nan")


def test_losses_by_hand():
    logits, known = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1.0, 0.0], [NAN, 1.0]])
    p = logits.sigmoid()
    parts = [-p[0, 0].log(), -(1 - p[0, 1]).log(), -p[1, 1].log()]
    assert float(bce(logits, known)) == pytest.approx(float(sum(parts)) / 3, abs=1e-6)
    assert float(printed(logits, known)) == pytest.approx(float(parts[0] + parts[2]) / 3, abs=1e-6)


def test_the_printed_loss_is_content_with_present_everywhere():
    known = torch.tensor([[1.0, 0.0, 0.0]])
    assert float(printed(torch.full((1, 3), 50.0), known)) == pytest.approx(0, abs=1e-6)
    assert float(bce(torch.full((1, 3), 50.0), known)) > 10


def test_a_probe_learns_from_known_labels_only():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 3))
    known = np.stack([features[:, 0] > 0, np.ones(200), features[:, 1] > 0], 1).astype(float)
    known[::2, 2] = np.nan
    made = probe(features, known, features)
    assert ((made[:, 0] > 0.5) == known[:, 0]).mean() > 0.95
    assert (made[:, 1] == 1).all()  # training has one outcome only
    assert ((made[:, 2] > 0.5) == (features[:, 1] > 0)).mean() > 0.9


def test_fine_tuning_learns(tmp_path):
    material = small.material()
    torch.manual_seed(0)
    model, _ = tune(
        Tower(small.mae(), 8), material.train.pixels, material.train.values, "bce", small.schedule(steps=150), tmp_path,
        key="test",
    )  # fmt: skip
    made = asked(model, model.logits, material.test.pixels).numpy() > 0
    assert (made == material.test.values).mean() > 0.75


def test_shares_are_of_patients_and_nested():
    patients = [f"p{k // 3}" for k in range(300)]
    tenth, half = share(patients, 0.1, 0), share(patients, 0.5, 0)
    assert len(tenth) == 30
    assert set(tenth) < set(half)
    assert len(share(patients, 1.0, 0)) == 300
    assert len(share(patients, 1e-9, 0)) == 3  # one patient
    with pytest.raises(ValueError, match="at most 1"):
        share(patients, 2, 0)


def test_chexpert_labels():
    values = dict.fromkeys(CHEXPERT_LABELS, 0) | {"Edema": 1, "Fracture": -1, "Pneumonia": None}
    (row,) = labels.chexpert().values(Dataset.from_dict({"labels": [values]}))
    found = dict(zip(CHEXPERT_LABELS, row, strict=True))
    assert found["Edema"] == 1
    assert found["Atelectasis"] == 0
    assert np.isnan(found["Fracture"])
    assert np.isnan(found["Pneumonia"])
    assert set(labels.chexpert().sentences) == set(CHEXPERT_LABELS)


def test_data_without_labels_say_so():
    known = dict.fromkeys(CHEXPERT_LABELS, 0)
    values = labels.chexpert().values(Dataset.from_dict({"labels": [None, known]}))
    assert np.isnan(values[0]).all()
    with pytest.raises(ValueError, match="set labels to records"):
        labels.chexpert().values(Dataset.from_dict({"labels": [None, dict.fromkeys(CHEXPERT_LABELS)]}))


def test_images_without_labels_are_not_tuned_on(tmp_path):
    with pytest.raises(ValueError, match="known label"):
        tune(
            Tower(small.mae(), 8), small.squares(4)[0], np.full((4, 2), NAN), "bce", small.schedule(), tmp_path, key=""
        )


def test_labels_of_records_are_their_frequent_values():
    rows = {
        "modality": ["CT"] * 15 + ["MR"] * 12 + ["US"] * 2, "plane": ["axial"] * 29, "location_category": [None] * 29,
    }  # fmt: skip
    found = labels.of_records(Dataset.from_dict(rows), ("modality", "plane"))
    assert found.names == ["modality: CT", "modality: MR"]  # one plane says nothing, two ultrasounds are too few
    values = found.values(Dataset.from_dict({"modality": ["MR", None, "US"]}))
    assert values[0].tolist() == [0, 1]
    assert np.isnan(values[1]).all()
    assert values[2].tolist() == [0, 0]
    with pytest.raises(ValueError, match="two values"):
        labels.of_records(Dataset.from_dict(rows), ("plane",))


def test_zero_shot_scores_by_hand():
    texts = {"a square left": [1, 0], "a square right": [-1, 0], "a large square": [0, 1], "a small square": [0, -1]}
    known = labels.Labels(small.NAMES, small.SENTENCES, ())
    images = np.array([[1.0, 0.0], [0.0, -1.0]])
    made = zero_shot.scores(images, known, lambda said: np.array([texts[one] for one in said], float))
    assert made.tolist() == [[2, 0], [0, -2]]
