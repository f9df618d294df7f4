"""A Messages API of one test: real HTTP on 127.0.0.1, which answers whatever the test likes.

A *behaviour* is given the body of a request and says what the answer is. Those that tests need
most are made by the functions below; `always(Answer(...))` makes any other.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Self
from uuid import uuid4

PATH = "/v1/messages"
BATCHES = "/v1/messages/batches"
USAGE: Mapping[str, int] = {
    "input_tokens": 200,
    "output_tokens": 300,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 1_000,
}
ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    501: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""What the API calls the error of each status."""


class Ending(Enum):
    """What becomes of an answer once it is sent."""

    WHOLE = "whole"
    """All of it arrives, and the connection stays for the next request."""
    RESET = "reset"
    """Half of the body arrives, then the connection is reset."""
    CLOSED = "closed"
    """Nothing arrives; the connection is closed."""
    ENDLESS = "endless"
    """Instead of the body, a space arrives every 50 ms for as long as the client reads on."""


@dataclass(frozen=True)
class Answer:
    """What goes over the wire, `after` so many seconds; infinitely many: never."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0
    ending: Ending = Ending.WHOLE


@dataclass(frozen=True)
class Request:
    """What arrived; the names of the headers in lower case, the key `redacted`."""

    path: str
    headers: Mapping[str, str]
    body: Any


Behaviour = Callable[[Any], Answer]


class MessagesApi:
    """Answers POST /v1/messages at `url` from entering it until it is closed; 404 elsewhere.

    Closing ends each answer that is under way, and every thread and connection, at once; only a
    behaviour that itself blocks is waited for. What a behaviour raised is raised on leaving.
    """

    def __init__(self, behaviour: Behaviour | Sequence[Behaviour]) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._at_once = 0
        self._most_at_once = 0
        self._failures: list[BaseException] = []
        self.batches: dict[str, list[Any]] = {}
        self.batches_end = True
        """Otherwise they stay under way."""
        self.plays(behaviour)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._failures:
            raise self._failures[0]

    def close(self) -> None:
        """From now on connections are refused; closing it twice does no harm."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def plays(self, behaviour: Behaviour | Sequence[Behaviour]) -> None:
        """Answer like this from the next request on; of several, one a request, the last stays."""
        behaviours = [behaviour] if callable(behaviour) else list(behaviour)
        assert behaviours, "an API without any behaviour cannot answer"
        with self._lock:
            self._behaviours = behaviours

    @property
    def requests(self) -> list[Request]:
        """All that arrived whole so far, in their order."""
        with self._lock:
            return list(self._requests)

    @property
    def at_once(self) -> int:
        """How many requests wait for their answer now.

        A request counts until just before its answer goes out whole, so that a client whose calls
        follow each other is never seen with two; one that gave up counts until that is noticed.
        """
        with self._lock:
            return self._at_once

    @property
    def most_at_once(self) -> int:
        """The most that `at_once` ever was."""
        with self._lock:
            return self._most_at_once

    @contextmanager
    def answering(self, request: Request) -> Iterator[Answer]:
        """The answer to a request, which counts meanwhile."""
        with self._lock:
            self._requests.append(request)
            self._at_once += 1
            self._most_at_once = max(self._most_at_once, self._at_once)
            behaviour = self._behaviours[0]
            if request.path == PATH and len(self._behaviours) > 1:
                self._behaviours = self._behaviours[1:]
        try:
            yield self._behave(request, behaviour)
        finally:
            with self._lock:
                self._at_once -= 1

    def _behave(self, request: Request, behaviour: Behaviour) -> Answer:
        if request.path == PATH:
            return behaviour(request.body)
        if not request.path.startswith(BATCHES):
            return fails(404)(request.body)
        name, _, what = request.path.removeprefix(BATCHES).lstrip("/").partition("/")
        if not name:
            name = _new_id("msgbatch")
            self.batches[name] = request.body["requests"]
        if name not in self.batches:
            return fails(404)(request.body)
        if what == "results":
            lines = [json.dumps(_outcome_of(one, behaviour)) for one in self.batches[name]]
            # In no order that anybody could count on.
            return Answer("\n".join(reversed(lines)).encode(), content_type="application/x-jsonl")
        return _answer(200, _batch(name, self.url, ended=self.batches_end))

    def failed(self, failure: BaseException) -> None:
        with self._lock:
            self._failures.append(failure)


class _Server(ThreadingTCPServer):
    """Knows its connections, to hang up on them: that ends whatever waits for one of them."""

    daemon_threads = False  # so that closing the server joins them
    request_queue_size = 128

    def __init__(self, api: MessagesApi) -> None:
        self.api = api
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:  # a number that was closed may be somebody else's when hanging up
            self._connections.discard(request)
            request.close()

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Called while the exception is handled; a client may go away whenever it likes."""
        failure = sys.exception()
        if failure is not None and not isinstance(failure, ConnectionError):
            self.api.failed(failure)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Server
    connection: socket.socket

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        received = self.rfile.read(length)
        if len(received) < length:
            self.close_connection = True
            return
        with self.server.api.answering(self._request(received)) as answer:
            there = self._stays(answer.after)
            if there and answer.ending is Ending.ENDLESS:
                there = self._drip(answer)
        if there:
            self._send(answer)
        if not there or answer.ending is not Ending.WHOLE:
            self.close_connection = True

    def do_GET(self) -> None:
        headers = {name.lower(): "" for name in self.headers}
        with self.server.api.answering(
            Request(self.path.partition("?")[0], headers, None)
        ) as answer:
            self._send(answer)

    def log_message(self, *_: object) -> None:
        """The tests look at `requests` instead."""

    def _request(self, received: bytes) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        for secret in {"authorization", "x-api-key"} & headers.keys():
            headers[secret] = "redacted"
        return Request(self.path.partition("?")[0], headers, json.loads(received))

    def _stays(self, seconds: float) -> bool:
        """Wait this long; false as soon as the client is gone, or the server closes."""
        if seconds == 0:
            return True
        self.connection.settimeout(None if seconds == math.inf else seconds)
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.connection.settimeout(None)

    def _head(self, answer: Answer, framing: Mapping[str, str]) -> None:
        self.send_response(answer.status)
        headers = {"content-type": answer.content_type, **framing, **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, answer: Answer) -> bool:
        self._head(answer, {"transfer-encoding": "chunked"})
        while self._stays(0.05):
            self.wfile.write(b"1\r\n \r\n")
        return False

    def _send(self, answer: Answer) -> None:
        if answer.ending is Ending.CLOSED:
            return
        self._head(answer, {"content-length": str(len(answer.body))})
        if answer.ending is Ending.RESET:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.wfile.write(answer.body)


def always(answer: Answer) -> Behaviour:
    """This answer, whatever the request is."""
    return lambda _: answer


def slowly(seconds: float, behaviour: Behaviour) -> Behaviour:
    """The same answer, but begun only after so many seconds."""
    return lambda body: replace(behaviour(body), after=seconds)


def message(content: Sequence[Mapping[str, Any]], **fields: Any) -> Behaviour:
    """A message of these content blocks; `fields` replaces its other fields."""

    def behave(body: Any) -> Answer:
        return _answer(
            200,
            {
                "id": _new_id("msg"),
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": content,
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": USAGE,
            }
            | fields,
        )

    return behave


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def says(text: str, **fields: Any) -> Behaviour:
    """A good answer: this text, JSON or not, as the only content block."""
    return message([text_block(text)], **fields)


def says_in_parts(*texts: str) -> Behaviour:
    """Several text blocks; a JSON text may be cut anywhere."""
    return message([text_block(text) for text in texts])


def says_prose() -> Behaviour:
    """Friendly words around the JSON that was asked for."""
    return says('Certainly! Here is my analysis:\n\n```json\n{"support": true}\n```')


def says_other_schema() -> Behaviour:
    """JSON of which every field has a wrong name, type or range."""
    return says('{"support": "perhaps", "confidence": 7, "approved_by": ["everybody"]}')


def thinks_first(text: str, kind: str = "thinking") -> Behaviour:
    """A block that is no text before the text; of a `kind` that no client knows, if so asked."""
    thought = {"type": kind, "thinking": "Let me see.", "signature": "c2lnbmVk"}
    return message([thought, text_block(text)])


def says_nothing() -> Behaviour:
    """No content block at all."""
    return message([])


def runs_out_of_tokens(text: str) -> Behaviour:
    """Half of the text, since `max_tokens` was too low for more."""
    return says(text[: len(text) // 2], stop_reason="max_tokens")


def runs_out_of_context(text: str) -> Behaviour:
    """Half of the text, since the model's context window was full."""
    return says(text[: len(text) // 2], stop_reason="model_context_window_exceeded")


def refuses(category: str | None = "general_harms") -> Behaviour:
    """A refusal, with a sentence that is no JSON, and the policy's category."""
    details = {"type": "refusal", "category": category, "explanation": "It may do harm."}
    return says("I can't help with that.", stop_reason="refusal", stop_details=details)


def says_a_lot(size: int = 20_000_000) -> Behaviour:
    """A text block of so many bytes."""
    return says("x" * size)


def fails(
    status: int,
    *,
    retry_after: float | str | None = None,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """An error in the API's own words; `retry_after` in seconds or as a date."""
    kind = ERROR_TYPES.get(status, "api_error")
    error: dict[str, Any] = {"type": kind, "message": f"It went wrong ({status})."}
    if details is not None:
        error["details"] = details
    wait = {} if retry_after is None else {"retry-after": str(retry_after)}

    def behave(_: Any) -> Answer:
        return _answer(status, {"type": "error", "error": error}, {**wait, **(headers or {})})

    return behave


def shows_page(status: int = 200) -> Behaviour:
    """The HTML page of a proxy, or of a network that wants a login first."""
    page = b"<!doctype html><title>Welcome</title><p>Please log in."
    return always(Answer(page, status, content_type="text/html; charset=utf-8"))


def sends_other_shape() -> Behaviour:
    """JSON, but no message."""
    return always(Answer(b'{"status": "ok", "items": []}'))


def sends_empty_body() -> Behaviour:
    """Not a single byte, though it claims to be JSON."""
    return always(Answer())


def sends_broken_json() -> Behaviour:
    """JSON that ends in the middle, though its length is as announced."""
    return always(Answer(b'{"id": "msg_1", "type": "mess'))


def sends_bottomless_json() -> Behaviour:
    """Lists in lists, deeper than a parser that recurses can go."""
    return always(Answer(b"[" * 200_000 + b"]" * 200_000))


def sends_invalid_utf8(text: str) -> Behaviour:
    """A good answer but for a byte in its text that UTF-8 has no place for."""
    behaviour = says(f"{text}\N{SNOWMAN}")

    def behave(body: Any) -> Answer:
        answer = behaviour(body)
        return replace(answer, body=answer.body.replace("\N{SNOWMAN}".encode(), b"\xff"))

    return behave


def mislabels(text: str, content_type: str = "text/plain") -> Behaviour:
    """A good answer under a content type that is not JSON's."""
    behaviour = says(text)
    return lambda body: replace(behaviour(body), content_type=content_type)


def resets(behaviour: Behaviour) -> Behaviour:
    """The connection is reset in the middle of the answer's body."""
    return lambda body: replace(behaviour(body), ending=Ending.RESET)


def hangs_up() -> Behaviour:
    """The connection is closed without an answer."""
    return always(Answer(ending=Ending.CLOSED))


def never_ends() -> Behaviour:
    """The answer begins at once and never ends; each byte comes well before a read times out."""
    return always(Answer(ending=Ending.ENDLESS))


def never_starts() -> Behaviour:
    """The request is read, and nothing comes back."""
    return always(Answer(after=math.inf))


def _answer(
    status: int, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Answer:
    request_id = _new_id("req")
    if payload["type"] == "error":
        payload = {**payload, "request_id": request_id}
    return Answer(
        json.dumps(payload, ensure_ascii=False).encode(),
        status,
        headers={"request-id": request_id, **(headers or {})},
    )


def _batch(name: str, url: str, *, ended: bool) -> dict[str, Any]:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    return {
        "id": name,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": "2026-11-27T12:00:00Z",
        "expires_at": "2026-11-28T12:00:00Z",
        "ended_at": "2026-11-27T13:00:00Z" if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{url}{BATCHES}/{name}/results" if ended else None,
    }


def _outcome_of(request: Any, behaviour: Behaviour) -> dict[str, Any]:
    answer = behaviour(request["params"])
    body = json.loads(answer.body)
    result = (
        {"type": "succeeded", "message": body}
        if answer.status == 200
        else {"type": "errored", "error": body}
    )
    return {"custom_id": request["custom_id"], "result": result}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
