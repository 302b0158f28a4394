import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medmm_lib.evaluation.rollout import gradient_rollout, log_odds, rollout


def attention(layers, heads, tokens, seed):
    drawn = np.random.default_rng(seed).random((layers, heads, tokens, tokens))
    return drawn / drawn.sum(-1, keepdims=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(0, 10**6))
def test_rows_are_shares(layers, heads, tokens, seed):
    found = rollout(attention(layers, heads, tokens, seed))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1)


def test_two_layers_by_hand():
    first = np.array([[0.0, 1.0], [0.0, 1.0]])  # both read the second token
    second = np.array([[1.0, 0.0], [1.0, 0.0]])  # both read the first one
    found = rollout(np.stack([first, second])[:, None])
    mixed = [0.5 * np.eye(2) + 0.5 * layer for layer in (first, second)]
    np.testing.assert_allclose(found, mixed[1] @ mixed[0])


def test_what_nobody_reads_has_no_share():
    layer = np.zeros((3, 3))
    layer[:, 0] = 1  # all read the first token
    found = rollout(np.stack([layer, layer])[:, None])
    assert found[1, 2] == 0
    assert found[1, 0] > found[1, 1]


def test_gradients_choose_the_heads_that_matter():
    reads_first, reads_second = np.zeros((2, 2)), np.zeros((2, 2))
    reads_first[:, 0], reads_second[:, 1] = 1, 1
    both = np.stack([reads_first, reads_second])[None]
    gradient = np.zeros((1, 2, 2, 2))
    gradient[0, 0] = 1  # only the first head raises the output
    found = gradient_rollout(both, gradient)
    np.testing.assert_allclose(found, np.eye(2) + reads_first / 2)
    gradient[0, 1] = -1  # what lowers it does not count
    np.testing.assert_allclose(gradient_rollout(both, gradient), found)


def test_what_is_no_attention_is_refused():
    with pytest.raises(ValueError, match="softmax"):
        rollout(np.ones((1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"\[layers, heads, N, N\]"):
        rollout(np.ones((2, 2)))
    with pytest.raises(ValueError, match="its gradient"):
        gradient_rollout(attention(1, 1, 2, 0), np.zeros((1, 1, 3, 3)))


def test_log_odds_are_those_of_the_probability():
    scores, tokens = torch.randn(3, 5), torch.tensor([0, 4, 2])
    likely = scores.softmax(-1)[torch.arange(3), tokens]
    torch.testing.assert_close(log_odds(scores, tokens), torch.log(likely / (1 - likely)))
