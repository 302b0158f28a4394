import numpy as np
import torch
import torch.nn.functional as F

from medmm_lib.contrastive import saliency
from medmm_lib.contrastive.fitting import asked
from medmm_lib.contrastive.tower import Tower
from tests.contrastive import small


def tower():
    torch.manual_seed(0)
    return Tower(small.mae(), 8)


def test_every_kind_has_a_map_of_its_patches():
    one, pixels = tower(), small.squares(5)[0]
    wanted = F.normalize(torch.randn(5, 8), dim=1)
    found = saliency.maps(one, pixels, wanted)
    assert set(found) == set(saliency.KINDS)
    for values in found.values():
        assert values.shape == (5, 4, 4)
        assert np.isfinite(values).all()
        assert (values >= 0).all()


def test_the_pooling_is_what_the_tower_reads():
    one, pixels = tower(), small.squares(3)[0]
    torch.nn.init.normal_(one.pooling.query)
    found = saliency.maps(one, pixels, F.normalize(torch.randn(3, 8), dim=1))["pooling"]
    np.testing.assert_allclose(found, asked(one, one.looks_at, pixels).numpy(), atol=0.01)


def test_what_is_wanted_changes_the_gradient_alone():
    one, pixels = tower(), small.squares(3)[0]
    first, other = (F.normalize(torch.randn(3, 8), dim=1) for _ in range(2))
    a, b = (saliency.maps(one, pixels, wanted) for wanted in (first, other))
    assert np.array_equal(a["rollout"], b["rollout"])
    assert not np.allclose(a["gradient × attention"], b["gradient × attention"])


def test_batches_do_not_matter(monkeypatch):
    one, pixels = tower(), small.squares(5)[0]
    wanted = F.normalize(torch.randn(5, 8), dim=1)
    whole = saliency.maps(one, pixels, wanted)
    monkeypatch.setattr(saliency, "BATCH", 2)
    for kind, values in saliency.maps(one, pixels, wanted).items():
        np.testing.assert_allclose(values, whole[kind], rtol=1e-3, atol=1e-6)


def test_the_maps_can_be_put_to_the_test():
    model, (pixels, *_) = tower(), small.squares(4)
    wanted = F.normalize(torch.randn(4, 8), dim=1)
    one = saliency.explained(model, pixels, wanted, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(one.images, pixels.numpy())
    scores = one.score(2, one.images[1:3])
    np.testing.assert_allclose(scores, asked(model, model, pixels[1:3]).numpy() @ wanted[2].numpy(), atol=1e-5)
    assert not np.allclose(one.maps["rollout"], one.randomised["rollout"])
