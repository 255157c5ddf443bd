"""A loopback server that speaks Anthropic's Messages API to the real client, faults included.

A test hands in a function from the request's body to a `Said` (or a `Fault`); the server renders it as
JSON or, where the client asks for a stream, as server-sent events, with usage that counts tokens by characters.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHARACTERS_A_TOKEN = 3.0
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Said:
    """What the model says: its text, then its tool calls (name and input; a str input is sent as it is, broken or not).

    `cut_after` ends the connection after so many events of the stream; `silent_after` stops sending there.
    """

    text: str = ""
    tools: Sequence[tuple[str, Any]] = ()
    stop_reason: str | None = None
    thinking: str = ""
    cut_after: int | None = None
    silent_after: int | None = None
    broken_tool_json: bool = False
    error_after: int | None = None
    stop_details: dict[str, Any] | None = None
    piece: int = 12
    """Characters of a piece of streamed text."""


@dataclass(frozen=True)
class Fault:
    """An HTTP error, a silence of `silent_s` seconds before anything is answered, or a body that is no JSON."""

    status: int = 200
    message: str = "no"
    headers: dict[str, str] = field(default_factory=dict)
    silent_s: float = 0.0
    body: bytes | None = None
    reset: bool = False


Turn = Said | Fault


@dataclass
class Anthropic:
    """The running server: its address, and the bodies and headers of the requests it has had."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def anthropic_server(answers: Callable[[dict[str, Any]], Turn] | Sequence[Turn]) -> Iterator[Anthropic]:
    """Answer requests in order, the last answer again and again; or whatever a function makes of each request."""
    queue = None if callable(answers) else list(answers)
    lock, closing = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                running.requests.append(body)
                running.headers.append({name.lower(): value for name, value in self.headers.items()})
                turn = answers(body) if queue is None else queue.pop(0) if len(queue) > 1 else queue[0]  # type: ignore[operator]
            self.close_connection = True
            with suppress(OSError):
                self.reply(body, turn)

        def reply(self, body: dict[str, Any], turn: Turn) -> None:
            if isinstance(turn, Fault):
                closing.wait(turn.silent_s)
                if turn.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                error = {"type": "error", "error": {"type": _ERRORS.get(turn.status, "api_error"), "message": turn.message}}
                self.send(turn.status, turn.body if turn.body is not None else json.dumps(error).encode(), turn.headers)
            elif body.get("stream"):
                self.stream(body, turn)
            else:
                self.send(200, json.dumps(message(body, turn)).encode(), {})

        def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def stream(self, body: dict[str, Any], said: Said) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for count, event in enumerate(stream_events(body, said)):
                if count == said.cut_after:
                    self.wfile.flush()
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                if count == said.silent_after:
                    closing.wait(30)
                    return
                if count == said.error_after:
                    event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
                piece = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Anthropic(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def tokens(value: Any) -> int:
    """Tokens of what is sent, counted by characters."""
    return int(len(json.dumps(value, ensure_ascii=False)) / CHARACTERS_A_TOKEN) + 1


def input_tokens(body: dict[str, Any]) -> int:
    """Tokens of a request's input: what is not a setting."""
    return tokens([body.get("system"), body.get("messages"), body.get("tools"), body.get("output_config")])


def message(body: dict[str, Any], said: Said) -> dict[str, Any]:
    """The message object of the API."""
    return {
        "id": "msg_test",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _blocks(said),
        "stop_reason": _stop(said),
        "stop_sequence": None,
        "stop_details": said.stop_details,
        "usage": {"input_tokens": input_tokens(body), "output_tokens": tokens(said.text) + tokens(list(said.tools))},
    }


def stream_events(body: dict[str, Any], said: Said) -> list[dict[str, Any]]:
    """The events of a streamed message, text and tool input in small pieces."""
    whole = message(body, said)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty, deltas = (
                {**block, "text": ""},
                [{"type": "text_delta", "text": part} for part in _parts(block["text"], said.piece)],
            )
        elif block["type"] == "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            raw = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in _parts(raw, 15)]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None, "stop_details": said.stop_details}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": whole["usage"]["output_tokens"]}})
    return [*events, {"type": "message_stop"}]


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thinking:
        blocks.append({"type": "thinking", "thinking": said.thinking, "signature": "signed"})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    for count, (name, given) in enumerate(said.tools):
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{count}_{abs(hash((name, str(given)))) % 10**8}", "name": name, "input": given}
        )
    return blocks


def _stop(said: Said) -> str:
    return said.stop_reason or ("tool_use" if said.tools else "end_turn")


def _parts(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
