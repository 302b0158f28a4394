import numpy as np
import pytest
import torch

from medmm_lib.fourm import saliency
from medmm_lib.fourm.pretraining import step
from medmm_lib.fourm.tokens import Tokens
from tests.fourm import small

SPACES = {name: small.SPACES[name] for name in ("patches", "caption")}


def lit(rows, seed):
    """Scans with one bright patch, whose place the caption names."""
    random = torch.Generator().manual_seed(seed)
    place = torch.randint(0, 16, (rows,), generator=random)
    pixels = torch.zeros(rows, 16, 16, dtype=torch.uint8)
    pixels[torch.arange(rows), place] = 255
    caption = torch.zeros(rows, 12, dtype=torch.int32)
    caption[:, 0], caption[:, 1] = place + 2, small.END
    ids = {"patches": torch.arange(16, dtype=torch.int32).repeat(rows, 1), "caption": caption}
    lengths = {"patches": torch.full((rows,), 16), "caption": torch.full((rows,), 2)}
    return Tokens(ids, lengths, {"patches": pixels}), place


@pytest.fixture(scope="module")
def trained():
    model, (studies, _) = small.model(spaces=SPACES, width=64), lit(128, 0)
    spec = small.spec(spaces=SPACES, inputs=(16, 16), targets=(4, 4), mixture=("1: patches -> caption",))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for number in range(250):
        rows = torch.randint(0, 128, (32,), generator=torch.Generator().manual_seed(number))
        step(model, studies.rows(rows), spec, 0, rows + 128 * number)[0].loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model


def of(model, studies):
    given = studies.given("patches", "caption")
    return saliency.maps(model, "patches", given["patches"], "caption", given["caption"])


def test_the_map_points_at_what_the_text_tells(trained):
    studies, place = lit(40, 1)
    for kind, values in of(trained, studies).items():
        assert (values.reshape(40, 16).argmax(1) == place.numpy()).mean() > 0.3, kind  # chance is 1/16


def test_maps_have_the_grid_and_rollout_is_a_share(trained):
    studies, _ = lit(5, 2)
    found = of(trained, studies)
    assert set(found) == set(saliency.KINDS)
    for values in found.values():
        assert values.shape == (5, 4, 4)
        assert (values >= 0).all()
    np.testing.assert_allclose(found["rollout"].sum((1, 2)), 1, rtol=1e-4)


def test_what_follows_the_end_of_the_text_does_not_count(trained):
    studies, _ = lit(3, 3)
    given = studies.given("patches", "caption")
    longer = torch.nn.functional.pad(given["caption"], (0, 3), value=-1)[:, :12]
    one, other = (
        saliency.maps(trained, "patches", given["patches"], "caption", text) for text in (given["caption"], longer)
    )
    for kind, values in one.items():
        np.testing.assert_allclose(values, other[kind], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_shared_keys_are_no_trouble(kv_heads):
    studies, _ = lit(3, 4)
    assert of(small.model(spaces=SPACES, kv_heads=kv_heads), studies)["rollout"].shape == (3, 4, 4)
