import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.shape import Space, sized
from medmm_lib.scaling.compute import (
    PF_DAY,
    encoder_decoder_flops,
    gpus,
    layer_weights,
    lora_flops_per_token,
)

SPACES = {
    "patches": Space("patches", "patches", 64, (8, 8)),
    "map": Space("dense", "map", 96, (8, 8)),
    "caption": Space("sequence", "text", 300, (1, 40), start=290, end=1),
}


@pytest.mark.parametrize(
    "changes", [{}, {"kv_heads": 1}, {"width": 64, "heads": 2, "kv_heads": 2, "decoder_layers": 3}]
)
def test_flops_of_a_training_step_are_those_that_pytorch_counts(changes):
    shape = sized(SPACES, "tiny", **changes)
    model = FourM(shape)
    given, asked, batch = 48, 60, 2
    x = torch.randn(batch, given, shape.width, requires_grad=True)
    y = torch.randn(batch, asked, shape.width, requires_grad=True)
    everywhere = lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)  # noqa: E731
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        for layer in model.encoder:
            x = layer(x, everywhere)
        memory = model.remember(x, torch.zeros_like(x))
        for layer, keys_values in zip(model.decoder, memory, strict=True):
            y = layer(y, everywhere, keys_values, everywhere)
        model.embeddings.logits(y, "map").sum().backward()
    assert batch * encoder_decoder_flops(shape, given, asked, 96) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_weights_of_layers_are_those_of_the_model():
    for changes in ({}, {"kv_heads": 2}, {"encoder_layers": 5}):
        shape = sized(SPACES, "tiny", **changes)
        model = FourM(shape)
        parts = (*model.encoder.parameters(), *model.decoder.parameters(), *model.context.parameters())
        assert layer_weights(shape) == sum(part.numel() for part in parts if part.ndim == 2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_frozen_weights_cost_four_operations_a_token(checkpointing):
    width, tokens = 256, 64
    layers = [torch.nn.Linear(width, width, bias=False).requires_grad_(False) for _ in range(4)]
    adapters = [torch.nn.Linear(width, width, bias=False) for _ in range(4)]

    def both(x):
        for layer, adapter in zip(layers, adapters, strict=True):
            x = layer(x) + adapter(x)
        return x

    x = torch.randn(tokens, width, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        made = torch.utils.checkpoint.checkpoint(both, x, use_reentrant=False) if checkpointing else both(x)
        made.sum().backward()
    expected = tokens * lora_flops_per_token(4 * width**2, 4 * width**2, checkpointing=checkpointing)
    # Where recomputing stops as soon as the last tensor that is needed is there, the last layer's output is not redone.
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.2 if checkpointing else 1e-6)
    assert counter.get_total_flops() <= expected


def test_gpus_have_a_source_and_peaks_that_fit_together():
    found = gpus()
    assert {name.split()[0] for name in found} == {"V100", "T4", "A100", "H100", "L40S"}
    for gpu in found.values():
        assert gpu.source.startswith("https://")
        assert gpu.fastest[1] > gpu.peak["fp32"]
    v100 = next(gpu for name, gpu in found.items() if name.startswith("V100"))
    assert v100.fastest == ("fp16", 125e12)


def test_the_notes_arithmetic_is_peak_times_eight():
    fp32 = gpus()["V100 SXM2 32 GB"].peak["fp32"]
    assert 8 * fp32 * 86_400 / PF_DAY == pytest.approx(0.1256)
    assert fp32 * 86_400 / PF_DAY == pytest.approx(0.0157)
