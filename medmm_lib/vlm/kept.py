"""The model that chapter 02 left: its base with the adapter on it, for other chapters."""

import json
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from medmm_lib.vlm.collator import Collator
from medmm_lib.vlm.loading import load, load_processor


def kept(folder: Path, parameters: dict[str, Any]) -> tuple[nn.Module, Collator, str]:
    """The tuned model of the chapter's `folder`, its collator, and where its base is: a folder or a name on the hub.

    `parameters` are those that the chapter ran with. Raises `FileNotFoundError` where it left no adapter, and
    `BaseUnavailable`.
    """
    adapter = folder / "adapter"
    settings = adapter / "adapter_config.json"
    if not settings.is_file():
        raise FileNotFoundError(f"{adapter} holds no adapter: run chapter 02_lora_finetuning first, with method lora")
    base = json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"]
    if parameters["base"] == "embedded":  # the folder may have moved since
        base = str(folder / "base" / Path(base).parent.name / Path(base).name)
    model = PeftModel.from_pretrained(load(base, parameters["precision"]), adapter)
    return model.eval(), Collator(load_processor(base), parameters["prompt"], parameters["context"]), base
