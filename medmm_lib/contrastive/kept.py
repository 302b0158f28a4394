"""Aligned towers on disk, for other chapters: weights as safetensors, and what they were built from as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save

from medmm_lib import paths
from medmm_lib.contrastive.alignment import Alignment
from medmm_lib.contrastive.mae import MAE, MAEShape
from medmm_lib.contrastive.tower import Tower

WEIGHTS, SHAPE = "alignment.safetensors", "alignment.json"


def keep(model: Alignment, folder: Path) -> None:
    """Write a trained tower with its texts' projection; each file is there whole or not at all."""
    shape = asdict(model.tower.shape)
    built = {"shape": shape, "dim": model.text.out_features, "text_width": model.text.in_features, "loss": model.loss}
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    paths.write_atomically(folder / WEIGHTS, save(weights))
    paths.write_atomically(folder / SHAPE, json.dumps(built, indent=2) + "\n")


def kept(folder: Path) -> Alignment:
    """Read what `keep` wrote. Raises `FileNotFoundError` that names the folder and what to run."""
    if not (folder / WEIGHTS).is_file() or not (folder / SHAPE).is_file():
        raise FileNotFoundError(f"{folder} holds no aligned tower: run chapter 05_contrastive_pretraining first")
    built = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
    tower = Tower(MAE(MAEShape(**built["shape"])), built["dim"])
    model = Alignment(tower, built["text_width"], built["loss"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()
