"""Question/answer pairs from the fields of the schema: the engine `template`, deterministic and without a model.

Image questions ask what one image shows; literature questions ask about a case's topic text, for beginners and for
experts. Each is asked in one of several phrasings, chosen by a hash of what it is about, so that a pair does not depend
on the order or the number of cases.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from datasets import Dataset, DatasetDict, Features, List, Value

from medmm_lib.data import literature, quality
from medmm_lib.data.findings import findings_in
from medmm_lib.data.schema import NOT_ONE_PLANE, SPLITS, to_dataset, topic_key
from medmm_lib.data.splits import shared_topics

FEATURES = Features(
    {
        "question_id": Value("string"),
        "kind": Value("string"),  # image, literature
        "level": Value("string"),  # of literature questions: beginner, expert
        "form": Value("string"),  # open, closed (the answer is yes or no)
        "question": Value("string"),
        "answer": Value("string"),
        "image_id": Value("string"),  # null, like the case and the patient, for literature questions
        "case_id": Value("string"),
        "patient_id": Value("string"),
        "topic": Value("string"),  # what a literature question was made from; null for image questions
        "engine": Value("string"),
        "flags": List(Value("string")),  # medmm_lib.data.quality
    }
)

PLANES = {
    "axial": "an axial",
    "coronal": "a coronal",
    "sagittal": "a sagittal",
    "frontal": "a frontal",
    "lateral": "a lateral",
}
MODALITIES = {"CT": "a CT scan", "MR": "an MR image", "XR": "an X-ray image", "US": "an ultrasound image"}
KINDS = MODALITIES | {"NM": "a nuclear medicine image"}  # kinds that an answer can name; a wrong guess names the others
FINDING_QUESTIONS_PER_IMAGE = 2

_YES_OR_NO = re.compile(r"\s*(?:yes|no)\b", re.IGNORECASE)
_OPEN = {
    "modality": ("Which imaging modality is this?", "What kind of scan is this?", "How was this image made?"),
    "sequence": (
        "Which sequence or contrast was used?",
        "What MR sequence or CT contrast does this image show?",
        "Name the sequence or contrast of this image.",
    ),
    "plane": (
        "In which plane was this image taken?",
        "What is the plane of this image?",
        "Which view does this image show?",
    ),
    "location_category": (
        "Which part of the body does this image show?",
        "What body region is this?",
        "Which region was scanned?",
    ),
    "caption": ("What does this image show?", "Describe the findings in this image.", "What do you see in this image?"),
    "diagnosis": ("What is the most likely diagnosis?", "Which diagnosis fits this image?", "What condition is this?"),
}
_CLOSED = {
    "modality": ("Is this {}?", "Does the picture show {}?", "Would you call this {}?"),
    "plane": ("Is this {} view?", "Was this taken in {} view?", "Does this image show {} view?"),
    "finding": ("Is there {}?", "Does this image show {}?", "Can {} be seen?"),
}


def make(dataset: DatasetDict) -> DatasetDict:
    """All pairs that the templates give, each in the split of its image or case, with its quality flags.

    `dataset` has the schema of `medmm_lib.data.schema`. Nothing is repaired or removed here: literature questions about
    topics that stand in two splits leak until `keep_shared_topics_in_training` has moved them.
    """
    shared = shared_topics(dataset)
    captions = Counter(caption for split in SPLITS for caption in dataset[split]["caption"])
    made = {}
    for split in SPLITS:
        images = dataset[split].remove_columns(["image", "mask"])
        rows = [row for image in images for row in _image_questions(image, captions[image["caption"]] == 1)]
        rows += _literature_questions(dataset[split], shared)
        made[split] = to_dataset(rows, FEATURES)
    return DatasetDict(made)


def keep_shared_topics_in_training(questions: DatasetDict) -> tuple[DatasetDict, int]:
    """Keep literature questions about a topic text that stands in two splits in `train` only.

    Returns the repaired pairs and how many left validation or test. A question that training has is not doubled.
    """
    splits_of = defaultdict(set)
    for split in SPLITS:
        for topic in questions[split]["topic"]:
            splits_of[topic_key(topic or "")].add(split)
    shared = {text for text, splits in splits_of.items() if text and len(splits) > 1}
    kept: dict[str, dict[str, dict[str, Any]]] = {split: {} for split in SPLITS}
    moved = 0
    for split in SPLITS:
        for row in questions[split]:
            leaks = topic_key(row["topic"] or "") in shared
            moved += leaks and split != "train"
            kept["train" if leaks else split].setdefault(row["question_id"], row)
    return DatasetDict({name: to_dataset(list(rows.values()), FEATURES) for name, rows in kept.items()}), moved


def without_flags(questions: DatasetDict, removed: list[str]) -> DatasetDict:
    """The pairs that carry none of the flags in `removed`."""
    clean = {
        split: [place for place, flags in enumerate(part["flags"]) if not set(flags) & set(removed)]
        for split, part in questions.items()
    }
    return DatasetDict({split: part.select(clean[split]) for split, part in questions.items()})


def form_of(answer: str) -> str:
    """`closed` for an answer that begins with yes or no, else `open`."""
    return "closed" if _YES_OR_NO.match(answer) else "open"


def _image_questions(image: dict[str, Any], own_caption: bool) -> Iterator[dict[str, Any]]:
    """Questions on one image. A caption that several images share does not say what this one shows: no finding."""
    identity = {name: image[name] for name in ("image_id", "case_id", "patient_id")}

    def pair(name: str, form: str, question: str, answer: str) -> dict[str, Any]:
        found = quality.flags(question, answer, image["caption"])
        return _row(f"{image['image_id']}-{name}", "image", form, question, answer, found, **identity)

    for field, phrasings in _OPEN.items():
        if image[field] and not (field == "plane" and image[field] in NOT_ONE_PLANE):
            answer = KINDS[image[field]].partition(" ")[2] if field == "modality" else image[field]
            yield pair(field, "open", _pick(phrasings, image["image_id"], field), answer)
    for field, choices in (("modality", MODALITIES), ("plane", PLANES)):
        if image[field] in choices:
            asked = _asked(image[field], list(choices), image["image_id"], field)
            question = _pick(_CLOSED[field], image["image_id"], field).format(choices[asked])
            yield pair(f"{field}-closed", "closed", question, "Yes" if asked == image[field] else "No")
    for finding, present in findings_in((own_caption and image["caption"]) or "")[:FINDING_QUESTIONS_PER_IMAGE]:
        question = _pick(_CLOSED["finding"], image["image_id"], finding).format(finding)
        yield pair(f"finding-{finding.replace(' ', '-')}", "closed", question, "Yes" if present else "No")


def _literature_questions(part: Dataset, shared: set[str]) -> Iterator[dict[str, Any]]:
    """Questions on each topic text. Their false statements come from topics that stand in this split only."""
    topics = sorted({topic for topic in part["topic"] if topic})
    own = [topic for topic in topics if topic_key(topic) not in shared]
    for topic in topics:
        key = f"topic-{zlib.crc32(topic.encode()):08x}"
        other = _pick([text for text in own if text != topic] or [None], key, "other")
        for name, level, form, question, answer in literature.questions(topic, other, key, _pick):
            found = quality.flags(question, answer) - {"not_visual"}
            yield _row(f"{key}-{name}", "literature", form, question, answer, found, level=level, topic=topic)


def _row(
    question_id: str, kind: str, form: str, question: str, answer: str, found: set[str], **more: str | None
) -> dict[str, Any]:
    row = dict.fromkeys(FEATURES) | {"question_id": question_id, "kind": kind, "form": form, "question": question}
    return row | {"answer": answer, "engine": "template", "flags": sorted(found)} | more


def _asked(true: str, choices: list[str], *key: str) -> str:
    """What a closed question asks about: the true value half of the time, else another of the `choices`."""
    return _pick([true, _pick([choice for choice in choices if choice != true], *key, "other")], *key, "truth")


def _pick(options: Any, *key: str) -> Any:  # noqa: ANN401 - one of the options
    return options[zlib.crc32("\0".join(key).encode()) % len(options)]
