import numpy as np
import pytest
import torch

from medmm_lib.contrastive import images
from medmm_lib.contrastive.explore import filled_in
from medmm_lib.contrastive.fitting import fit
from medmm_lib.contrastive.mae import MAEShape, errors, hiding, mean_image_errors
from tests.contrastive import small


def test_positions_are_not_zero():
    model = small.mae().model
    for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        places = table[0, 1:]
        assert not table.requires_grad
        assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.1  # no two places are alike


def test_it_beats_the_mean_image_on_held_out_images(tmp_path):
    pixels, held_out = small.squares(256, seed=0)[0], small.squares(40, seed=1)[0]
    mae = small.mae()
    fit(mae, hiding(pixels, mae.shape, 0), len(pixels), small.schedule(steps=250), tmp_path, key="mae")
    own, mean = errors(mae, held_out), mean_image_errors(pixels, held_out, small.SHAPE.patch)
    assert own.shape == mean.shape == (40, 16)
    assert own.nanmean() < 0.95 * mean.mean()


def test_what_is_given_stays_as_it_is():
    pixels = small.squares(3)[0]
    for one, (given, made) in zip(pixels.numpy(), filled_in(small.mae(), pixels), strict=True):
        hidden = given == 128
        assert 0.6 < hidden.mean() < 0.9
        assert np.array_equal(given[~hidden], one[~hidden])
        assert np.array_equal(made[~hidden], one[~hidden])


def test_errors_are_those_of_hidden_patches_and_repeatable():
    mae, pixels = small.mae(), small.squares(5)[0]
    assert torch.equal(errors(mae, pixels).nan_to_num(), errors(mae, pixels).nan_to_num())


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"patch": 5}, "divides"), ({"width": 30}, "width is 30"), ({"mask_ratio": 1.0}, "mask_ratio")],
)
def test_shapes_that_do_not_fit_say_why(changes, said):
    with pytest.raises(ValueError, match=said):
        MAEShape(**changes)


def test_patches_and_back():
    maps = torch.arange(2 * 16 * 16).reshape(2, 16, 16)
    parts = images.patches(maps, 4)
    assert parts.shape == (2, 16, 16)
    assert torch.equal(parts[0, 1], maps[0, :4, 4:8].flatten())  # row by row
    assert torch.equal(images.unpatched(parts), maps)


def test_views_are_repeatable_near_and_never_mirrored():
    pixels = small.squares(8)[0]
    assert torch.equal(images.moved(pixels, 3), images.moved(pixels, 3))
    assert not torch.equal(images.moved(pixels, 3), images.moved(pixels, 4))
    moved, own = images.moved(pixels, 3).float(), pixels.float()
    assert (moved - own).abs().mean() < (moved - own.flip(2)).abs().mean()
