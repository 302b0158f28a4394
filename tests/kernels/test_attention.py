"""Attention by segments equals dense attention with a mask, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import flex_attention

from medmm_kernels import mask_batch, segment_attention
from medmm_kernels.attention import SHORT, block_mask

from .batches import eight, eight_tokens

LENGTHS = [SHORT, SHORT + 8]  # as a CPU attends with a mask, and by segments


@pytest.fixture(scope="module", params=LENGTHS)
def decoder(request):
    return mask_batch(*eight_tokens(6), eight(0.3, request.param), seed=0, sample_ids=torch.arange(6)).decoder


def tensors(heads, key_heads, decoder, width=8):
    generator = torch.Generator().manual_seed(0)
    batch, length = decoder.start.shape
    shapes = (heads, key_heads, key_heads)
    return [torch.randn(batch, h, length, width, generator=generator, requires_grad=True) for h in shapes]


def dense_attention(q, k, v, start, end):
    place = torch.arange(q.shape[2])
    visible = (place >= start[..., None]) & (place < end[..., None])
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None], enable_gqa=q.shape[1] != k.shape[1])
    return torch.where((end > start)[:, None, :, None], attended, 0.0)


@pytest.mark.parametrize(("heads", "key_heads"), [(6, 6), (6, 2), (4, 1)])
def test_equals_dense_attention_with_gradients(heads, key_heads, decoder):
    inputs = tensors(heads, key_heads, decoder)
    ours, dense = (f(*inputs, decoder.start, decoder.end) for f in (segment_attention, dense_attention))
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-6)
    gradient = torch.randn_like(ours)
    for name, a, b in zip("qkv", *(torch.autograd.grad(o, inputs, gradient) for o in (ours, dense)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=f"gradient of {name}")
        assert a.isfinite().all()


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2)])
def test_block_mask_lets_flex_attention_do_the_same(heads, key_heads, decoder):
    inputs = [x.detach() for x in tensors(heads, key_heads, decoder, 16)]
    mask = block_mask(decoder.start, decoder.end)
    ours = flex_attention(*inputs, block_mask=mask, enable_gqa=heads != key_heads)
    torch.testing.assert_close(ours, dense_attention(*inputs, decoder.start, decoder.end), rtol=1e-5, atol=1e-5)


def test_block_mask_leaves_out_tiles_of_other_segments():
    place = torch.arange(512)
    start = place // 128 * 128
    assert block_mask(start[None], (start + 128)[None]).sparsity() == pytest.approx(75.0)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_query_without_places_gets_zero(length):
    start, end = torch.zeros(1, length, dtype=torch.int64), torch.zeros(1, length, dtype=torch.int64)
    end[0, 0] = 1
    q = torch.randn(1, 2, length, 4, requires_grad=True)
    result = segment_attention(q, q, q, start, end)
    assert torch.equal(result[:, :, 1:], torch.zeros(1, 2, length - 1, 4))
    torch.testing.assert_close(result[:, :, 0], q[:, :, 0])
    result.sum().backward()
    assert q.grad.isfinite().all()
    assert (q.grad[:, :, 1:] == 0).all()


@pytest.mark.parametrize(
    ("start", "end"), [([0, 0, 0], [2, 2, 2]), ([0, 0, 1], [3, 3, 3]), ([0, 1, 1], [1, 2, 3]), ([0, 0, 0], [1, 3, 3])]
)
def test_what_is_no_segment_is_refused(start, end):
    q = torch.randn(1, 1, 3, 4)
    if start == [0, 1, 1] and end == [1, 2, 3]:  # this one is: a single place, then a causal pair
        assert segment_attention(q, q, q, torch.tensor([start]), torch.tensor([end])).shape == q.shape
        return
    with pytest.raises(ValueError, match="attends to"):
        segment_attention(q, q, q, torch.tensor([start]), torch.tensor([end]))


def test_shapes_that_do_not_fit_are_refused():
    q, k = torch.randn(1, 3, 5, 4), torch.randn(1, 2, 5, 4)
    place = torch.zeros(1, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="expected"):
        segment_attention(q, k, k, place, place + 5)
    with pytest.raises(ValueError, match="start is"):
        segment_attention(q, q, q, place[:, :4], place + 5)


@pytest.mark.parametrize(("rows", "length"), [(0, 5), (2, 0)])
def test_nothing_attends_to_nothing(rows, length):
    empty, extent = torch.zeros(rows, 2, length, 4), torch.zeros(rows, length, dtype=torch.int32)
    assert segment_attention(empty, empty, empty, extent, extent).shape == empty.shape
