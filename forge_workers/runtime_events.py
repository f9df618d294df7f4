"""What the runtime, gateways and hosts tell the immune system, published by a service in Python.

CloudEvents in batches, to the durable topic exchange ``forge.runtime``. What a service may count on
is that an event whose future is done is in the broker; what it was refused, or not told of, it may
publish again under the same id and time, and it is counted once.
"""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import structlog
from kombu import Exchange, Queue

from forge_core.errors import Refused, Unavailable
from forge_core.ids import uuid7
from forge_core.immune.detectors.overlay_calls import Fault
from forge_core.immune.intake.events import BATCH_MOST, MESSAGE_MOST, read_event
from forge_core.settings import Settings
from forge_core.text import require_id
from forge_workers import broker, ledger_events
from forge_workers.app import app
from forge_workers.flusher import Flusher
from forge_workers.runtime_queue import QUEUE

log = structlog.get_logger(__name__)

EXCHANGE: Final = Exchange(broker.RUNTIME, type="topic", durable=True)
EVENTS: Final = Queue(QUEUE, EXCHANGE, routing_key="#", durable=True)
EVENT_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
MIXED: Final = "batch"
"""The routing key of a batch with events of several types."""

WAITING_MOST: Final = 100_000
"""Events that may wait in a publisher's memory."""
QUEUE_MOST: Final = 256 * 1024 * 1024
"""Bytes of the broker's memory that the queue may have before nobody publishes to it."""
PATIENCE: Final = 3.0
"""Seconds that one answer of the broker may take."""
SILENCE: Final = 1.0
"""Seconds for which a broker that has failed is not asked again."""

_TRANSPORT = "forge_workers.runtime_events:Transport"
_BRACKETS = 2


class Encoded(NamedTuple):
    """An event that has proved readable, ready to be sent."""

    type: str
    body: bytes


class RuntimeEvents:
    """A service's events. Thread-safe; use it as a context manager or ``close()`` it.

    ``source`` names the publisher: its ids are its own. At most ``batch`` events share a message,
    and one that is not full is sent ``linger`` seconds after the last. While too many events wait,
    ``publish`` does, for ``patience`` seconds.
    """

    def __init__(
        self,
        source: str,
        *,
        settings: Settings | None = None,
        batch: int = 500,
        linger: float = 0.05,
        patience: float = 5.0,
    ) -> None:
        if not 1 <= batch <= BATCH_MOST:
            raise ValueError(f"a batch has 1 to {BATCH_MOST:,} events")
        self.source = require_id("source", source)
        self._batch = batch
        self._linger = linger
        self._patience = patience
        self._sender = _Sender((settings or Settings.load(needed=("broker_url",))).broker_url)
        self._flusher: Flusher[Encoded | None, None] = Flusher(self._send, batch)
        self._changed = threading.Condition()
        self._waiting = 0
        self._lost = 0
        self._next_at = 0.0
        self._hurry = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def publish(
        self,
        type: str,  # noqa: A002  # as CloudEvents call it
        data: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002  # as CloudEvents call it
        time: datetime | None = None,
    ) -> Future[None]:
        """Queue an event; its future is done when the broker has it, else raises ``Unavailable``.

        ``Refused`` at once when it could not be recorded; ``Unavailable`` when too many wait. Who
        wants to publish an event again gives it an ``id`` and a ``time``, and the same ones then.
        """
        event = self._encoded(type, data, id or str(uuid7()), time or datetime.now(UTC))
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting < WAITING_MOST, self._patience):
                raise Unavailable(
                    f"{WAITING_MOST:,} events wait for the broker; publish this one later"
                )
            self._waiting += 1
        try:
            future = self._flusher.put(event)
        except Unavailable:
            self._answered(None)
            raise
        future.add_done_callback(self._answered)
        return future

    def overlay_invoked(  # noqa: PLR0913  # a call has that many facts
        self,
        overlay: str,
        *,
        success: bool,
        function: str = "",
        fault: Fault | str | None = None,
        error: str | None = None,
        execution_ms: int = 0,
        fuel: int = 0,
        memory: int = 0,
        caller: str | None = None,
        **attributes: Any,
    ) -> Future[None]:
        """An overlay ran; ``fault`` says who is to blame for a failure. ``memory`` in bytes."""
        data = {
            "overlay": overlay,
            "function": function,
            "success": success,
            "error": error,
            "fault": fault,
            "execution_ms": execution_ms,
            "fuel": fuel,
            "memory": memory,
            "caller": caller,
        }
        return self.publish("overlay.invoked", data, **attributes)

    def overlay_registered(self, overlay: str, **attributes: Any) -> Future[None]:
        return self.publish("overlay.registered", {"overlay": overlay}, **attributes)

    def overlay_activated(self, overlay: str, **attributes: Any) -> Future[None]:
        return self.publish("overlay.activated", {"overlay": overlay}, **attributes)

    def overlay_stopped(self, overlay: str, **attributes: Any) -> Future[None]:
        return self.publish("overlay.stopped", {"overlay": overlay}, **attributes)

    def auth_attempted(
        self,
        ip: str,
        *,
        success: bool,
        member: str | None = None,
        user_agent: str = "",
        **attributes: Any,
    ) -> Future[None]:
        """Somebody tried to log in, from this address."""
        data = {"ip": ip, "member": member, "success": success, "user_agent": user_agent}
        return self.publish("auth.attempted", data, **attributes)

    def api_request_window(
        self, member: str, *, limit: int, used: int, refused: int = 0, **attributes: Any
    ) -> Future[None]:
        """A member's requests of one minute: how many were allowed, made, and turned away."""
        data = {"member": member, "limit": limit, "used": used, "refused": refused}
        return self.publish("api.request_window", data, **attributes)

    def data_downloaded(self, member: str, items: Sequence[str], **attributes: Any) -> Future[None]:
        """A member fetched these items."""
        return self.publish(
            "data.downloaded", {"member": member, "items": list(items)}, **attributes
        )

    def resource_sampled(
        self,
        host: str,
        *,
        memory: float,
        disk: float,
        queue_depth: int = 0,
        connections: int = 0,
        **attributes: Any,
    ) -> Future[None]:
        """How a host is doing; ``memory`` and ``disk`` in percent."""
        data = {
            "host": host,
            "memory": memory,
            "disk": disk,
            "queue_depth": queue_depth,
            "connections": connections,
        }
        return self.publish("resource.sampled", data, **attributes)

    def flush(self) -> None:
        """Return when everything published so far has its answer.

        ``Unavailable`` when the broker did not take some of it since the last time.
        """
        self._hurry.set()
        self._flusher.put(None).exception()
        self._hurry.clear()
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            raise Unavailable(f"the broker did not confirm {lost:,} events; publish them again")

    def close(self) -> None:
        """Send what waits, then let go of the connection."""
        self._hurry.set()
        self._flusher.close()
        self._sender.close()

    def _encoded(self, type_: str, data: Mapping[str, Any], id_: str, time: datetime) -> Encoded:
        """What a consumer will have read of it, and nothing else: it is refused here or never."""
        event = read_event(
            {
                "specversion": "1.0",
                "id": id_,
                "source": self.source,
                "type": type_,
                "time": time.isoformat(),
                "data": dict(data),
            },
            datetime.now(UTC),
        )
        body = event.model_dump_json(exclude_none=True).encode()
        if len(body) > MESSAGE_MOST - _BRACKETS:
            raise Refused("MESSAGE_TOO_LARGE", f"a message has at most {MESSAGE_MOST:,} bytes")
        return Encoded(type_, body)

    def _answered(self, future: Future[None] | None) -> None:
        failed = future is not None and not future.cancelled() and future.exception() is not None
        with self._changed:
            self._waiting -= 1
            self._lost += failed
            self._changed.notify()

    def _send(self, given: Sequence[Encoded | None]) -> list[None]:
        if len(given) < self._batch:
            # Meanwhile the next batch gathers, so that there are few messages, and full ones.
            self._hurry.wait(self._next_at - clock.monotonic())
        self._next_at = clock.monotonic() + self._linger
        events = [event for event in given if event is not None]
        if events:
            self._sender.send(list(_messages(events)))
        return [None] * len(given)


class Channel(ledger_events.Channel):
    """Takes no message that no queue would get: it would be confirmed, and gone."""

    def _lookup(
        self, exchange: str, routing_key: str, default: str | None = None
    ) -> list[str] | set[str]:
        queues = super()._lookup(exchange, routing_key, default)
        if not queues:
            raise Unavailable("no queue is bound to the exchange of runtime events")
        return queues


class Transport(broker.Transport):
    """The transport behind ``redis://`` of a publisher's connection."""

    Channel = Channel


class _Sender:
    """One connection, used by one thread. Whatever a broker does, it raises ``Unavailable``."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._producer: Any = None
        self._away_until = 0.0

    def send(self, messages: Iterable[Message]) -> None:
        if clock.monotonic() < self._away_until:
            raise Unavailable("the broker does not answer; publish this event again later")
        try:
            producer = self._declared()
            for message in messages:
                producer.publish(
                    message.body,
                    exchange=EXCHANGE,
                    routing_key=message.routing_key,
                    content_type=BATCH_TYPE,
                    content_encoding="utf-8",
                    timeout=PATIENCE,
                    confirm_timeout=PATIENCE,
                )
        except Unavailable as error:
            log.warning("runtime.unpublished", reason=str(error))
            raise
        except Exception as error:
            log.warning("runtime.unpublished", error=type(error).__name__)
            self.close()
            self._away_until = clock.monotonic() + SILENCE
            raise Unavailable(
                f"the broker did not confirm it ({type(error).__name__}); publish it again"
            ) from error

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.channel.connection.client.close()
        except Exception as error:  # noqa: BLE001  # it is thrown away either way
            log.debug("runtime.close_failed", error=type(error).__name__)

    def _declared(self) -> Any:
        """A producer; exchange and queue are declared anew, for the broker may have been wiped."""
        if self._producer is None:
            connection = app.connection_for_write(
                self._url,
                transport=_TRANSPORT if urlsplit(self._url).scheme == "redis" else None,
                connect_timeout=PATIENCE,
                transport_options={
                    **app.conf.broker_transport_options,
                    "socket_timeout": PATIENCE,
                    "socket_connect_timeout": PATIENCE,
                    "max_retries": 0,
                    "confirm_publish": True,  # where the broker can; Valkey's answer is one
                },
            )
            self._producer = app.amqp.Producer(connection.channel(), auto_declare=False)
        channel = self._producer.channel
        if isinstance(channel, Channel):
            channel.state.clear()
            channel.look_again()
            with channel.conn_or_acquire() as client:
                # All of it: a few small messages in front would hide large ones.
                if (client.memory_usage(QUEUE, samples=0) or 0) > QUEUE_MOST:
                    raise Unavailable(
                        "events wait that nobody records: is `forge events consume` running?"
                    )
        EVENTS(channel).declare()
        return self._producer


class Message(NamedTuple):
    """A batch as it is sent."""

    routing_key: str
    body: bytes


def _messages(events: Sequence[Encoded]) -> Iterator[Message]:
    """All of them, in order, in as few messages as their sizes allow."""
    part: list[Encoded] = []
    size = _BRACKETS
    for event in events:
        if part and size + len(event.body) > MESSAGE_MOST:
            yield _message(part)
            part, size = [], _BRACKETS
        part.append(event)
        size += len(event.body) + 1  # a comma
    yield _message(part)


def _message(events: Sequence[Encoded]) -> Message:
    types = {event.type for event in events}
    body = b"[" + b",".join(event.body for event in events) + b"]"
    return Message(types.pop() if len(types) == 1 else MIXED, body)
