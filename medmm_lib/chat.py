"""Asks a language model on an OpenAI-compatible server (Ollama, vLLM, `transformers serve` …) and keeps its replies.

A reply is kept by a hash of what decides it: model, prompt, temperature, seed, and how long it may be. What was asked
before is not asked again: a run that was killed goes on where it stopped, and nothing is there twice.
"""

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai


MOST_REFUSED = 10  # in a row: then it is not the prompt


class ChatError(RuntimeError):
    """A server that can't be asked; the message says what to do, and that nothing is lost."""


@dataclass(frozen=True)
class Server:
    """A model on a server, and how it is asked.

    `url` is the address of the interface, such as http://localhost:11434/v1 (Ollama); `model` the name that the server
    knows. A key, where one is needed, is in OPENAI_API_KEY. `timeout` is in seconds, for one try; after a failure that
    may pass (no connection, too many requests, the server's own errors) it is tried again up to `retries` times, each
    time after a longer pause. `at_once` prompts are under way at a time.
    """

    url: str
    model: str
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 512
    timeout: float = 120.0
    retries: int = 5
    at_once: int = 4


@dataclass(frozen=True)
class Reply:
    """What came back: the text, the tokens of prompt and reply, seconds, how often it was tried again, and `finish`:
    `stop`, `length` where the reply was cut off at `max_tokens`, or `refused` with the server's reason as text."""

    text: str
    prompt_tokens: int
    tokens: int
    seconds: float
    retries: int
    finish: str


def filled(prompt: Path, values: dict[str, str]) -> str:
    """The text of a prompt file with a value in each place, such as {caption}; braces in values stay as they are.

    Raises ValueError for a file that lacks a place of `values`.
    """
    text = prompt.read_text(encoding="utf-8")
    if missing := [name for name in values if f"{{{name}}}" not in text]:
        raise ValueError(f"{prompt} has no place for {', '.join(missing)}; expected {{{missing[0]}}} in it")
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda place: values[place[1]], text)


def ask(prompts: Sequence[str], server: Server, kept: Path | None = None) -> list[Reply]:
    """The reply to each prompt [N], in their order; equal prompts are asked once.

    `kept` is an SQLite file in which replies are stored as they come, each in a transaction of its own. A prompt that
    the server refuses, fails on or takes too long for gets a reply with `finish` `refused`, which is not stored. Raises
    `ChatError` when the server can't be reached, does not know the model, wants another key, or refuses `MOST_REFUSED`
    prompts in a row.
    """
    keys = [_key(prompt, server) for prompt in prompts]
    wanted = dict(zip(keys, prompts, strict=True))
    with closing(_store(kept)) as store:
        found = {key: reply for key in wanted if (reply := _stored(store, key))}
        missing = {key: prompt for key, prompt in wanted.items() if key not in found}
        for key, reply in _replies(missing, server, kept):
            if reply.finish != "refused":
                row = (key, server.model, wanted[key], *asdict(reply).values())
                with store:
                    store.execute(f"INSERT OR IGNORE INTO replies VALUES ({', '.join('?' * len(row))})", row)
            found[key] = reply
    return [found[key] for key in keys]


def _key(prompt: str, server: Server) -> str:
    decides = [server.model, prompt, server.temperature, server.seed, server.max_tokens]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _store(kept: Path | None) -> sqlite3.Connection:
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        store = sqlite3.connect(kept or ":memory:", timeout=60)
        store.execute(
            "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, model TEXT, prompt TEXT, text TEXT, "
            "prompt_tokens INTEGER, tokens INTEGER, seconds REAL, retries INTEGER, finish TEXT)"
        )
    except sqlite3.DatabaseError as error:
        raise ChatError(
            f"{kept} can't be used for replies ({error}): move it away, and they are asked again"
        ) from error
    return store


def _stored(store: sqlite3.Connection, key: str) -> Reply | None:
    columns = "text, prompt_tokens, tokens, seconds, retries, finish"
    row = store.execute(f"SELECT {columns} FROM replies WHERE key = ?", (key,)).fetchone()
    return Reply(*row) if row else None


def _replies(missing: dict[str, str], server: Server, kept: Path | None) -> Iterator[tuple[str, Reply]]:
    """Replies as they come. A few prompts more than are under way wait in line, so that an error ends it soon."""
    if not missing:
        return
    client = _client(server)
    left = iter(missing.items())
    done = refused = 0
    with ThreadPoolExecutor(server.at_once) as pool:
        under_way: dict[Future[Reply], str] = {}
        try:
            while True:
                for key, prompt in left:
                    under_way[pool.submit(_reply, client, prompt, server)] = key
                    if len(under_way) >= 2 * server.at_once:
                        break
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    key, reply = under_way.pop(future), future.result()
                    refused = refused + 1 if reply.finish == "refused" else 0
                    if refused == MOST_REFUSED:
                        raise ChatError(f"{server.url} refused {refused} prompts in a row, the last so: {reply.text}")
                    done += reply.finish != "refused"
                    yield key, reply
        except ChatError as error:
            place = f"; {done} new replies are in {kept}, and the same run goes on from there" if kept else ""
            raise ChatError(f"{error}{place}") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _client(server: Server) -> "openai.OpenAI":
    try:
        import openai
    except ImportError as error:
        raise ChatError("asking a server needs the package openai: pip install --editable '.[chat]'") from error
    key = os.environ.get("OPENAI_API_KEY", "none")
    return openai.OpenAI(base_url=server.url, api_key=key, timeout=server.timeout, max_retries=server.retries)


def _reply(client: "openai.OpenAI", prompt: str, server: Server) -> Reply:
    import openai

    start = time.perf_counter()
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=server.model, messages=[{"role": "user", "content": prompt}], temperature=server.temperature,
            max_tokens=server.max_tokens, seed=server.seed,
        )  # fmt: skip
        made = raw.parse()
    except (
        openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError, openai.APITimeoutError,
    ) as error:  # fmt: skip
        return Reply(str(error), 0, 0, time.perf_counter() - start, 0, "refused")
    except openai.OpenAIError as error:
        told = f"{server.url}, model {server.model!r}: {error} Is the server up, and does it know the model?"
        raise ChatError(told) from error
    if not getattr(made, "choices", None):
        raise ChatError(
            f"{server.url} answers, but not as an OpenAI-compatible server: is the path, such as /v1, right?"
        )
    [choice, *_], used = made.choices, made.usage
    return Reply(
        choice.message.content or "", used.prompt_tokens if used else 0, used.completion_tokens if used else 0,
        time.perf_counter() - start, raw.retries_taken, choice.finish_reason,
    )  # fmt: skip
