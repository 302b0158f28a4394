"""The model that chapter 03 left, and its test studies as the tokens it reads, for other chapters."""

from pathlib import Path
from typing import Any

from datasets import DatasetDict

from medmm_lib.fourm.modalities import REGISTRY
from medmm_lib.fourm.model import FourM
from medmm_lib.fourm.preparation import train_tokenisers
from medmm_lib.fourm.tokens import Tokens


def kept(folder: Path, parameters: dict[str, Any], dataset: DatasetDict) -> tuple[FourM, Tokens]:
    """The trained model of the chapter's `folder`, and the patches and texts of the test split of `dataset` as tokens.

    `parameters` are those that the chapter ran with, `dataset` its first data set: the text tokeniser is trained on it
    again, which always ends in the same vocabulary. Grids of codes are left out, as their tokenisers are not kept.
    Raises `FileNotFoundError` where there is no model.
    """
    if not (folder / "model").is_dir():
        raise FileNotFoundError(f"{folder} holds no model: run chapter 03_fourm_pretraining first")
    names = [name for name in parameters["modalities"] if REGISTRY[name].kind != "dense"]
    settings = {name: parameters[name] for name in ("side", "patch", "vocabulary_size", "longest_text", "seed")}
    tokenisers = train_tokenisers(dataset["train"], names, folder / "tokenisers", visual={}, **settings)
    model = FourM.from_pretrained(folder / "model").eval()
    for name, space in tokenisers.spaces.items():
        if model.shape.spaces[name] != space:
            raise ValueError(f"{name} of the model in {folder} is {model.shape.spaces[name]}, of these data {space}")
    return model, tokenisers.encode(dataset["test"])
