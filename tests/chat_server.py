"""A small OpenAI-compatible server in this process, which can fail as servers do."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers with `reply(prompt)`, a text, a status or a whole body, after `seconds`, a number or a function of the
    prompt; `failures` is a list of status codes to answer with first."""

    daemon_threads = True

    def __init__(self, reply, seconds=0.0, failures=()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.seconds, self.failures = reply, seconds, list(failures)
        self.got, self.asked = [], Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):  # the name that http.server wants
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        self.server.got.append(body)
        self.server.asked[prompt] += 1
        time.sleep(self.server.seconds(prompt) if callable(self.server.seconds) else self.server.seconds)
        if self.server.failures:
            return self._send(self.server.failures.pop(0), {"error": {"message": "not now"}})
        text = self.server.reply(prompt)
        if isinstance(text, dict):  # whatever a server may send
            return self._send(200, text)
        if isinstance(text, int):
            return self._send(text, {"error": {"message": f"no: {text}"}})
        finish = "length" if text.endswith("…") else "stop"
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        used = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split()), "total_tokens": 0}
        made = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        return self._send(200, made | {"choices": [choice], "usage": used})

    def _send(self, status, content):
        data = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # who asked is gone

    def log_message(self, *_):
        pass
