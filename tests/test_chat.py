import sqlite3

import pytest

from medmm_lib import chat
from medmm_lib.chat import ChatError, Server


def texts(replies):
    return [reply.text for reply in replies]


def stored(kept):
    with sqlite3.connect(kept) as store:
        return store.execute("SELECT count(*) FROM replies").fetchone()[0]


def test_replies_come_in_the_order_of_the_prompts_and_count_their_tokens(serve):
    server = serve(str.upper)
    replies = chat.ask([f"prompt {n}" for n in range(20)], Server(server.url, "m", at_once=8))
    assert texts(replies) == [f"PROMPT {n}" for n in range(20)]
    assert {(reply.prompt_tokens, reply.tokens, reply.finish) for reply in replies} == {(2, 2, "stop")}
    assert server.got[0] | {"messages": None} == {
        "model": "m", "messages": None, "temperature": 0.0, "max_tokens": 512, "seed": 0,
    }  # fmt: skip


def test_equal_prompts_are_asked_once_and_kept_ones_never_again(serve, tmp_path):
    server, kept = serve(str.upper), tmp_path / "deep" / "replies.sqlite"
    first = chat.ask(["a", "b", "a"], Server(server.url, "m"), kept)
    assert server.asked == {"a": 1, "b": 1}
    assert chat.ask(["b", "c", "a"], Server(server.url, "m"), kept)[2] == first[0]
    assert server.asked == {"a": 1, "b": 1, "c": 1}
    # Kept replies need no server; another model, temperature, seed or length is another question.
    assert texts(chat.ask(["a"], Server("http://127.0.0.1:9/v1", "m"), kept)) == ["A"]
    for change in ({"model": "n"}, {"temperature": 1.0}, {"seed": 1}, {"max_tokens": 5}):
        chat.ask(["a"], Server(**{"url": server.url, "model": "m"} | change), kept)
    assert server.asked["a"] == 5


def test_failures_that_may_pass_are_tried_again_and_counted(serve):
    server = serve(str.upper, failures=[429, 500, 503])
    [reply] = chat.ask(["a"], Server(server.url, "m"))
    assert (reply.text, reply.retries) == ("A", 3)


def test_a_prompt_that_the_server_refuses_is_told_and_not_stored(serve, tmp_path):
    server = serve(lambda prompt: 400 if prompt == "long" else prompt.upper())
    for times in (1, 2):
        replies = chat.ask(["a", "long", "b"], Server(server.url, "m"), tmp_path / "kept.sqlite")
        assert [reply.finish for reply in replies] == ["stop", "refused", "stop"]
        assert "no: 400" in replies[1].text
        assert server.asked == {"a": 1, "long": times, "b": 1}


def test_a_prompt_that_takes_too_long_fails(serve):
    server = serve(str.upper, seconds=1.0)
    [reply] = chat.ask(["a"], Server(server.url, "m", timeout=0.2, retries=1))
    assert reply.finish == "failed"
    assert "timed out" in reply.text
    assert server.asked == {"a": 2}


@pytest.mark.parametrize(("status", "finish"), [(400, "refused"), (500, "failed")])
def test_a_server_that_answers_nothing_ends_it(serve, status, finish):
    server = serve(lambda prompt: status)
    with pytest.raises(ChatError, match=rf"answered none of {chat.MOST_REFUSED} prompts in a row.*no: {status}"):
        chat.ask([str(n) for n in range(100)], Server(server.url, "m", retries=0))
    assert len(server.got) < 30


def test_many_refused_prompts_do_not_end_a_run_that_was_answered_before(serve, tmp_path):
    server = serve(lambda prompt: prompt.upper() if len(prompt) == 1 else 400)
    prompts = [str(n) for n in range(45)]
    for _ in range(2):
        replies = chat.ask(prompts, Server(server.url, "m"), tmp_path / "kept.sqlite")
        assert [reply.finish for reply in replies] == ["stop"] * 10 + ["refused"] * 35


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None, "error": {"message": "no"}},
        {"choices": [{"index": 0, "message": None}]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": [{"type": "text"}]}}]},
    ],
)
def test_a_reply_of_another_form_fails_and_the_others_stay(serve, body):
    server = serve(lambda prompt: body if prompt == "odd" else prompt.upper())
    replies = chat.ask(["a", "odd", "b"], Server(server.url, "m"))
    assert [reply.finish for reply in replies] == ["stop", "failed", "stop"]
    assert "no reply of an OpenAI-compatible server" in replies[1].text


def test_a_reply_without_counts_counts_nothing(serve):
    message = {"role": "assistant", "content": "A"}
    server = serve(lambda prompt: {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    [reply] = chat.ask(["a"], Server(server.url, "m"))
    assert (reply.text, reply.prompt_tokens, reply.tokens) == ("A", 0, 0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_does_not_serve_us_ends_it_and_nothing_is_lost(serve, tmp_path, status):
    served = iter(range(100))
    server = serve(lambda prompt: prompt.upper() if next(served) < 5 else status)
    kept = tmp_path / "kept.sqlite"
    with pytest.raises(
        ChatError, match=r"Is the server up.*5 new replies are in .*kept.sqlite, and the same run goes on"
    ):
        chat.ask([str(n) for n in range(40)], Server(server.url, "m", at_once=2), kept)
    assert stored(kept) == 5
    server.reply = str.upper
    assert texts(chat.ask([str(n) for n in range(40)], Server(server.url, "m"), kept)) == [str(n) for n in range(40)]


def test_what_is_under_way_when_it_ends_is_kept(serve, tmp_path):
    server = serve(
        lambda prompt: 404 if prompt == "0" else prompt.upper(), seconds=lambda prompt: 0.5 * (prompt != "0")
    )
    with pytest.raises(ChatError, match="4 new replies are in"):
        chat.ask([str(n) for n in range(40)], Server(server.url, "m", at_once=5), tmp_path / "kept.sqlite")
    assert stored(tmp_path / "kept.sqlite") == 4


def test_no_server_is_told():
    with pytest.raises(ChatError, match=r"127\.0\.0\.1:9/v1, model 'm'.*Is the server up"):
        chat.ask(["a"], Server("http://127.0.0.1:9/v1", "m", retries=0))


def test_a_file_of_something_else_is_not_touched(tmp_path, serve):
    other = tmp_path / "notes.sqlite"
    other.write_text("my notes, long enough to be no empty database" * 20)
    with pytest.raises(ChatError, match=r"notes\.sqlite can't be used for replies"):
        chat.ask(["a"], Server(serve(str.upper).url, "m"), other)
    assert other.read_text().startswith("my notes")


def test_braces_in_values_are_no_places(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{a} and {b} and {c}")
    assert chat.filled(prompt, {"a": "{b}", "b": "2"}) == "{b} and 2 and {c}"
    with pytest.raises(ValueError, match="no place for d"):
        chat.filled(prompt, {"d": "x"})
