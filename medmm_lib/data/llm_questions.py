"""Question/answer pairs that a language model writes: the engine `llm`.

The prompts are files in report/prompts: one for an image, of which the caption and the other fields are told, and two
for a topic text, for beginners and for experts. What the model writes is read by `llm_text`; what can't be used is kept
aside with the reason, so that nothing disappears.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict

from medmm_lib import chat, paths
from medmm_lib.data import llm_text, quality
from medmm_lib.data.questions import FEATURES, form_of
from medmm_lib.data.schema import SPLITS, to_dataset, topic_key, topic_parts

PROMPTS = paths.REPORT / "prompts"
COUNT = 4  # questions asked for in a prompt
TOPIC_WORDS = 500  # longer topic texts are cut, to fit into a small model's context
_TOLD = ("modality", "sequence", "plane", "location", "location_category", "caption", "findings", "diagnosis")


class Aside(NamedTuple):
    """What was not used: about which image or topic, why, and the text."""

    about: str
    reason: str
    text: str


@dataclass
class Written:
    """Pairs by split, in the columns of `medmm_lib.data.questions`; what was kept aside; a reply for each different
    prompt."""

    questions: DatasetDict
    aside: list[Aside]
    replies: list[chat.Reply]

    def cost(self, per_million_prompt: float, per_million: float) -> float:
        """The price of all replies, at so much for a million tokens of prompts and of replies."""
        asked = sum(reply.prompt_tokens for reply in self.replies)
        return (asked * per_million_prompt + sum(reply.tokens for reply in self.replies) * per_million) / 1e6


@dataclass(frozen=True)
class _Request:
    """A prompt, and the columns that its pairs share."""

    split: str
    about: str
    prompt: str
    shared: dict[str, str | None] = field(default_factory=dict)


def write(dataset: DatasetDict, server: chat.Server, kept: Path, *, prompts: Path = PROMPTS, most: int = 0) -> Written:
    """Have a model write questions on every image with a caption and on every topic text of `dataset`.

    `dataset` has the schema of `medmm_lib.data.schema`. Captions and texts are sent to the server. Replies are stored
    in `kept`, an SQLite file: the same call after an interruption asks for what is missing only, and gives the same
    pairs. `most` limits the prompts of each split, drawn evenly; 0: all. Raises `chat.ChatError`, and ValueError for a
    prompt file without its places.
    """
    requests = [one for split in SPLITS for one in _spread(list(_requests(split, dataset[split], prompts)), most)]
    replies = chat.ask([one.prompt for one in requests], server, kept)
    captions = {
        image: caption
        for part in dataset.values()
        for image, caption in zip(part["image_id"], part["caption"], strict=True)
    }
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    aside: list[Aside] = []
    for request, reply in zip(requests, replies, strict=True):
        caption = captions.get(request.shared.get("image_id"))
        for number, pair in enumerate(_pairs(request, reply, aside), 1):
            rows[request.split].append(_row(request, number, *pair, caption) | {"engine": f"llm: {server.model}"})
    asked_for = dict(zip((one.prompt for one in requests), replies, strict=True))  # equal prompts are asked once
    made = DatasetDict({split: to_dataset(part, FEATURES) for split, part in rows.items()})
    return Written(made, aside, list(asked_for.values()))


def _row(request: _Request, number: int, question: str, answer: str, caption: str | None) -> dict[str, Any]:
    flags = quality.flags(question, answer, caption)
    if request.shared["kind"] == "literature":
        flags -= {"not_visual"}
    return dict.fromkeys(FEATURES) | request.shared | {
        "question_id": f"{request.about}-llm-{number}", "question": question, "answer": answer,
        "form": form_of(answer), "flags": sorted(flags),
    }  # fmt: skip


def _requests(split: str, part: Dataset, prompts: Path) -> Iterator[_Request]:
    """Prompts on the images of a split, then on its topic texts, each text once."""
    for image in part.remove_columns(["image", "mask"]):
        if image["caption"]:
            known = "\n".join(f"- {name.replace('_', ' ')}: {image[name]}" for name in _TOLD if image[name])
            asked = chat.filled(prompts / "image.txt", {"known": known, "count": str(COUNT)})
            shared = {name: image[name] for name in ("image_id", "case_id", "patient_id")}
            yield _Request(split, image["image_id"], asked, {"kind": "image"} | shared)
    topics = {topic_key(topic): topic for topic in part["topic"] if topic}
    for topic in topics.values():
        title, text = topic_parts(topic)
        words = {"title": title, "text": " ".join(text.split()[:TOPIC_WORDS]), "count": str(COUNT)}
        for level in ("beginner", "expert"):
            asked = chat.filled(prompts / f"literature_{level}.txt", words)
            about = f"topic-{zlib.crc32(topic.encode()):08x}-{level}"
            yield _Request(split, about, asked, {"kind": "literature", "level": level, "topic": topic})


def _spread(requests: list[_Request], most: int) -> list[_Request]:
    """At most so many, evenly over all."""
    if not most or len(requests) <= most:
        return requests
    return [requests[place * len(requests) // most] for place in range(most)]


def _pairs(request: _Request, reply: chat.Reply, aside: list[Aside]) -> list[tuple[str, str]]:
    """The usable pairs of a reply; the rest goes `aside`."""
    if not reply.answered:
        aside.append(Aside(request.about, f"the server {reply.finish}", reply.text))
        return []
    parsed = llm_text.parse(reply.text)
    if not parsed.pairs:
        aside.append(Aside(request.about, "holds no pair", reply.text))
        return []
    aside += [Aside(request.about, "belongs to no pair", line) for line in parsed.left_over]
    pairs = parsed.pairs
    if reply.finish != "stop" and reply.text.split()[-2:] == pairs[-1][1].split()[-2:]:
        *pairs, last = pairs
        aside.append(Aside(request.about, "cut off", " ".join(last)))
    kept: dict[str, tuple[str, str]] = {}
    for question, answer in pairs:
        if question.casefold() in kept:
            aside.append(Aside(request.about, "asked twice", f"{question} {answer}"))
        else:
            kept[question.casefold()] = (question, answer)
    return list(kept.values())
