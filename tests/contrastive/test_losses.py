"""Every loss against loops over pairs, written from the equations."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from medmm_lib.contrastive import losses

SCALE, BIAS = torch.tensor(7.0), torch.tensor(-3.0)


def batch(count, seed, captions):
    random = torch.Generator().manual_seed(seed)
    images, texts = (F.normalize(torch.randn(count, 5, generator=random, dtype=torch.float64), dim=1) for _ in range(2))
    caption = torch.randint(captions, (count,), generator=random)
    return images, texts, caption


def naive_margin(images, texts, caption, epsilon):
    same = caption[:, None] == caption
    total = 0.0
    for i, x in enumerate(images):
        for j, y in enumerate(texts):
            distance = float((x - y).norm())
            total += distance**2 if same[i, j] else max(0.0, epsilon - distance) ** 2
    return total / len(images)


def naive_infonce(images, texts, caption, scale):
    same = caption[:, None] == caption
    total = 0.0
    for i in range(len(images)):
        others = [j for j in range(len(texts)) if j == i or not same[i, j]]
        own = float(scale * images[i] @ texts[i])
        total -= own - math.log(sum(math.exp(scale * images[i] @ texts[j]) for j in others))
        total -= own - math.log(sum(math.exp(scale * images[j] @ texts[i]) for j in others))
    return total / (2 * len(images))


def naive_sigmoid(images, texts, caption, scale, bias):
    same = caption[:, None] == caption
    total = 0.0
    for i in range(len(images)):
        for j in range(len(texts)):
            if i == j or not same[i, j]:
                sign = 1 if i == j else -1
                total += math.log1p(math.exp(-sign * float(scale * images[i] @ texts[j] + bias)))
    return total / len(images)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.integers(1, 12))
def test_losses_are_what_the_equations_say(count, seed, captions):
    images, texts, caption = batch(count, seed, captions)
    assert float(losses.margin(images, texts, caption, 1.2)) == pytest.approx(
        naive_margin(images, texts, caption, 1.2), abs=1e-5
    )
    assert float(losses.infonce(images, texts, caption, SCALE)) == pytest.approx(
        naive_infonce(images, texts, caption, SCALE)
    )
    whole = losses.sigmoid(images, texts, caption, SCALE, BIAS)
    assert float(whole) == pytest.approx(naive_sigmoid(images, texts, caption, SCALE, BIAS))
    for block in (1, 2, count):
        assert float(losses.sigmoid_in_blocks(images, texts, caption, SCALE, BIAS, block)) == pytest.approx(
            float(whole)
        )


def test_blocks_have_the_gradients_of_the_whole():
    images, texts, caption = batch(7, 0, 4)
    images.requires_grad_(True)
    whole = torch.autograd.grad(losses.sigmoid(images, texts, caption, SCALE, BIAS), images)[0]
    parts = torch.autograd.grad(losses.sigmoid_in_blocks(images, texts, caption, SCALE, BIAS, 3), images)[0]
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("loss", [losses.infonce, losses.sigmoid])
def test_an_identical_caption_is_no_negative(loss):
    images, texts, _ = batch(4, 3, 100)
    texts[1] = texts[0]
    others = (SCALE,) if loss is losses.infonce else (SCALE, BIAS)
    caption = torch.arange(4)
    as_negative = loss(images, texts, caption, *others)
    caption[1] = 0
    assert loss(images, texts, caption, *others) < as_negative


def test_perfect_pairs_cost_less_than_exchanged_ones():
    images = torch.eye(4)
    caption = torch.arange(4)
    for loss, others in ((losses.margin, ()), (losses.infonce, (SCALE,)), (losses.sigmoid, (SCALE, BIAS))):
        assert loss(images, images, caption, *others) < loss(images, images.roll(1, 0), caption, *others)


def test_memory_grows_with_the_square_of_the_batch_but_for_blocks():
    for name in ("margin", "infonce", "sigmoid"):
        assert losses.loss_mib(name, 2048, 32) / losses.loss_mib(name, 1024, 32) == pytest.approx(4, rel=0.05)
    ratio = losses.loss_mib("sigmoid in blocks", 2048, 32) / losses.loss_mib("sigmoid in blocks", 1024, 32)
    assert ratio < 2.6
