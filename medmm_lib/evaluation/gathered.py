"""What the chapters left of their models' answers, and what to run where nothing is."""

from pathlib import Path


def file_of(folder: Path, condition: str = "model") -> Path:
    """Where a chapter leaves a model's predictions under a condition, in the model's folder: `model`, or a control."""
    return folder / condition.replace(" ", "_").replace("'", "") / "predictions.jsonl"
