import pytest
import torch

from medmm_lib.fourm.pretraining import step
from tests.fourm import small


@pytest.fixture(scope="module")
def trained():
    """A model that knows four studies by heart, so that what it generates is not a matter of rounding."""
    model, studies = small.model(width=64), small.tokens(4)
    spec = small.spec(inputs=(16, 24), mixture=["0.7: patches -> any", "0.3: any -> any"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for number in range(400):
        step(model, studies, spec, 0, torch.arange(4) + 4 * number)[0].loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model, studies


def test_what_was_learned_comes_out(trained):
    model, studies = trained
    made = model.generate(studies.given("patches"), ["caption", "map"])
    known = studies.given("caption", "map")
    assert (made["map"] == known["map"]).float().mean() > 0.9
    right = (made["caption"] == known["caption"][:, : made["caption"].shape[1]]).float().mean()
    assert right > 0.9


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_text_with_and_without_cache_is_the_same(kv_heads, temperature):
    model, studies = small.model(kv_heads=kv_heads).double(), small.tokens(5)
    inputs = {
        name: rows.double() if rows.is_floating_point() else rows
        for name, rows in studies.given("patches", "map").items()
    }
    with_cache, without = (
        model.generate(inputs, "caption", temperature=temperature, seed=3, cache=cache) for cache in (True, False)
    )
    assert torch.equal(with_cache, without)


def test_a_text_ends_with_its_end_token_and_nothing_follows(trained):
    model, studies = trained
    made = model.generate(studies.given("patches"), "caption")
    assert made.shape[1] <= small.SPACES["caption"].places
    for row in made.tolist():
        end = row.index(small.END)
        assert set(row[end + 1 :]) <= {-1}
        assert -1 not in row[:end]


@pytest.mark.parametrize("steps", [1, 3, 16, 40])
def test_a_grid_is_filled_whatever_the_steps(steps):
    made = small.model().generate(small.tokens(3).given("patches"), "map", steps=steps)
    assert made.shape == (3, 16)
    assert made.min() >= 0
    assert made.max() < 12


def test_given_places_of_a_grid_stay():
    studies = small.tokens(3).given("patches", "map")
    part = torch.where(torch.arange(16) < 5, studies["map"], -1)
    part[1] = -1  # rows may give different numbers of places
    made = small.model().generate(studies | {"map": part}, "map", steps=4)
    assert torch.equal(made[part >= 0], part[part >= 0])
    assert made.min() >= 0


def test_the_seed_decides_what_is_sampled():
    inputs = small.tokens(3).given("patches")
    one, same, other = (small.model().generate(inputs, "map", temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_row_does_not_depend_on_the_rows_beside_it(trained):
    model, studies = trained
    together = model.generate(studies.given("patches"), ["map", "caption"])
    alone = model.generate(studies.rows(torch.tensor([2])).given("patches"), ["map", "caption"])
    assert torch.equal(together["map"][2:3], alone["map"])
    assert torch.equal(together["caption"][2:3, : alone["caption"].shape[1]], alone["caption"])


def test_what_is_chained_depends_on_what_came_before():
    model, inputs = small.model(seed=1), small.tokens(3).given("patches")
    chained = model.generate(inputs, ["map", "image"], steps=2)
    by_hand = model.generate(inputs | {"map": chained["map"]}, "image", steps=2)
    assert torch.equal(chained["image"], by_hand)


def test_a_scan_from_a_caption_needs_no_pixels():
    made = small.model().generate(small.tokens(3).given("caption"), "image")
    assert made.shape == (3, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: {}, "no inputs; expected some of boxes, caption"),
        (lambda given: given | {"sound": given["map"]}, "'sound' is no modality of this model; expected some of boxes"),
        (lambda given: given | {"map": given["map"] + 12}, r"'map' holds tokens 1\d to 2\d; expected 0 to 11"),
        (lambda given: given | {"map": given["map"] - 20}, "'map' holds tokens -"),
        (lambda given: given | {"map": given["map"][:, :9]}, r"'map' is \[3, 9\]; expected \[B, 16\]"),
        (lambda given: given | {"caption": given["caption"].repeat(1, 2)}, r"'caption' is \[3, 24\].*\[B, at most"),
        (lambda given: given | {"map": given["map"][:2]}, "different numbers of rows"),
        (lambda given: given | {"patches": given["patches"][..., :4]}, r"'patches' is \[3, 16, 4\].*expected pixels"),
        (lambda given: {"caption": torch.full((3, 4), -1)}, "a row gives nothing"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(change, message):
    given = small.tokens(3).given("patches", "map", "caption")
    with pytest.raises(ValueError, match=message):
        small.model().generate(change(given), "boxes")


def test_rows_without_anything_are_refused_for_grids_too():
    with pytest.raises(ValueError, match="a row gives nothing"):
        small.model().generate({"map": torch.full((2, 16), -1)}, "map")


def test_a_text_that_is_given_is_not_generated():
    with pytest.raises(ValueError, match="'caption' is among the inputs"):
        small.model().generate(small.tokens(3).given("map", "caption"), ["image", "caption"])


@pytest.mark.parametrize("target", ["sound", "patches"])
def test_a_target_that_can_not_be_generated_is_refused(target):
    with pytest.raises(ValueError, match=f"target '{target}' can't be generated; expected one of boxes, caption"):
        small.model().generate(small.tokens(3).given("map"), target)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"temperature": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected steps from 1 and a temperature from 0"):
        small.model().generate(small.tokens(3).given("map"), "image", **wrong)
