"""kombu's Redis transport, made safe against what anybody may have pushed into a queue.

kombu parses what it pops inside the event loop: one list element that is no message at all ends
the worker. Here it becomes a dead letter, and the loop goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.json import loads

Unreadable = Callable[[str, bytes, Exception], None]

# What parsing and dispatching a hostile message can raise; connection errors are not among them.
_HOSTILE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)

_listeners: list[Unreadable] = []


def on_unreadable(listener: Unreadable) -> None:
    """Tell ``listener`` (queue, raw bytes, error) of every element that is no message."""
    _listeners.append(listener)


class Channel(kombu_redis.Channel):
    """Reads as kombu's does, except that an unreadable element is reported and passed over."""

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:  # type: ignore[attr-defined]  # kombu sets it
                self.client.connection.disconnect()
                raise
            if not reply:
                raise Empty
            key, item = reply
            queue = key.decode("utf-8", "replace").rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]
            self._hand_over(queue, item)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()  # type: ignore[attr-defined]

    def _hand_over(self, queue: str, item: bytes) -> None:
        message: Any = None
        try:
            message = loads(item.decode())
            self.connection._deliver(message, queue)  # noqa: SLF001  # as kombu's own does
        except _HOSTILE as error:
            self._forget(message)
            for listener in _listeners:
                listener(queue, item, error)

    def _forget(self, message: Any) -> None:
        """Drop a message that was noted as unacknowledged before it proved unreadable."""
        try:
            tag = message["properties"]["delivery_tag"]
            delivered = tag in (self.qos._delivered or ())  # noqa: SLF001
        except _HOSTILE:
            return
        if delivered:
            self.qos.ack(tag)


class Transport(kombu_redis.Transport):
    """The transport behind ``redis://`` in this project's processes."""

    Channel = Channel


def install() -> None:
    """Make ``redis://`` URLs use this transport. Other brokers are untouched."""
    TRANSPORT_ALIASES["redis"] = "forge_workers.broker:Transport"
