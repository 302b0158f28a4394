"""A tuned adapter in a folder: weights as safetensors, and a card that says what they are and what they are not."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, create_repo, upload_folder
from peft import PeftModel

from medmm_lib.vlm.finetuning import Tuned, Tuning
from medmm_lib.vlm.hub import licence


def save(
    tuned: Tuned, tuning: Tuning, base: str, folder: Path, *, data: Mapping[str, str], figures: Mapping[str, str]
) -> None:
    """Write adapter and card. `data`: name and fingerprint of what it was trained on; `figures`: what was measured.

    Raises `ValueError` for a model that is no adapter.
    """
    if not isinstance(tuned.model, PeftModel):
        raise ValueError(f"method {tuning.method!r} trained the base itself; only adapters are saved")
    tuned.model.save_pretrained(folder)
    text = card_text(tuned, tuning, base, data, figures)
    named = base if "/" in base and not Path(base).is_dir() else None
    card = ModelCardData(base_model=named, library_name="peft", license="other", pipeline_tag="image-text-to-text")
    ModelCard(f"---\n{card.to_yaml()}\n---\n{text}").save(folder / "README.md")


def card_text(tuned: Tuned, tuning: Tuning, base: str, data: Mapping[str, str], figures: Mapping[str, str]) -> str:
    """The card in Markdown."""
    settings = asdict(tuning) | asdict(tuning.schedule)
    del settings["schedule"]
    measured = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return f"""
# A radiology question adapter for {Path(base).name}

Made by chapter 02 of medmm from {data["name"]} (fingerprint `{data["fingerprint"]}`).
Research only, not for clinical use. {tuned.trained:,} weights were trained; those of the base are not in this folder.

- Base: {base}
- Licence of the base: {licence(base)}. The adapter is worth nothing without its base, so its terms hold.
- Settings: {", ".join(f"`{name}={value!r}`" for name, value in settings.items())}

| measured on held-out patients | |
|:--|:--|
{measured}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText

model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(BASE), FOLDER)
```

Ask with the prompt `{tuning.prompt}`.

## Limits

- Answers are short texts in the words of the training answers; they can be wrong, and are not checked by anything here.
- It saw one image a question and one hospital's kind of images.
"""


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a private repository of the hub; returns its address."""
    url = create_repo(repository, private=True, exist_ok=True)
    upload_folder(repo_id=repository, folder_path=folder)
    return str(url)
