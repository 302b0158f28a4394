import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from medmm_lib.evaluation import judge

ASKED = {
    "questions": ["Is there {reference}?", "Which side?"],
    "references": ["Yes", "left"],
    "predictions": ["No", "left"],
}


@pytest.fixture
def server():
    """An OpenAI-compatible server that gives 10 where the answer is the reference, and keeps what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append(asked)
            text = asked["messages"][0]["content"]
            lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            verdict = self.server.verdict or (
                "10" if lines["Reference answer"] == lines["Student's answer"] else "Score: 0"
            )
            made = {"id": "x", "object": "chat.completion", "created": 0, "model": asked["model"]}
            made["choices"] = [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": verdict}}
            ]
            body = json.dumps(made).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.verdict, httpd.got = "", got
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    httpd.shutdown()


def address(server):
    return f"http://127.0.0.1:{server.server_port}/v1"


def test_a_judge_is_asked_with_the_prompt_and_its_numbers_are_shares(server):
    scores = judge.judged(**ASKED, server=address(server), model="small")
    assert scores.tolist() == [0, 1]
    first = server.got[0]
    assert first["model"] == "small"
    assert first["temperature"] == 0
    assert "Question: Is there {reference}?" in first["messages"][0]["content"]  # a text is not a place to fill in


@pytest.mark.parametrize("verdict", ["I can't say.", "90", "", "-3", "On a scale of 0 to 10: 8", "<think>\n1. compare"])
def test_a_verdict_without_a_number_in_range_is_none(server, verdict):
    server.verdict = verdict or " "
    assert np.isnan(judge.judged(**ASKED, server=address(server), model="small")).all()


@pytest.mark.parametrize("verdict", ["8", " 8/10 ", "Score: 8", "8."])
def test_a_number_is_read_as_judges_write_it(server, verdict):
    server.verdict = verdict
    assert judge.judged(**ASKED, server=address(server), model="small").tolist() == [0.8, 0.8]


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(judge.JudgeError, match=r"127\.0\.0\.1:9/v1, model 'small'.*Is the server up"):
        judge.judged(**ASKED, server="http://127.0.0.1:9/v1", model="small")


def test_a_prompt_without_a_place_is_refused(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Is {prediction} the answer to {question}?")
    with pytest.raises(judge.JudgeError, match="no place for reference"):
        judge.judged(**ASKED, server="http://127.0.0.1:9/v1", model="small", prompt=prompt)
