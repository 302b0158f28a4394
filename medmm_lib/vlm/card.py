"""A tuned adapter in a folder: weights as safetensors, and a card that says what they are and what they are not."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, create_repo, upload_folder
from peft import PeftModel

from medmm_lib.vlm.bases import BASES
from medmm_lib.vlm.finetuning import Tuned, Tuning


def save(
    tuned: Tuned, tuning: Tuning, base: str, licence: str, folder: Path, *, data: Mapping[str, str],
    figures: Mapping[str, str],
) -> None:  # fmt: skip
    """Write adapter and card. `base` and its `licence` as a reader should find them; `data`: name and fingerprint of
    what it was trained on; `figures`: what was measured.

    Raises `ValueError` for a model that is no adapter.
    """
    if not isinstance(tuned.model, PeftModel):
        raise ValueError(f"method {tuning.method!r} trained the base itself; only adapters are saved")
    tuned.model.save_pretrained(folder)
    card = ModelCardData(
        base_model=base if base in BASES else None, library_name="peft", license="other",
        pipeline_tag="image-text-to-text",
    )  # fmt: skip
    text = card_text(tuned, tuning, base, licence, data, figures)
    ModelCard(f"---\n{card.to_yaml()}\n---\n{text}").save(folder / "README.md")


def card_text(
    tuned: Tuned, tuning: Tuning, base: str, licence: str, data: Mapping[str, str], figures: Mapping[str, str]
) -> str:
    """The card in Markdown."""
    settings = asdict(tuning) | asdict(tuning.schedule)
    del settings["schedule"]
    settings["weight_decay"] = tuned.trainer.args.weight_decay
    done = f"{tuned.trainer.state.global_step} of {tuning.schedule.steps} steps"
    measured = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    phantom = (
        "Its images are generated: nothing it says is about patients.\n" if data["name"].startswith("phantom") else ""
    )
    return f"""
# An adapter for questions on images of {data["name"]}

Made by chapter 02 of medmm from {data["name"]} (fingerprint `{data["fingerprint"]}`). {phantom}
Research only, not for clinical use. {tuned.trained:,} weights were trained; those of the base are not in this folder.

- Base: {base}
- Licence of the base: {licence}. The adapter is worth nothing without its base, so its terms hold.
- Training: {done}{"" if tuned.trainer.finished else ", not finished"}
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
- It saw one image a question, and images of one source.
"""


def push(folder: Path, repository: str) -> str:
    """Upload a folder to a private repository of the hub; returns its address."""
    url = create_repo(repository, private=True, exist_ok=True)
    upload_folder(repo_id=repository, folder_path=folder)
    return str(url)
