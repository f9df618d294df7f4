"""kombu's Redis transport, made safe against what anybody may have pushed into a queue.

kombu parses what it pops inside the event loop: one list element, or one broadcast, that is no
message at all ends the worker. Here it becomes a dead letter, and the loop goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.json import loads
from redis import ConnectionError as RedisConnectionError
from redis import ResponseError
from redis import TimeoutError as RedisTimeoutError

Unreadable = Callable[[str, bytes, Exception], None]

MOST_CLOCK = 2**62
EVENTS = "forge.ledger"
"""The topic exchange of the outgoing events."""
RUNTIME = "forge.runtime"
"""The topic exchange of what the platform tells of itself."""

# Not kombu's own list: that holds KeyError, which a message without a key raises.
_BROKER_FAILED = (OSError, RedisConnectionError, RedisTimeoutError)

_listeners: list[Unreadable] = []


def on_unreadable(listener: Unreadable) -> None:
    """Tell ``listener`` (queue, raw bytes, error) of every element that is no message."""
    _listeners.append(listener)


class Channel(kombu_redis.Channel):
    """Reads as kombu's does, except that an unreadable element is reported and passed over.

    It knows the exchanges of events: a channel that gives back what a consumer of theirs never
    acknowledged would otherwise take them for other ones, and lose the message.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for exchange in (EVENTS, RUNTIME):
            self.exchange_declare(exchange, type="topic", durable=True)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:  # type: ignore[attr-defined]  # kombu sets it
                self.client.connection.disconnect()
                raise
            except ResponseError as error:
                self._clear_away(error)
                raise Empty from error
            if not reply:
                raise Empty
            key, item = reply
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]
            self._hand_over(queue, item)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()  # type: ignore[attr-defined]

    def _receive_one(self, subclient: Any) -> bool:
        """One broadcast: a control command for a worker, an event for Flower."""
        try:
            response = subclient.parse_response()
        except self.connection_errors:  # type: ignore[attr-defined]
            self._in_listen = None
            raise
        if not isinstance(response, list | tuple):
            return False
        payload = self._handle_message(subclient, response)  # type: ignore[attr-defined]
        if not payload["type"].endswith(b"message") or not payload["data"]:
            return False
        channel = payload["channel"].decode("utf-8", "replace")
        if channel.startswith("/"):
            channel = channel.partition(".")[2]  # without the number of the database
        self._guarded(channel, payload["data"], lambda message: self._broadcast(channel, message))
        return True

    def _broadcast(self, channel: str, message: Any) -> None:
        self._deliver_fanout_message(message, channel.split("/", 1)[0])  # type: ignore[attr-defined]

    def _hand_over(self, queue: str, item: bytes) -> None:
        deliver = self.connection._deliver  # noqa: SLF001  # as kombu's own does
        self._guarded(queue, item, lambda message: deliver(message, queue))

    def _guarded(self, source: str, item: bytes, deliver: Callable[[Any], object]) -> None:
        message: Any = None
        try:
            message = loads(item.decode())
            _require_plain(message)
            deliver(message)
        except ResponseError as error:
            self._clear_away(error)
        except _BROKER_FAILED:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a hostile message can provoke
            self._forget(message)
            for listener in _listeners:
                listener(source, item, error)

    def _clear_away(self, error: ResponseError) -> None:
        """Delete keys that are of another type than ours; any other error is raised again.

        With them go a few wake-ups, which the sweep sends again.
        """
        if "WRONGTYPE" not in str(error):
            raise error
        types = {
            self._q_for_pri(queue, priority): b"list"  # type: ignore[attr-defined]
            for queue in self.active_queues
            for priority in self.priority_steps
        } | {self.unacked_key: b"hash", self.unacked_index_key: b"zset"}
        with self.conn_or_acquire() as client:
            for key, type_ in types.items():
                if client.type(key) not in (type_, b"none"):
                    client.delete(key)

    def _forget(self, message: Any) -> None:
        """Drop a message that was noted as unacknowledged before it proved unreadable."""
        try:
            tag = message["properties"]["delivery_tag"]
            delivered = tag in (self.qos._delivered or ())  # noqa: SLF001
        except (LookupError, TypeError):
            return
        if delivered:
            self.qos.ack(tag)


def _require_plain(message: Any) -> None:
    """Refuse what kombu would act on before anybody can look: codecs, compression, the clock."""
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    if message.get("content-type") != "application/json":
        raise ValueError("the content type is not application/json")
    if message.get("content-encoding") != "utf-8":
        raise ValueError("the content encoding is not utf-8")
    headers = message.get("headers") or {}
    if headers.get("compression") is not None:
        raise ValueError("a small body may inflate to any size")
    clock = headers.get("clock")
    # Clocks follow the greatest one seen: a number of 4,300 digits could never be sent again.
    if clock is not None and not (type(clock) is int and 0 <= clock < MOST_CLOCK):
        raise ValueError("the clock is no counter")


class Transport(kombu_redis.Transport):
    """The transport behind ``redis://`` in this project's processes."""

    Channel = Channel


def install() -> None:
    """Make ``redis://`` URLs use this transport. Other brokers are untouched."""
    TRANSPORT_ALIASES["redis"] = "forge_workers.broker:Transport"
