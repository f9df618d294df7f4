"""HTTP that ends: after so many seconds whatever drips in, and after so many bytes.

A client's own timeout holds for each read anew, in headers as in the body, so that a server that
says a little now and then is never given up. Here every read of a request has what is left of the
time of all.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import httpcore2
import httpx2

ANSWER_MOST: Final = 1_000_000
"""Bytes of an answer."""
RESULTS_MOST: Final = 100_000_000
"""Bytes of what comes of a batch."""
CONNECTIONS_MOST: Final = 100
"""More than are ever asked at once."""
_PLAIN: Final = (None, "", "identity")


class _Deadline(threading.local):
    """Of the request that this thread makes now."""

    at: float = math.inf


_deadline = _Deadline()


class BoundedTransport(httpx2.HTTPTransport):
    """Takes the read timeout of a request for all of it; refuses what is packed or too long."""

    def __init__(self, verify: ssl.SSLContext | None = None) -> None:
        super().__init__(verify=verify or True)
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=verify or httpx2.create_ssl_context(),
            max_connections=CONNECTIONS_MOST,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        _deadline.at = time.monotonic() + request.extensions["timeout"]["read"]
        response = super().handle_request(request)
        if response.headers.get("content-encoding") not in _PLAIN:
            response.close()
            raise httpx2.DecodingError("the answer is packed: it may be of any size")
        most = RESULTS_MOST if request.url.path.endswith("/results") else ANSWER_MOST
        response.stream = _Bounded(response.stream, most)  # type: ignore[arg-type]  # synchronous here
        return response


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        length = 0
        for part in self._stream:
            length += len(part)
            if length > self._most:
                raise httpx2.DecodingError("the answer is too long")
            yield part

    def close(self) -> None:
        self._stream.close()


class _Backend(httpcore2.NetworkBackend):
    """Connections whose reads and writes keep to the deadline."""

    def __init__(self) -> None:
        self._real = httpcore2.SyncBackend()

    def connect_tcp(self, *given: Any, **named: Any) -> httpcore2.NetworkStream:
        return _Stream(self._real.connect_tcp(*given, **named))

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, real: httpcore2.NetworkStream) -> None:
        self._real = real

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._real.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._real.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def start_tls(self, *given: Any, **named: Any) -> httpcore2.NetworkStream:
        return _Stream(self._real.start_tls(*given, **named))

    def get_extra_info(self, info: str) -> Any:
        return self._real.get_extra_info(info)

    def close(self) -> None:
        self._real.close()


def _left(timeout: float | None, late: type[Exception]) -> float:
    left = min(math.inf if timeout is None else timeout, _deadline.at - time.monotonic())
    if left <= 0:
        raise late("the answer takes too long as a whole")
    return left
