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
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai


MOST_REFUSED = 10  # in a row: then it is not the prompt
_NOT_FOR_US = (401, 403, 404, 429)  # no prompt would be answered: another key, another model, too much at once


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
    """What came back: the text, the tokens of prompt and reply, seconds, how often it was tried again, and `finish`.

    `finish` is `stop`, `length` where the reply was cut off at `max_tokens`, or another reason of the server; `refused`
    where it takes no such prompt and `failed` where it broke or took too long, both with what it said as the text.
    """

    text: str
    prompt_tokens: int
    tokens: int
    seconds: float
    retries: int
    finish: str

    @property
    def answered(self) -> bool:
        """Whether the text is the model's."""
        return self.finish not in ("refused", "failed")


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
    the server does not answer gets a reply that says so, which is not stored. Raises `ChatError` when the server can't
    be reached, does not know the model or wants another key; when `MOST_REFUSED` prompts in a row fail, or are refused
    before any was answered; and when `kept` can't be used. Replies that are under way then are still stored.
    """
    keys = [_key(prompt, server) for prompt in prompts]
    wanted = dict(zip(keys, prompts, strict=True))
    with _store(kept) as store:
        found = {key: reply for key in wanted if (reply := _stored(store, key))}
        missing = {key: prompt for key, prompt in wanted.items() if key not in found}
        refused = 0
        for key, reply in _replies(missing, server, kept):
            found[key] = reply
            if reply.answered:
                refused = 0
                row = (key, server.model, wanted[key], *asdict(reply).values())
                with store:
                    store.execute(f"INSERT OR IGNORE INTO replies VALUES ({', '.join('?' * len(row))})", row)
            elif reply.finish == "failed" or not any(one.answered for one in found.values()):
                refused += 1
            if refused == MOST_REFUSED:
                raise ChatError(f"{server.url} answered none of {refused} prompts in a row, the last so: {reply.text}")
    return [found[key] for key in keys]


def _key(prompt: str, server: Server) -> str:
    decides = [server.model, prompt, server.temperature, server.seed, server.max_tokens]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


@contextmanager
def _store(kept: Path | None) -> Iterator[sqlite3.Connection]:
    """The file of replies; errors that it gives become `ChatError`."""
    try:
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(kept or ":memory:", timeout=60)) as store:
            store.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, model TEXT, prompt TEXT, text TEXT, "
                "prompt_tokens INTEGER, tokens INTEGER, seconds REAL, retries INTEGER, finish TEXT)"
            )
            yield store
    except (sqlite3.Error, OSError) as error:
        raise ChatError(
            f"{kept} can't be used for replies ({error}): is it another kind of file, open elsewhere, or not writable?"
        ) from error


def _stored(store: sqlite3.Connection, key: str) -> Reply | None:
    columns = "text, prompt_tokens, tokens, seconds, retries, finish"
    row = store.execute(f"SELECT {columns} FROM replies WHERE key = ?", (key,)).fetchone()
    return Reply(*row) if row else None


def _replies(missing: dict[str, str], server: Server, kept: Path | None) -> Iterator[tuple[str, Reply]]:
    """Replies as they come. After an error no prompt is sent any more; what is under way is waited for."""
    if not missing:
        return
    client, left, done = _client(server), iter(missing.items()), 0
    stopped: ChatError | None = None
    with ThreadPoolExecutor(server.at_once) as pool:
        under_way: dict[Future[Reply], str] = {}
        while True:
            while not stopped and len(under_way) < server.at_once and (item := next(left, None)):
                under_way[pool.submit(_reply, client, item[1], server)] = item[0]
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                key = under_way.pop(future)
                try:
                    reply = future.result()
                except ChatError as error:
                    stopped = stopped or error
                    continue
                done += reply.answered
                yield key, reply
    if stopped:
        place = f"; {done} new replies are in {kept}, and the same run goes on from there" if kept else ""
        raise ChatError(f"{stopped}{place}") from stopped


def _client(server: Server) -> "openai.OpenAI":
    try:
        import openai
    except ImportError as error:
        raise ChatError("asking a server needs the package openai: pip install --editable '.[chat]'") from error
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return openai.OpenAI(base_url=server.url, api_key=key, timeout=server.timeout, max_retries=server.retries)


def _reply(client: "openai.OpenAI", prompt: str, server: Server) -> Reply:
    import openai

    start = time.perf_counter()

    def without(finish: str, told: object) -> Reply:
        return Reply(str(told), 0, 0, time.perf_counter() - start, 0, finish)

    try:
        raw = client.chat.completions.with_raw_response.create(
            model=server.model, messages=[{"role": "user", "content": prompt}], temperature=server.temperature,
            max_tokens=server.max_tokens, seed=server.seed,
        )  # fmt: skip
    except openai.APITimeoutError as error:
        return without("failed", error)
    except openai.OpenAIError as error:
        status = getattr(error, "status_code", None)
        if status is not None and status not in _NOT_FOR_US:
            return without("failed" if status >= 500 else "refused", error)
        told = f"{server.url}, model {server.model!r}: {error} Is the server up, and does it know the model?"
        raise ChatError(told) from error
    try:
        made = raw.parse()
        choice, used = made.choices[0], made.usage
        text = choice.message.content or ""
        tokens = (used.prompt_tokens or 0, used.completion_tokens or 0) if used else (0, 0)
        if not isinstance(text, str):
            raise TypeError(text)
    except (ValueError, TypeError, AttributeError, LookupError, openai.OpenAIError):
        return without("failed", f"this is no reply of an OpenAI-compatible server: {raw.text[:200]!r}")
    return Reply(text, *tokens, time.perf_counter() - start, raw.retries_taken, choice.finish_reason or "stop")
