"""What a vision–language model takes in memory, from its configuration alone: nothing is downloaded or allocated."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import compute_module_sizes
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from medmm_lib.vlm.adapters import ATTENTION, adapt, trainable
from medmm_lib.vlm.bases import configuration

GIB = 2**30
NF4_BLOCK = 64  # weights that share one scale
# What a GPU of that name has for programs, in GiB, and what is kept free for CUDA's own and for gaps.
GPUS = {"T4 16 GB": 15.0, "V100 32 GB": 31.7, "H100 80 GB": 79.2}
RESERVE_GIB = 1.0


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes of a model and of its training, in GiB (2^30 bytes).

    `parameters`: weights of the base, tied ones once. `weights_gib`: the base in bf16. `quantised_gib`: its linear
    layers but the output in 4 bits, all else in bf16, scales not counted. `adapter_gib`: what is trained, in fp32.
    `trainable`, `trainable_percent`: of base and adapter together. `training_gib`: one training step by part;
    `checkpointed_gib`: its activations with checkpointing.
    """

    parameters: int
    weights_gib: float
    quantised_gib: float
    adapter_gib: float
    trainable: int
    trainable_percent: float
    training_gib: dict[str, float]
    checkpointed_gib: float

    @property
    def checkpointed(self) -> "MemoryPlan":
        """The same with activations computed twice instead of kept."""
        return replace(self, training_gib=self.training_gib | {"activations": self.checkpointed_gib})

    @property
    def total_gib(self) -> float:
        """All parts of a training step."""
        return sum(self.training_gib.values())

    def fits(self, gib: float) -> bool:
        """Whether a GPU with so much memory can train it, `RESERVE_GIB` left free."""
        return self.total_gib + RESERVE_GIB <= gib


def plan(
    config_or_model_id: PreTrainedConfig | str,
    *,
    quantised: bool = True,
    lora_rank: int = 8,
    target_modules: Sequence[str] = ATTENTION,
    method: str = "lora",
    dropout: float = 0.0,
    tune_vision: bool = True,
    bits: int = 4,
    batch_size: int = 1,
    context: int = 256,
) -> MemoryPlan:
    """What a PaliGemma takes, and one step of training it; the published ones need no network.

    `context`: text tokens, the question's and the answer's; the image's come on top. `method` and `dropout` as of
    `adapters.adapt`; `bits`: 4 or 8, of a quantised base. The parts of training are

    - weights: bf16; `quantised`: linear layers in NF4 with a scale in fp32 for 64 weights, or in 8 bits with one for
      each output, all else in fp32, as `prepare_model_for_kbit_training` leaves it (Dettmers et al. 2023,
      arXiv:2305.14314);
    - adapter, gradients, Adam states: 1, 1 and 2 times the trained weights, LoRA's in fp32, others in bf16;
    - activations: what the forward pass keeps for the backward pass, counted tensor by tensor while the model runs
      on PyTorch's `meta` device; with checkpointing the inputs of every layer and one layer's own;
    - loss: two copies of the text's scores in fp32, which the backward pass makes first; questions need none, so this
      is the most that it can be.

    Other temporary copies (weights read from few bits, an optimiser's) are not counted. Raises `ValueError` for a
    model that is no PaliGemma, and for weights in few bits that are to be trained themselves.
    """
    if quantised and method != "lora":
        raise ValueError(
            f"method {method!r} trains the base's own weights, which {bits} bits can't hold; quantised=False"
        )
    model = on_meta(config_or_model_id)
    linear = sum(layer.weight.numel() for layer in quantisable(model))
    count = sum(weight.numel() for weight in model.parameters())
    if quantised:
        outputs = sum(layer.out_features for layer in quantisable(model))
        scales = linear / NF4_BLOCK if bits == 4 else outputs
        weights = linear * bits / 8 + scales * 4 + (count - linear) * 4
        _in_fp32_where_not_quantised(model)
    else:
        weights = count * 2
    adapted = adapt(
        model, method=method, rank=lora_rank, dropout=dropout, target_modules=target_modules, tune_vision=tune_vision
    )
    own = sum(weight.numel() for weight in trainable(adapted).values())
    added = own if method == "lora" else 0
    trained = own * (4 if method == "lora" else 2)
    kept = activations(model, batch_size=batch_size, context=context, quantised=quantised)
    text = model.config.text_config
    scores = batch_size * context * text.vocab_size
    return MemoryPlan(
        parameters=count,
        weights_gib=count * 2 / GIB,
        quantised_gib=(linear * 0.5 + (count - linear) * 2) / GIB,
        adapter_gib=added * 4 / GIB,
        trainable=own,
        trainable_percent=100 * own / (count + added),
        training_gib={
            "weights": weights / GIB,
            "adapter": added * 4 / GIB,
            "gradients": trained / GIB,
            "Adam states": 2 * trained / GIB,
            "activations": kept.all / GIB,
            "loss": 2 * 4 * scores / GIB,
        },
        checkpointed_gib=kept.checkpointed / GIB,
    )


def on_meta(config_or_model_id: PreTrainedConfig | str) -> PreTrainedModel:
    """The model without its numbers, in bf16, on PyTorch's `meta` device."""
    known = isinstance(config_or_model_id, str)
    config = configuration(config_or_model_id) if known else config_or_model_id
    if config.model_type != "paligemma":
        raise ValueError(f"{config_or_model_id} is of the type {config.model_type!r}; plans are for PaliGemma")
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)


def quantisable(model: PreTrainedModel) -> list[nn.Linear]:
    """The layers that are stored in 4 bits: every linear one but the output."""
    output = model.get_output_embeddings()
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not output]


def layer_table(model: PreTrainedModel) -> list[dict[str, object]]:
    """Rows of layers of the same name and shape: layer, shape, how many, their weights in all, GiB in bf16 and in 4
    bits.

    Weights that two layers share stand once, where the model has them first.
    """
    small = {id(layer.weight) for layer in quantisable(model)}
    rows: dict[tuple, dict[str, object]] = {}
    for name, weight in model.named_parameters():
        called = ".".join("*" if part.isdigit() else part for part in name.removeprefix("model.").split("."))
        row = rows.setdefault((called, tuple(weight.shape)), {
            "layer": called, "shape": " × ".join(map(str, weight.shape)), "count": 0, "weights": 0, "GiB": 0.0,
            "GiB, 4-bit": 0.0,
        })  # fmt: skip
        row["count"] += 1
        row["weights"] += weight.numel()
        row["GiB"] += weight.numel() * 2 / GIB
        row["GiB, 4-bit"] += weight.numel() * (0.5 if id(weight) in small else 2) / GIB
    return sorted(rows.values(), key=lambda row: -row["weights"])


def offload(model: PreTrainedModel, *, gpu_gib: float, cpu_gib: float) -> dict[str, float]:
    """Where accelerate puts a model's layers for inference, filling GPU, CPU and disk in this order: GiB in each."""
    room = {0: int(gpu_gib * GIB), "cpu": int(cpu_gib * GIB)}
    sizes = compute_module_sizes(model)
    places = infer_auto_device_map(model, room, no_split_module_classes=model._no_split_modules)
    held = {"GPU": 0.0, "CPU": 0.0, "disk": 0.0}
    for name, place in places.items():
        held["GPU" if place == 0 else "CPU" if place == "cpu" else "disk"] += sizes[name] / GIB
    return held


@dataclass(frozen=True)
class Activations:
    """Bytes that a forward pass keeps for the backward pass: `all`, and with `checkpointed` layers."""

    all: int
    checkpointed: int


def activations(model: PreTrainedModel, *, batch_size: int, context: int, quantised: bool) -> Activations:
    """Count what autograd keeps of one forward pass in bf16 (autocast); `model` is on the `meta` device.

    A `quantised` layer gives its output in the type of its input.

    The image's features are put before the text's instead of into its placeholders: the same tensors, and no look at
    values, which the `meta` device has none of.
    """
    vision, core = model.config.vision_config, model.model
    image = torch.zeros(batch_size, vision.num_channels, vision.image_size, vision.image_size, device="meta")
    text = torch.zeros(batch_size, context, dtype=torch.long, device="meta")
    small = {id(layer.weight) for layer in quantisable(model)} if quantised else set()
    with _Autocast(small), _counted(model) as count:
        features = core.get_image_features(image.to(core.vision_tower.dtype)).pooler_output
        embedded = torch.cat([features, model.get_input_embeddings()(text)], dim=1)
        ids = torch.zeros(embedded.shape[:2], dtype=torch.long, device="meta")
        scores = model(
            inputs_embeds=embedded, attention_mask=torch.ones_like(ids), token_type_ids=ids, use_cache=False,
            logits_to_keep=context + 1,
        ).logits[:, :-1]  # fmt: skip
        functional.cross_entropy(scores.flatten(0, 1).float(), text.flatten())
    return count()


@contextmanager
def _counted(model: PreTrainedModel) -> Iterator:
    """Gather what autograd keeps, each storage once, by the layer that it is kept in; weights are not counted."""
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    kept: dict[int, torch.UntypedStorage] = {}
    inside: dict[nn.Module | None, int] = {None: 0}
    inputs: dict[nn.Module, int] = {}
    current: list[nn.Module | None] = [None]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights and storage._cdata not in kept:
            kept[storage._cdata] = storage  # held, so that no other storage takes its address
            inside[current[0]] = inside.get(current[0], 0) + storage.nbytes()
        return tensor

    def enter(layer: nn.Module, arguments: tuple) -> None:
        current[0] = layer
        inputs[layer] = arguments[0].nbytes

    def leave(_: nn.Module, __: tuple, ___: object) -> None:
        current[0] = None

    hooks = [layer.register_forward_pre_hook(enter) for layer in layers]
    hooks += [layer.register_forward_hook(leave) for layer in layers]

    def count() -> Activations:
        outside = inside[None]
        own = [inside.get(layer, 0) for layer in inputs]
        return Activations(outside + sum(own), outside + sum(inputs.values()) + max(own, default=0))

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield count
    for hook in hooks:
        hook.remove()


class _Autocast(TorchFunctionMode):
    """PyTorch's bf16 autocast knows no `meta` device: this does what it does there, products in bf16, all else as it
    comes.

    Attention is the fused kernel that keeps queries, keys, values, the output and one number a row.
    """

    PRODUCTS = frozenset({functional.linear, functional.conv2d, torch.matmul, torch.Tensor.matmul, torch.bmm})

    def __init__(self, quantised: set[int]) -> None:
        super().__init__()
        self.quantised = quantised  # weights, by their `id`

    def __torch_function__(self, function: Callable, _: tuple, arguments: tuple, options: dict | None = None) -> object:
        """Compute in bf16 what autocast would."""
        if function is functional.scaled_dot_product_attention:
            query, key, value = (part.bfloat16() for part in arguments)
            groups = query.shape[1] // key.shape[1]
            key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
            return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[0]
        if function is functional.linear and id(arguments[1]) in self.quantised:
            inputs, *others = arguments
            return function(inputs.bfloat16(), *others, **(options or {})).to(inputs.dtype)
        if function in self.PRODUCTS:
            arguments = tuple(part.bfloat16() if isinstance(part, torch.Tensor) else part for part in arguments)
        return function(*arguments, **(options or {}))


def _in_fp32_where_not_quantised(model: PreTrainedModel) -> None:
    """What `prepare_model_for_kbit_training` does to the weights that are not stored in 4 bits."""
    small = {id(layer.weight) for layer in quantisable(model)}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in small:
                setattr(module, name, nn.Parameter(weight.float()))
    model.tie_weights()
