import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from medmm_lib.chat import Server
from medmm_lib.data import llm_questions, medpix
from medmm_lib.data.questions import keep_shared_topics_in_training
from medmm_lib.data.schema import SPLITS
from tests.data import layout

GOOD = "Sure!\n\nQ: Which side is it on?\nA: Left\n\nQ: Is it CT?\nA: Yes\n\nQ: which side is it on?\nA: Right"


@pytest.fixture
def dataset(tmp_path):
    return medpix.read(layout.small(tmp_path / "data")).dataset


def rows(written):
    return [row for split in SPLITS for row in written.questions[split]]


def test_pairs_are_read_flagged_and_told_apart_by_image_and_level(dataset, serve, tmp_path):
    server = serve(lambda prompt: GOOD)
    written = llm_questions.write(dataset, Server(server.url, "small"), tmp_path / "kept.sqlite")
    of_image = [row for row in rows(written) if row["image_id"] == "T0_a"]
    assert [(row["question"], row["answer"], row["form"]) for row in of_image] == [
        ("Which side is it on?", "Left", "open"), ("Is it CT?", "Yes", "closed"),
    ]  # fmt: skip
    assert {row["engine"] for row in rows(written)} == {"llm: small"}
    assert {row["level"] for row in rows(written) if row["kind"] == "literature"} == {"beginner", "expert"}
    assert len({row["question_id"] for row in rows(written)}) == len(rows(written)) == 2 * 3 * 6
    reasons = {one.reason for one in written.aside}
    assert reasons == {"belongs to no pair", "asked twice"}
    assert written.cost(1.0, 2.0) == pytest.approx(
        sum(reply.prompt_tokens + 2 * reply.tokens for reply in written.replies) / 1e6
    )


def test_a_prompt_tells_what_is_known_of_the_image_and_nothing_of_the_patient(dataset, serve, tmp_path):
    server = serve(lambda prompt: GOOD)
    llm_questions.write(dataset, Server(server.url, "small"), tmp_path / "kept.sqlite")
    [prompt] = [text for text in server.asked if "of T0, seen in a" in text]
    assert "- modality: CT" in prompt
    assert "cough" not in prompt
    assert "T0_a" not in prompt


@pytest.mark.parametrize(
    ("reply", "reason", "pairs"),
    [
        ("I am sorry, I can't.", "holds no pair", 0),
        ("Q: What is it?\nA: A cyst\n\nQ: Where is it? In the left …", "belongs to no pair", 1),
        ("Q: What is it?\nA: A cyst\n\nQ: Where is it?\nA: In the left …", "cut off", 1),
        (400, "the server refused", 0),
    ],
)
def test_what_can_not_be_used_is_kept_aside_with_the_reason(dataset, serve, tmp_path, reply, reason, pairs):
    good = iter([True, False] * 100)
    server = serve(lambda prompt: "Q: Is it MR?\nA: No" if next(good) else reply)
    written = llm_questions.write(dataset, Server(server.url, "small", at_once=1), tmp_path / "kept.sqlite")
    aside = [one for one in written.aside if one.reason == reason]
    assert len(aside) == 9
    assert all(one.about and one.text for one in aside)
    assert len(rows(written)) == 9 + 9 * pairs


def test_equal_prompts_cost_once(tmp_path, serve):
    captions = [layout.image("T0", name, description={"Caption": "A cyst."}) for name in "abcde"]
    folder = layout.write(tmp_path / "data", [layout.case("T0")], captions)
    written = llm_questions.write(
        medpix.read(folder).dataset, Server(serve(lambda prompt: GOOD).url, "small"), tmp_path / "kept.sqlite"
    )
    assert len(written.replies) == 1 + 2
    assert sum(row["kind"] == "image" for row in rows(written)) == 2 * 5


def test_a_few_prompts_are_drawn_evenly(dataset, serve, tmp_path):
    server = serve(lambda prompt: GOOD)
    written = llm_questions.write(dataset, Server(server.url, "small"), tmp_path / "kept.sqlite", most=2)
    assert len(written.replies) == 2 * len(SPLITS)


def test_topics_of_two_splits_go_to_training_once(tmp_path, serve):
    folder = layout.write(
        tmp_path / "data",
        [layout.case(f"T{n}", Topic=layout.case("T0")["Topic"]) for n in range(3)],
        [layout.image(f"T{n}") for n in range(3)],
    )
    server = serve(lambda prompt: GOOD)
    written = llm_questions.write(medpix.read(folder).dataset, Server(server.url, "small"), tmp_path / "kept.sqlite")
    kept, moved = keep_shared_topics_in_training(written.questions)
    assert moved == 8
    assert [sum(kind == "literature" for kind in kept[split]["kind"]) for split in SPLITS] == [4, 0, 0]


WRITE = """
import sys
from pathlib import Path
from medmm_lib.chat import Server
from medmm_lib.data import llm_questions, medpix
data = medpix.read(Path(sys.argv[1])).dataset
llm_questions.write(data, Server(sys.argv[2], "small", at_once=4), Path(sys.argv[3]))
"""


def killed_at_random(folder, server, kept, rng):
    """Start writing, kill −9 at a random moment after the first request, and say whether it was still at work."""
    command = [sys.executable, "-c", WRITE, str(folder), server.url, str(kept)]
    before = len(server.got)
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": _path()}) as process:
        while len(server.got) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def _path():
    root = Path(__file__).parents[2]
    return os.pathsep.join([str(root), str(root / "kernels")])


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_goes_on_and_loses_and_doubles_nothing(tmp_path, serve, kills):
    folder = layout.small(tmp_path / "data", count=100)
    server = serve(lambda prompt: f"Q: What is it of {hash(prompt)}?\nA: A cyst", seconds=0.05)
    kept, rng = tmp_path / "kept.sqlite", random.Random(0)
    assert all(killed_at_random(folder, server, kept, rng) for _ in range(kills))
    with sqlite3.connect(kept) as store:
        before = dict(store.execute("SELECT key, text FROM replies").fetchall())
        answered = [prompt for (prompt,) in store.execute("SELECT prompt FROM replies")]
    asked = Counter(server.asked)
    written = llm_questions.write(medpix.read(folder).dataset, Server(server.url, "small"), kept)
    assert before
    assert all(server.asked[prompt] == asked[prompt] for prompt in answered)  # what is there is not asked again
    expected = llm_questions.write(medpix.read(folder).dataset, Server(server.url, "small"), tmp_path / "new.sqlite")
    assert rows(written) == rows(expected)
    assert len(rows(written)) == 3 * 100
    with sqlite3.connect(kept) as store:
        after = store.execute("SELECT key, text FROM replies").fetchall()
    assert len(after) == len(dict(after)) == 3 * 100
    assert before.items() <= dict(after).items()
    print(f"{kills} kills, {len(before)} of {len(after)} replies were there, lost 0, doubled 0")
