"""
An upstream in a thread of the test that answers what it is told, byte for byte, and keeps what it was asked.

    canned.answer(json_body({"choices": [], "usage": {"prompt_tokens": 10**30}}))
    ...
    assert canned.asked["max_tokens"] == 16
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STREAM = "text/event-stream"


class CannedUpstream:
    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        """Of each request, names in lower case."""
        self.status, self.kind, self.body = 200, "application/json", b"{}"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def asked(self) -> Any:
        """The newest request's document."""
        return json.loads(self.requests[-1])

    def answer(self, body: object, *, status: int = 200, kind: str = "application/json") -> None:
        """From now on. What is not bytes is sent as JSON."""
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.kind = status, kind

    def stream(self, *events: object) -> None:
        """From now on: these events and [DONE]."""
        texts = [event if isinstance(event, str) else json.dumps(event) for event in (*events, "[DONE]")]
        self.answer("".join(f"data: {text}\n\n" for text in texts).encode(), kind=STREAM)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def canned_upstream() -> Iterator[CannedUpstream]:
    upstream = CannedUpstream()
    try:
        yield upstream
    finally:
        upstream.close()


def completion(content: str = "hi", **fields: Any) -> dict[str, Any]:
    """A whole answer in OpenAI's schema."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], **fields}


def pieces(*contents: str, usage: object = None) -> list[dict[str, Any]]:
    """The events of a streamed answer in OpenAI's schema, before [DONE]."""
    envelope = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    deltas = [{"index": 0, "delta": {"content": content}, "finish_reason": None} for content in contents]
    choices = [[delta] for delta in deltas] + [[{"index": 0, "delta": {}, "finish_reason": "stop"}]]
    events: list[dict[str, Any]] = [{**envelope, "choices": choice} for choice in choices]
    return [*events, {**envelope, "choices": [], "usage": usage}]


def message(text: str = "hi", **fields: Any) -> dict[str, Any]:
    """A whole answer in Anthropic's schema."""
    content = [{"type": "text", "text": text}]
    return {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": "end_turn", **fields}  # fmt: skip


def _answering(upstream: CannedUpstream) -> type[BaseHTTPRequestHandler]:
    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30.0

        def do_POST(self) -> None:
            upstream.heads.append({name.lower(): value for name, value in self.headers.items()})
            upstream.requests.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(upstream.status)
            self.send_header("content-type", upstream.kind)
            self.send_header("content-length", str(len(upstream.body)))
            self.end_headers()
            self.wfile.write(upstream.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the tests' output is theirs."""

    return Asked
