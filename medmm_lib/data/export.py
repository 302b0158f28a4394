"""Writes the question data set: parquet files with a dataset card, loadable with `datasets.load_dataset`."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from datasets import DatasetDict
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCard, DatasetCardData, HfApi

from medmm_lib import plots
from medmm_lib.data import quality
from medmm_lib.data.schema import SPLITS


def write(
    folder: Path, images: DatasetDict, questions: DatasetDict, *, name: str, fingerprint: str, removed: dict[str, int]
) -> None:
    """Write the configurations `images` and `questions`, joined by `image_id`, and a dataset card into `folder`.

    Each configuration is there twice: as parquet files, for `load_dataset` and the hub, and below `datasets/`, for
    `load_from_disk`, which maps it into memory.
    `removed` counts the pairs that were left out, by flag. An earlier version in `folder` is replaced as a whole.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for config, data in (("images", _embedded(images)), ("questions", questions)):
            for split in SPLITS:
                (work / config).mkdir(exist_ok=True)
                data[split].to_parquet(work / config / f"{split}.parquet")
            data.save_to_disk(work / "datasets" / config)
        _card(images, questions, name, fingerprint, removed).save(work / "README.md")
        shutil.rmtree(folder, ignore_errors=True)
        work.chmod(0o755)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def push(folder: Path, repository: str) -> str:
    """Upload what `write` made to a private data set repository of the Hugging Face hub; returns its address."""
    hub = HfApi()
    hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
    return str(
        hub.upload_folder(folder_path=folder, repo_id=repository, repo_type="dataset", ignore_patterns="datasets/*")
    )


def _embedded(images: DatasetDict) -> DatasetDict:
    """The same data with the files' bytes instead of their paths."""
    arrow = images.with_format("arrow")
    return arrow.map(embed_table_storage, batched=True, batch_size=100, load_from_cache_file=False).with_format(None)


def _card(
    images: DatasetDict, questions: DatasetDict, name: str, fingerprint: str, removed: dict[str, int]
) -> DatasetCard:
    count = sum(len(questions[split]) for split in SPLITS)
    data = DatasetCardData(
        language="en",
        license="mit" if name.startswith("phantom") else "other",
        task_categories=["visual-question-answering"],
        pretty_name=f"Radiology questions from {name}",
        size_categories="10K<n<100K" if count >= 10_000 else "1K<n<10K" if count >= 1000 else "n<1K",
        configs=[
            {
                "config_name": config,
                "data_files": [{"split": split, "path": f"{config}/{split}.parquet"} for split in SPLITS],
            }
            for config in ("questions", "images")
        ],
    )
    licences = sorted({text for split in SPLITS for text in images[split]["licence"] if text})
    kinds = Counter((split, kind) for split in SPLITS for kind in questions[split]["kind"])
    rows = [
        f"| {split} | {len(set(images[split]['patient_id'])):,} | {len(images[split]):,} "
        f"| {kinds[split, 'image']:,} | {kinds[split, 'literature']:,} |"
        for split in SPLITS
    ]
    flagged = Counter(flag for split in SPLITS for flags in questions[split]["flags"] for flag in flags)
    flags = [f"| `{flag}` | {removed.get(flag, 0):,} | {flagged[flag]:,} |" for flag in quality.FLAGS]
    phantom = "The images are phantoms with known truth: nothing measured on them is a medical result.\n"
    text = f"""
# Radiology questions from {name}

Made by chapter 01 of medmm from data with the fingerprint `{fingerprint}`. Research only, not for clinical use.
{phantom if name.startswith("phantom") else ""}
`questions` has the question/answer pairs, `images` the images in medmm's schema; they are joined by `image_id`.

| split | patients | images | image questions | literature questions |
|:--|--:|--:|--:|--:|
{chr(10).join(rows)}

## Quality flags

Flags are rules over words, made by `medmm_lib.data.quality`.

| flag | pairs removed | pairs kept |
|:--|--:|--:|
{chr(10).join(flags)}

## Known limits

- One image a question: no volumes, no earlier scans of the same patient.
- Template questions repeat a few phrasings. Answers to open questions are the field's own words.
- A finding that the caption does not name is not asked about; that it is absent is never concluded.
- Captions of several images of one case can be the same text.

## Licence

{chr(10).join(f"- {plots.literal(text)}" for text in licences) or "The data states no licence."}
"""
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n{text}")
