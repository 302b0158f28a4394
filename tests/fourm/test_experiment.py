from dataclasses import replace

import numpy as np
import pytest
import torch

from medmm_lib.fourm import studies as arms_of
from medmm_lib.fourm.experiment import Setup, Studies, comparison, step_flops, train
from medmm_lib.fourm.specialists import specialists
from medmm_lib.fourm.text import TextTokeniser
from tests.fourm import small

SETUP = Setup(
    size="tiny", mixture=("0.5: patches -> any", "0.5: any -> any"), inputs=(12, 24), targets=(20, 40), steps=4,
    batch_size=4, learning_rate=2e-3, seed=0, shape={"width": 32, "kv_heads": 4},
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus():
    text = TextTokeniser.train(["a cyst on the left", "a mass on the right"], 600)
    spaces = {
        name: replace(space, vocabulary_size=text.size, start=text.first_sentinel, end=text.end)
        if space.kind == "sequence"
        else space
        for name, space in small.SPACES.items()
    }
    codebooks = {"image": torch.randn(30, 8, generator=torch.Generator().manual_seed(0))}
    others = small.tokens(8, seed=1), small.tokens(8, seed=2)
    return Studies(spaces, text, codebooks, [small.tokens(12)], [1.0], *others, list("aabbccdd"), "key")


def test_the_same_settings_give_the_same_model(corpus, tmp_path):
    one, other = (train(SETUP, corpus, tmp_path / name, evaluations=1) for name in "ab")
    np.testing.assert_array_equal(one.losses, other.losses)
    assert one.losses.shape == (8, 5)
    assert np.isnan(one.losses[:, one.model.shape.names.index("patches")]).all()
    table = comparison({"one": [one], "other": [other]}, corpus, ["map", "caption"])
    assert table["difference"].abs().max() == 0
    assert list(table["modality"]) == ["map", "caption", "all"] * 2


def test_a_finished_training_that_is_run_again_keeps_its_log(corpus, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 2, "evaluations": 1}
    first, again = (train(SETUP, corpus, tmp_path, **saving) for _ in range(2))
    assert first.tokens == again.tokens > 0
    assert again.tokens_per_second == pytest.approx(first.tokens_per_second)
    np.testing.assert_array_equal(first.losses, again.losses)
    train(SETUP, replace(corpus, key="other data"), tmp_path, **saving)
    assert len(list(tmp_path.iterdir())) == 2  # it began anew


def test_codes_that_look_alike_start_alike(corpus):
    model, codes = SETUP.model(corpus), corpus.codebooks["image"]
    started = model.embeddings.tokens["image"].detach()
    apart, expected = torch.cdist(started, started), torch.cdist(codes, codes)
    assert np.corrcoef(apart.flatten(), expected.flatten())[0, 1] > 0.8
    assert started.std() == pytest.approx(0.1, rel=0.3)


def test_every_study_changes_what_it_says_and_starts_from_the_settings():
    for study in arms_of.STUDIES:
        arms = list(arms_of.arms(study, SETUP).values())
        assert SETUP in arms or study == "embeddings"
        assert len(set(map(str, arms))) == len(arms)
    budgets = arms_of.arms("budgets", SETUP).values()
    assert len({arm.steps * arm.targets[1] for arm in budgets}) == 1
    with pytest.raises(ValueError, match="'head'; expected some of heads"):
        arms_of.arms("head", SETUP)


def test_fewer_key_value_heads_remember_less(corpus):
    given = corpus.held_out.given("patches")
    cost = [
        arms_of.generation_cost(
            SETUP.model(corpus) if heads == 4 else replace(SETUP, shape={"width": 32, "kv_heads": heads}).model(corpus),
            given,
            "caption",
        )
        for heads in (4, 1)
    ]
    assert cost[0][0] == 4 * cost[1][0] == 2 * 1 * 32 * (16 + 12) * 4
    assert min(speed for _, speed in cost) > 0


def test_operations_grow_with_the_batch(corpus):
    assert step_flops(replace(SETUP, batch_size=8), corpus) == pytest.approx(2 * step_flops(SETUP, corpus), rel=0.15)


def test_specialists_stop_at_the_first_that_is_as_good(corpus, tmp_path):
    whole = train(SETUP, corpus, tmp_path, evaluations=1)
    table = specialists(whole, replace(SETUP, steps=30), corpus, tmp_path, ["map", "caption"], (16, 32))
    assert set(table["target"]) == {"map", "caption"}
    assert (table["bytes"] == 4 * table["parameters"]).all()
    for _, rows in table.groupby("target"):
        assert not rows["reached"][:-1].any()
        assert rows["reached"].iloc[-1] or len(rows) == 2


def test_encoded_tokens_are_told_apart_by_modality(corpus):
    points = arms_of.encoded_tokens(SETUP.model(corpus), corpus.held_out)
    assert set(points) == set(small.SPACES)
    assert points["image"].shape == (8 * 16, 2)
