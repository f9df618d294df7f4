"""Outgoing events: every ledger entry as a CloudEvent, on the topic exchange ``forge.ledger``.

At least once and in order (see ``forge_core.ledger.publishing``), with no transaction open while
the broker is spoken to. Events go out one by one: a pipeline whose third message fails and whose
fourth does not would put them out of order. The same events go to ``forge.ledger.live``, a fanout
exchange for who only looks: nothing is kept there, so no forgotten queue can fill the broker.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog
from celery import Celery
from kombu import Exchange, Queue, binding
from sqlalchemy import Engine

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
    origin,
    published,
    read,
)
from forge_core.text import shown
from forge_workers.app import app
from forge_workers.processes import engine
from forge_workers.queues import QUEUES

log = structlog.get_logger(__name__)

EXCHANGE = Exchange("forge.ledger", type="topic", durable=True)
LIVE = Exchange("forge.ledger.live", type="fanout", durable=True)
CONTENT_TYPE = "application/cloudevents+json"
VARIABLE = "FORGE_EVENT_QUEUES"

PATIENCE = 5.0
"""Seconds that one answer of the broker may take; far below the lease."""
TURN = 5.0
"""Seconds after which a run ends although there is more: the worker has other work too."""

NOTHING = timedelta(0)

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,100}")
_BINDING = re.compile(r"(?=.{1,200}\Z)(?:[a-zA-Z0-9_-]+|[*#])(?:\.(?:[a-zA-Z0-9_-]+|[*#]))*")
# Names that mean something to the broker or to kombu: an event there would break either.
_RESERVED = ("_kombu.", "amq.", "celery", "unacked", "forge.ledger.live")


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


class Publisher:
    """Publishes over one connection of its own, which it keeps from run to run."""

    def __init__(self, app: Celery, *, broker_url: str | None = None) -> None:
        self._app = app
        self._broker_url = broker_url
        self._producer: Any = None

    def publish(self, engine: Engine, queues: Sequence[Queue]) -> None:
        """Send what the cursor has not passed, piece by piece, for at most about five seconds.

        Running it twice, or at once, is safe: one holds the lease, the other has nothing to do. A
        crash anywhere leaves the cursor behind what was sent, so that it is sent again, never in
        front of it. A broker that fails ends the run; the next one goes on where it failed.
        """
        began = monotonic()
        expires = began + LEASE.total_seconds()
        with transaction(engine) as session:
            held = claim(session)
            if held is None:
                return
            entries = read(session, held.position, MOST_ENTRIES)
            source = origin(session)
            if not entries:
                advance(session, held, held.position)
                return
        reach("publish.claimed")
        while entries:
            sent = self._send(source, entries, queues, expires)
            reach("publish.sent")
            goes_on = sent == len(entries) and monotonic() < began + TURN
            expires = monotonic() + LEASE.total_seconds()
            moved = _moved(engine, held, held.position + sent, goes_on=goes_on)
            reach("publish.advanced")
            if moved is None:
                return
            held, entries = moved

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
        self, source: str, entries: Sequence[Placed], queues: Sequence[Queue], expires: float
    ) -> int:
        """Send entries in order; says how many of them, from the first on, the broker has."""
        bodies = [json.dumps(event, separators=(",", ":")) for event in published(source, entries)]
        sent = 0
        try:
            producer = self._declared(queues)
            for entry, body in zip(entries, bodies, strict=True):
                if monotonic() >= expires:
                    # Stopped for longer than the lease: somebody else is publishing these.
                    log.warning("events.lease_expired", position=entry.position)
                    break
                for exchange in (EXCHANGE, LIVE):
                    producer.publish(
                        body,
                        exchange=exchange,
                        routing_key=entry.kind,
                        content_type=CONTENT_TYPE,
                        content_encoding="utf-8",
                        message_id=str(entry.position),
                        timeout=PATIENCE,
                        confirm_timeout=PATIENCE,
                    )
                sent += 1
        except Exception as error:  # noqa: BLE001  # whatever a broker can raise; the next run retries
            log.warning("events.publish_failed", error=type(error).__name__)
            self.close()
        return sent

    def _declared(self, queues: Sequence[Queue]) -> Any:
        """A producer, with exchanges and queues declared anew: the broker may have been wiped."""
        if self._producer is None:
            connection = self._app.connection_for_write(
                self._broker_url,
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
        for exchange in (EXCHANGE, LIVE):
            exchange(channel).declare()
        for queue in queues:
            queue(channel).declare()
        return self._producer


def _moved(
    engine: Engine, held: Claim, position: int, *, goes_on: bool
) -> tuple[Claim, list[Placed]] | None:
    """Move the cursor; gives the next piece, or None when the run is over or the claim lost."""
    with transaction(engine) as session:
        entries = read(session, position, MOST_ENTRIES) if goes_on else []
        if not advance(session, held, position, keep=LEASE if entries else NOTHING):
            log.warning("events.claim_lost", position=held.position)
            return None
        return replace(held, position=position), entries


_publisher = Publisher(app)


def publish() -> None:
    """Publish what waits (the body of the task ``ledger.publish``). Safe to run at any time.

    ``Misconfigured`` when FORGE_EVENT_QUEUES is wrong; database errors as they come.
    """
    _publisher.publish(engine(), parse_queues(os.environ.get(VARIABLE, "")))
