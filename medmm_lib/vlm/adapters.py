"""What of a base model is trained: LoRA's matrices, its biases and norms, or everything."""

from collections.abc import Sequence

from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
PROJECTIONS = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
METHODS = ("lora", "bitfit", "full")
VISION = "vision_tower"


def adapt(
    model: PreTrainedModel,
    *,
    method: str = "lora",
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    target_modules: Sequence[str] = ATTENTION,
    tune_vision: bool = True,
) -> nn.Module:
    """The model with only those weights trainable that `method` trains.

    - `lora`: W x + (alpha / rank) · B A x for every linear layer W [out, in] that is called as one of `target_modules`,
      with A [rank, in] random and B [out, rank] zero at first, W frozen (Hu et al. 2022, arXiv:2106.09685, equation 3);
    - `bitfit`: biases (Ben Zaken et al. 2022, arXiv:2106.10199) and, as Gemma has none, the weights of norms;
    - `full`: everything; `rank`, `alpha`, `dropout`, `target_modules` are for LoRA alone.

    With `tune_vision` false nothing of the vision tower is trained. Target names also match SigLIP's layers of that
    name. Raises `ValueError` for another method, and where no layer has such a name.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "lora":
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules),
            exclude_modules=None if tune_vision else rf".*\b{VISION}\b.*", task_type="CAUSAL_LM",
        )  # fmt: skip
        return get_peft_model(model, config)
    norms = {
        id(part) for module in model.modules() if "Norm" in type(module).__name__ for part in module.parameters(False)
    }
    for name, weight in model.named_parameters():
        wanted = method == "full" or name.endswith(".bias") or id(weight) in norms
        weight.requires_grad_(wanted and (tune_vision or f"{VISION}." not in name))
    return model


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
