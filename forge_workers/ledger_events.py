"""Outgoing events: every ledger entry as a CloudEvent, on the topic exchange ``forge.ledger``.

At least once and in order (see ``forge_core.ledger.publishing``), with no transaction open while
the broker is spoken to. Events go out one by one: a pipeline whose third event fails and whose
fourth does not would put them out of order. What was sent goes to ``forge.ledger.live`` too, a
fanout exchange for who only looks. Nothing is kept there: no forgotten queue can fill the broker.
What no queue is bound to is not sent, and while there is no binding at all the cursor just moves.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import structlog
from celery import Celery
from kombu import Exchange, Queue, binding
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from forge_core.database import transaction
from forge_core.errors import Misconfigured
from forge_core.failpoints import reach
from forge_core.ledger.publishing import (
    LEASE,
    MOST_ENTRIES,
    Claim,
    Placed,
    advance,
    claim,
    cloud_event,
    origin,
    progress,
    read,
)
from forge_core.text import shown
from forge_workers import broker
from forge_workers.app import app
from forge_workers.processes import engine
from forge_workers.queues import QUEUES

log = structlog.get_logger(__name__)

EXCHANGE = Exchange(broker.EVENTS, type="topic", durable=True)
LIVE = Exchange("forge.ledger.live", type="fanout", durable=True)
CONTENT_TYPE = "application/cloudevents+json"
VARIABLE = "FORGE_EVENT_QUEUES"

PATIENCE = 3.0
"""Seconds that one answer of the broker may take; far below the lease."""
TURN = 2.0
"""Seconds after which a run ends although there is more: a worker that shuts down waits for it."""

NOTHING = timedelta(0)
_TRANSPORT = "forge_workers.ledger_events:Transport"

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,100}")
_BINDING = re.compile(r"(?=.{1,200}\Z)(?:[a-zA-Z0-9_-]+|[*#])(?:\.(?:[a-zA-Z0-9_-]+|[*#]))*")
# Names that mean something to the broker or to kombu: an event there would break either.
_RESERVED = ("_kombu.", "amq.", "celery", "unacked", "forge.ledger.live", broker.RUNTIME)


def parse_queues(setting: str) -> tuple[Queue, ...]:
    """The durable queues that ``name=binding,binding;name=binding`` declares; blank is none.

    Raises ``Misconfigured``, which quotes the part that is wrong.
    """
    queues: dict[str, Queue] = {}
    for part in filter(None, (part.strip() for part in setting.split(";"))):
        name, _, given = part.partition("=")
        name, keys = name.strip(), [key.strip() for key in given.split(",")]
        if not _NAME.fullmatch(name):
            raise _wrong(f"{shown(name)} is no name of a queue: 1 to 100 of a-z A-Z 0-9 . _ -")
        if name.startswith(_RESERVED) or name in {queue.name for queue in QUEUES}:
            raise _wrong(f"the queue {name} is not free for events; choose another name")
        if name in queues:
            raise _wrong(f"the queue {name} is named twice; put its bindings in one list")
        for key in keys:
            if not is_binding(key):
                raise _wrong(
                    f"the queue {name} has the binding {shown(key)}; right are words of an entry's "
                    "kind with dots between them, * for one word, # for any"
                )
        queues[name] = Queue(name, bindings=[binding(EXCHANGE, routing_key=key) for key in keys])
    return tuple(queues.values())


def is_binding(given: str) -> bool:
    """Whether this is a pattern of kinds: words, ``*`` and ``#`` with dots between them."""
    return _BINDING.fullmatch(given) is not None


def _wrong(problem: str) -> Misconfigured:
    return Misconfigured(f"{VARIABLE}: {problem} (for example audit=#;site=proposal.*,policy.*)")


@dataclass(frozen=True)
class Piece:
    """Entries of one go; ``head`` is where the ledger ended when they were read."""

    entries: list[Placed]
    head: int

    @property
    def end(self) -> int:
        """The position after the last one."""
        return self.entries[-1].position + 1


class Channel(broker.Channel):
    """Asks for bindings once a piece and keeps one client; kombu's does both for every event."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self._tables: dict[str, list[Any]] = {}
        self._kept: Any = None
        super().__init__(*given, **options)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        if client is None:
            if self._kept is None:
                self._kept = self._create_client()  # type: ignore[attr-defined]  # kombu's
            client = self._kept
        yield client

    def get_table(self, exchange: str) -> list[Any]:
        if exchange not in self._tables:
            self._tables[exchange] = super().get_table(exchange)
        return self._tables[exchange]

    def look_again(self) -> None:
        self._tables.clear()


class Transport(broker.Transport):
    """The transport behind ``redis://`` of the publisher's connection."""

    Channel = Channel


class _Bound:
    """What was bound to an exchange a moment ago; anything where a transport, as AMQP's, is mute.

    Who binds later is found with the next piece. Pieces are read before their bindings: of who
    binds and then reads the ledger to its end, nothing stays unread and unsent.
    """

    def __init__(self, channel: Any, exchange: Exchange) -> None:
        self._name = exchange.name
        self._type = self._table = None
        if hasattr(channel, "get_table"):
            self._type = channel.typeof(self._name)
            self._table = channel.get_table(self._name)

    def anything(self) -> bool:
        return self._table is None or bool(self._table)

    def reached_by(self, kind: str) -> bool:
        if self._type is None:
            return True
        return bool(self._type.lookup(self._table, self._name, kind, None))


class Publisher:
    """Publishes over one connection of its own, which it keeps from run to run."""

    def __init__(self, app: Celery, *, broker_url: str | None = None) -> None:
        self._app = app
        self._broker_url = broker_url
        self._producer: Any = None

    def publish(self, engine: Engine, queues: Sequence[Queue]) -> None:
        """Send what the cursor has not passed, piece by piece, for at most about two seconds.

        Running it twice, or at once, is safe: one holds the lease, the other has nothing to do. A
        crash anywhere leaves the cursor behind what was sent, so that it is sent again, never in
        front of it. A broker that fails ends the run; the next one goes on where it failed.
        """
        ends = monotonic() + TURN
        expires = monotonic() + LEASE.total_seconds()
        with transaction(engine) as session:
            # Most runs find nothing, and end here without having written anything.
            held = claim(session) if progress(session).lag else None
            if held is None:
                return
            piece = _piece(session, held.position)
            source = origin(session)
            if not piece.entries:
                advance(session, held, held.position)
                return
        reach("publish.claimed")
        while piece.entries:
            reached = self._send(source, piece, queues, expires=expires, ends=ends)
            reach("publish.sent")
            goes_on = reached >= piece.end and monotonic() < ends
            expires = monotonic() + LEASE.total_seconds()
            moved = _moved(engine, held, reached, goes_on=goes_on)
            reach("publish.advanced")
            if moved is None:
                return
            held, piece = moved

    def close(self) -> None:
        """Close the connection; the next run opens another."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.channel.connection.client.close()
        except Exception as error:  # noqa: BLE001  # it is thrown away either way
            log.debug("events.close_failed", error=type(error).__name__)

    def _send(
        self, source: str, piece: Piece, queues: Sequence[Queue], *, expires: float, ends: float
    ) -> int:
        """Send entries in order; says which position is the next, that the broker has not."""
        reached = piece.entries[0].position
        try:
            producer = self._declared(queues)
            ledger, live = (_Bound(producer.channel, exchange) for exchange in (EXCHANGE, LIVE))
            if not ledger.anything() and not live.anything():
                return piece.head
            for entry in piece.entries:
                if monotonic() >= expires:
                    # Stopped for longer than the lease: somebody else is publishing these.
                    log.warning("events.lease_expired", position=entry.position)
                    break
                if ledger.reached_by(entry.kind):
                    with producer.batch():  # one answer for all queues
                        _put(producer, EXCHANGE, source, entry)
                reached = entry.position + 1
                if monotonic() >= ends:
                    break
            if live.anything():
                # Who only looks reads in the ledger what is missing here: this may be a pipeline.
                with producer.batch():
                    for entry in piece.entries:
                        if entry.position < reached:
                            _put(producer, LIVE, source, entry)
        except Exception as error:  # noqa: BLE001  # whatever a broker can raise; the next run retries
            log.warning("events.publish_failed", error=type(error).__name__)
            self.close()
        return reached

    def _declared(self, queues: Sequence[Queue]) -> Any:
        """A producer, with exchanges and queues declared anew: the broker may have been wiped."""
        if self._producer is None:
            url = self._broker_url or self._app.conf.broker_write_url
            connection = self._app.connection_for_write(
                url,
                transport=_TRANSPORT if urlsplit(url).scheme == "redis" else None,
                connect_timeout=PATIENCE,
                transport_options={
                    **self._app.conf.broker_transport_options,
                    "socket_timeout": PATIENCE,
                    "socket_connect_timeout": PATIENCE,
                    "max_retries": 0,
                    "confirm_publish": True,  # where the broker can; Valkey's answer is one
                },
            )
            self._producer = self._app.amqp.Producer(connection.channel(), auto_declare=False)
        channel = self._producer.channel
        if state := getattr(channel, "state", None):
            # kombu remembers what it has bound and would not say it to the broker again.
            state.clear()
        if isinstance(channel, Channel):
            channel.look_again()
        for exchange in (EXCHANGE, LIVE):
            exchange(channel).declare()
        for queue in queues:
            queue(channel).declare()
        return self._producer


def _put(producer: Any, exchange: Exchange, source: str, entry: Placed) -> None:
    event = cloud_event(source, entry.position, entry.body)
    producer.publish(
        json.dumps(event, separators=(",", ":")),
        exchange=exchange,
        routing_key=entry.kind,
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
        message_id=str(entry.position),
        timeout=PATIENCE,
        confirm_timeout=PATIENCE,
    )


def _piece(session: Session, first: int) -> Piece:
    return Piece(read(session, first, MOST_ENTRIES), progress(session).head)


def _moved(
    engine: Engine, held: Claim, position: int, *, goes_on: bool
) -> tuple[Claim, Piece] | None:
    """Move the cursor; gives the next piece, or None when the run is over or the claim lost."""
    with transaction(engine) as session:
        piece = _piece(session, position) if goes_on else Piece([], position)
        if not advance(session, held, position, keep=LEASE if piece.entries else NOTHING):
            log.warning("events.claim_lost", position=held.position)
            return None
        return replace(held, position=position), piece


_publisher = Publisher(app)


def declared_queues() -> tuple[Queue, ...]:
    """What the environment declares. ``Misconfigured`` when FORGE_EVENT_QUEUES is wrong."""
    return parse_queues(os.environ.get(VARIABLE, ""))


def publish() -> None:
    """Publish what waits (the body of the task ``ledger.publish``). Safe to run at any time.

    ``Misconfigured`` when FORGE_EVENT_QUEUES is wrong; database errors as they come.
    """
    _publisher.publish(engine(), declared_queues())
