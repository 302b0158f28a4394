"""Base models from a folder or the hub, in as many bits as asked for."""

from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

from medmm_lib import device

PRECISIONS = ("4-bit", "8-bit", "bf16", "fp32")


class BaseUnavailable(OSError):
    """A base model that can't be had; the message says what to do."""


def load(base: str | Path, precision: str = "4-bit", *, checkpointing: bool = False) -> PreTrainedModel:
    """A base model, ready to be adapted; with `checkpointing` its layers compute twice instead of keeping activations.

    `precision` is how weights are stored: 4-bit (NF4, Dettmers et al. 2023, arXiv:2305.14314) and 8-bit (LLM.int8(),
    Dettmers et al. 2022, arXiv:2208.07339) for linear layers but the output, the rest in fp32; or all in bf16 or fp32.
    Products are computed as `device.precision` says. Raises `ValueError` for another precision and `BaseUnavailable`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    options: dict[str, object] = {"dtype": device.DTYPES.get(precision, torch.float32), "use_safetensors": True}
    if precision == "4-bit":
        compute = device.DTYPES[device.precision()[0]]
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
        )
    elif precision == "8-bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    if torch.cuda.is_available():
        options["device_map"] = {"": torch.cuda.current_device()}
    model = fetch(AutoModelForImageTextToText, base, **options)
    if precision.endswith("-bit"):
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=checkpointing, gradient_checkpointing_kwargs={"use_reentrant": False}
        )
        for module in model.modules():
            if isinstance(module, Linear4bit | Linear8bitLt):
                _keep_as_it_is(module)
        return model
    if checkpointing:
        model.activation_checkpointing_enable()
        model.enable_input_require_grads()
    return model


def _keep_as_it_is(layer: Linear4bit | Linear8bitLt) -> None:
    """Let no forward pass change a frozen layer.

    On CPUs with avx512_bf16 one in evaluation repacks weights of 4 bits, and later gradients are wrong. On all devices
    one rounds the bias to its input's type: here that is done once, before anything is computed.
    """
    if isinstance(layer, Linear4bit):
        layer.support_avx512bf16_for_cpu = False
    if layer.bias is not None:
        layer.bias.data = layer.bias.data.to(device.DTYPES[device.precision()[0]])


def load_processor(base: str | Path) -> ProcessorMixin:
    """The processor of a base model: its tokeniser and what it does to images."""
    return fetch(AutoProcessor, base)


def fetch(kind: type, base: str | Path, **options: object) -> object:
    """`kind.from_pretrained(base)`, from a folder or the hub; raises `BaseUnavailable` with what to do about it."""
    try:
        return kind.from_pretrained(str(base), **options)
    except (OSError, ValueError, GatedRepoError, RepositoryNotFoundError) as error:
        raise BaseUnavailable(f"{base}: {_advice(str(base), error)}") from error


def _advice(base: str, error: BaseException) -> str:
    """What to do about an error of the hub, told by the errors behind it."""
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"this model is gated. Accept its licence at https://huggingface.co/{base}, make a token at "
            "https://huggingface.co/settings/tokens, and set HF_TOKEN to it"
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return "the hub has no such model, or shows it only to those who log in: check the name, and set HF_TOKEN"
    if any(isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled | ConnectionError) for cause in causes):
        return (
            "the hub can't be reached and the model is not in the cache. Where there is a network, run "
            f"`hf download {base} --local-dir FOLDER`, copy FOLDER here, and give its path as the base"
        )
    if "trust_remote_code" in str(causes[0]):
        return (
            "this model brings code of its own, which is not run here. Look for a copy that was converted to "
            "transformers, and give its name"
        )
    return str(causes[0])
