"""What training costs in floating-point operations (FLOPs), and what machines do of them.

A multiplication and an addition are two operations. Backward passes take twice the forward's: once for what goes on to
the layer before, once for the weights (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medmm_lib import paths
from medmm_lib.fourm.shape import FourMShape

PF_DAY = 86_400e15  # a petaflop/s, 10^15 operations a second, for one day
FILE = paths.REPORT / "gpus.csv"


def encoder_decoder_flops(shape: FourMShape, given: int, asked: int, vocabulary: float) -> float:
    """FLOPs of one training step of 4M for one study: `given` places of the encoder, `asked` of the decoder, each of
    which is scored against `vocabulary` tokens.

    Attention counts as if every place saw every other one; norms, softmax and look-ups are left out.
    """
    width, key_value = shape.width, shape.width * shape.kv_heads // shape.heads
    mlp = 4 * shape.mlp_ratio * width**2

    def layer(places: int) -> int:
        return places * (4 * width**2 + 4 * width * key_value + mlp) + 4 * places**2 * width

    cross = asked * 4 * width**2 + given * 4 * width * key_value + 4 * asked * given * width
    forward = shape.encoder_layers * layer(given) + 2 * given * width**2 + shape.decoder_layers * (layer(asked) + cross)
    return 3 * (forward + 2 * asked * width * vocabulary)


def layer_weights(shape: FourMShape) -> int:
    """Weights of all layers: without token, position and modality embeddings, as Kaplan et al. count N."""
    width, key_value = shape.width, shape.width * shape.kv_heads // shape.heads
    attention, mlp = 2 * width**2 + 2 * width * key_value, 2 * shape.mlp_ratio * width**2
    return shape.encoder_layers * (attention + mlp) + shape.decoder_layers * (2 * attention + mlp) + width**2


def lora_flops_per_token(frozen: float, adapter: float, *, checkpointing: bool = False) -> float:
    """FLOPs a token of training LoRA's `adapter` weights beside `frozen` ones, attention's own products left out.

    The forward pass goes through both, and so does what the backward pass hands on; only the adapter needs gradients
    of its own. So frozen weights cost 4 operations each instead of 6, and no fewer. `checkpointing` repeats the
    forward pass.
    """
    passes = 3 if checkpointing else 2
    return 2 * passes * (frozen + adapter) + 2 * adapter


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker describes it: memory in GB (10⁹ bytes), peak FLOP/s by dtype, matrix products without
    sparsity."""

    name: str
    memory_gb: float
    peak: Mapping[str, float]
    source: str
    note: str

    @property
    def fastest(self) -> tuple[str, float]:
        """The dtype that training would use, bf16 where there is one, and its peak."""
        dtype = next(name for name in ("bf16", "fp16", "fp32") if name in self.peak)
        return dtype, self.peak[dtype]


def gpus() -> dict[str, Gpu]:
    """The GPUs of `report/gpus.csv`, by name."""
    found = {}
    for row in pd.read_csv(FILE).to_dict("records"):
        peak = {name: 1e12 * row[f"{name}_tflops"] for name in ("fp32", "fp16", "bf16")}
        known = {name: value for name, value in peak.items() if value == value}
        found[row["gpu"]] = Gpu(row["gpu"], row["memory_gb"], known, row["source"], row["note"])
    return found
