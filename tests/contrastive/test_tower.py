import numpy as np
import pytest
import torch

from medmm_lib.contrastive import explain
from medmm_lib.contrastive.alignment import align
from medmm_lib.contrastive.fitting import Unfinished, asked, fit
from medmm_lib.contrastive.kept import keep, kept
from medmm_lib.contrastive.mae import hiding
from medmm_lib.contrastive.tower import Tower
from tests.contrastive import small


def tower():
    torch.manual_seed(0)
    return Tower(small.mae(), 8)


def test_a_new_tower_looks_everywhere_alike():
    pixels, one = small.squares(5)[0], tower()
    looked = asked(one, one.looks_at, pixels)
    torch.testing.assert_close(looked, torch.full((5, 4, 4), 1 / 16))
    torch.testing.assert_close(asked(one, one.pooled, pixels), asked(one, one.mean, pixels), atol=0.02, rtol=0.02)
    torch.testing.assert_close(asked(one, one, pixels).norm(dim=1), torch.ones(5))


def test_patches_are_in_the_order_of_the_image():
    pixels = torch.zeros(1, 16, 16, dtype=torch.uint8)
    one = tower()
    before = asked(one, one.encoder.embeddings.patch_embeddings, pixels[:, None].float())
    assert before.shape == (1, 16, 32)
    changed = pixels.clone()
    changed[0, 4:8, 8:12] = 255  # the patch in row 1, column 2
    differs = (asked(one, one.patches, changed) - asked(one, one.patches, pixels)).norm(dim=2)[0]
    assert int(differs.argmax()) == 6


def test_an_image_does_not_depend_on_its_batch():
    pixels, one = small.squares(6)[0], tower()
    torch.testing.assert_close(asked(one, one, pixels)[2:3], asked(one, one, pixels[2:3]), atol=0.02, rtol=0.02)


def aligned(tmp_path, loss="infonce", **changes):
    part = small.material().train
    targets = torch.nn.functional.one_hot(torch.tensor([sorted(set(part.texts)).index(t) for t in part.texts])).float()
    return align(
        tower(), part.pixels, targets, part.texts, loss, small.schedule(**changes), tmp_path, key="test"
    ), targets


@pytest.mark.parametrize("loss", ["margin", "infonce", "sigmoid"])
def test_every_loss_brings_images_to_their_texts(loss, tmp_path):
    (model, fitted), _ = aligned(tmp_path, loss, steps=120)
    assert fitted.losses[-1]["loss"] < 0.8 * fitted.losses[0]["loss"]
    part = small.part(40, 5)
    texts = sorted(set(small.material().train.texts))
    images, known = asked(model, model.tower, part.pixels), asked(model, model.texts, torch.eye(len(texts)))
    right = [texts[int(k)] == text for k, text in zip((images @ known.T).argmax(1), part.texts, strict=True)]
    assert np.mean(right) > 0.5  # of four texts


def test_a_tower_comes_back_from_disk(tmp_path):
    (model, _), targets = aligned(tmp_path, steps=5)
    keep(model, tmp_path / "model")
    again, pixels = kept(tmp_path / "model"), small.squares(4)[0]
    assert torch.equal(asked(again, again.tower, pixels), asked(model, model.tower, pixels))
    assert torch.equal(asked(again, again.texts, targets[:4]), asked(model, model.texts, targets[:4]))
    with pytest.raises(FileNotFoundError, match="run chapter 05"):
        kept(tmp_path / "nothing")


def test_an_unknown_loss_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected margin, infonce, sigmoid"):
        aligned(tmp_path, "triplet")


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    def run(folder, minutes):
        part, model = small.material().train, small.mae()
        fit(
            model, hiding(part.pixels, model.shape, 0), len(part.pixels), small.schedule(steps=20), folder,
            key="test", save_steps=5, max_minutes=minutes,
        )  # fmt: skip
        return model

    whole = run(tmp_path / "whole", 0)
    with pytest.raises(Unfinished, match="1 of 20 steps: run the same again"):
        run(tmp_path / "parts", 1e-9)
    again = run(tmp_path / "parts", 0)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_model_of_transformers_itself_is_refused(tmp_path):
    with pytest.raises(TypeError, match="other names"):
        fit(small.mae().model, lambda rows, _: {}, 4, small.schedule(), tmp_path, key="test")


def test_pointing_by_hand():
    maps = np.zeros((3, 8, 8))
    maps[0, 1, 1] = maps[1, 7, 7] = 1
    box = [{"box": [0.0, 0.0, 0.25, 0.5], "name": "lesion"}]  # 2 × 4 pixels at the upper left
    hits, chances = explain.pointed(maps, [box, box, None])
    assert hits[:2].tolist() == [1, 0]
    assert np.isnan(hits[2])
    assert chances[0] == pytest.approx(8 / 64)


def test_the_control_gives_every_image_the_boxes_of_another_patient():
    boxes = [[{"box": [0, 0, k / 10, 1], "name": "lesion"}] for k in range(1, 7)] + [None, []]
    patients = ["a", "a", "b", "b", "c", "c", "d", "e"]
    others = explain.of_others(boxes, patients, 0)
    assert others[6:] == [None, None]
    owner = {id(own): patient for own, patient in zip(boxes, patients, strict=True)}
    assert all(owner[id(given)] != patient for given, patient in zip(others[:6], patients[:6], strict=True))


def test_maps_have_the_size_of_the_image():
    pixels = small.squares(2)[0]
    made = explain.maps(tower(), pixels)
    assert made.shape == (2, 16, 16)
    np.testing.assert_allclose(made.sum((1, 2)), 16, rtol=1e-4)  # weights sum to 1, each on 4 × 4 pixels
