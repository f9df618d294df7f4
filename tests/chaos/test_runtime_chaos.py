"""Runtime events in a storm: each confirmed one is recorded once, unless a wiped broker had it.

``FORGE_LONG=1`` makes the storm a long one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import NamedTuple

import pytest
from sqlalchemy import text

from forge_core.clock import forge_now
from forge_core.database import snapshot, transaction
from forge_core.errors import Unavailable
from forge_core.ledger.entries import Entry, append, keep_texts
from forge_core.ledger.verifying import Scope, verify
from forge_core.overlays.register import REGISTERED
from forge_core.settings import Settings
from forge_core.tables import DERIVED
from forge_core.wiring import ENTRY_KINDS
from forge_workers.runtime_events import RuntimeEvents
from forge_workers.runtime_intake import read
from forge_workers.runtime_queue import QUEUE, TAKEN
from forge_workers.stack.up import Stack
from tests.chaos import faults
from tests.chaos.house import FOUNDER, House, running_house

LONG = bool(os.environ.get("FORGE_LONG"))

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1_200 if LONG else 300)]

ROUNDS = 12 if LONG else 1
SOURCES = ("eu-1", "eu-2")
CONSUMERS = ("events", "events-2")
SICK = "sick"
HEALTHY = tuple(f"healthy-{number}" for number in range(19))
BATCH = 50
PAUSE = 0.04
"""Seconds between batches: about a thousand events a second of each publisher."""
RECOVERS = 120.0
"""Seconds, generous: who is killed again and again is restarted after longer and longer pauses."""

BY_MINUTE = """
    SELECT subject, date_trunc('minute', at), count(*), count(*) FILTER (WHERE NOT success),
        sum((data ->> 'execution_ms')::bigint)
    FROM runtime_events GROUP BY 1, 2
"""
SUMMED_UP = "SELECT overlay, minute, calls, failed, milliseconds FROM overlay_minutes"

Key = tuple[str, str]
"""Source and id."""


class Told(NamedTuple):
    """An event as its publisher knows it."""

    source: str
    id: str
    at: datetime
    overlay: str
    success: bool

    @property
    def key(self) -> Key:
        return self.source, self.id


@dataclass
class Publisher:
    """Publishes until it is stopped; what was not confirmed is published again, as it was."""

    source: str
    settings: Settings
    stopping: threading.Event
    confirmed: dict[Key, Told] = field(default_factory=dict)
    again: int = 0

    def run(self) -> None:
        chance, numbers = random.Random(self.source), count()
        with RuntimeEvents(self.source, settings=self.settings, batch=BATCH) as events:
            while not self.stopping.wait(PAUSE):
                told = [self._event(next(numbers), chance) for _ in range(BATCH)]
                self._publish(events, told)

    def _event(self, number: int, chance: random.Random) -> Told:
        overlay = SICK if number % 20 == 0 else chance.choice(HEALTHY)
        success = overlay != SICK and chance.random() > 0.02
        return Told(self.source, f"{number:07}", datetime.now(UTC), overlay, success)

    def _publish(self, events: RuntimeEvents, told: list[Told]) -> None:
        while told:
            sent = [(one, publish(events, one)) for one in told]
            told = []
            for one, future in sent:
                if isinstance(future.exception(), Unavailable):
                    told.append(one)
                else:
                    future.result()
                    self.confirmed[one.key] = one
            if told:
                self.again += len(told)
                time.sleep(0.2)


def publish(events: RuntimeEvents, told: Told) -> Future[None]:
    return events.overlay_invoked(
        told.overlay,
        success=told.success,
        fault=None if told.success else "overlay",
        execution_ms=7,
        id=told.id,
        time=told.at,
    )


@contextmanager
def publishing(house: House) -> Iterator[list[Publisher]]:
    """Until the block ends, and everything that was begun is confirmed."""
    stopping = threading.Event()
    publishers = [Publisher(source, house.stack.settings, stopping) for source in SOURCES]
    threads = [threading.Thread(target=publisher.run) for publisher in publishers]
    for thread in threads:
        thread.start()
    try:
        yield publishers
    finally:
        stopping.set()
        for thread in threads:
            thread.join(RECOVERS)
    assert not any(thread.is_alive() for thread in threads)


class Storm:
    """What happens to the house, and what the wiped broker had in it."""

    def __init__(self, house: House, publishers: Sequence[Publisher]) -> None:
        self._house = house
        self._publishers = publishers
        self.lost: set[Key] = set()
        self.wipes = 0

    def kill_consumer(self) -> None:
        self._kill(CONSUMERS[0], partial(faults.kill_consumer, name=CONSUMERS[0]))

    def kill_both_consumers(self) -> None:
        for name in CONSUMERS:
            self._kill(name, partial(faults.kill_consumer, name=name))

    def kill_postgres(self) -> None:
        self._kill("postgres", faults.kill_postgres)

    def crash_postgres(self) -> None:
        self._kill("postgres", faults.crash_postgres)

    def kill_counters(self) -> None:
        self._kill("counters", faults.kill_counters)

    def cut_connections(self) -> None:
        """Of everybody to the broker, in the middle of whatever they say."""
        with self._house.broker() as broker:
            broker.client_kill_filter(_type="normal", skipme=True)

    def freeze_broker(self) -> None:
        """Until events are unconfirmed; it takes them all the same, when it wakes up."""
        before = self.published_again()
        with faults.stopped(self._house.stack, "broker"):
            self._house.until(
                lambda: self.published_again() > before, "an event is unconfirmed", RECOVERS
            )

    def published_again(self) -> int:
        return sum(publisher.again for publisher in self._publishers)

    def wipe(self) -> None:
        messages = faults.wipe_broker_noting(self._house.stack)
        self.lost |= {
            (event["source"], event["id"]) for message in messages for event in read(message).events
        }
        self.wipes += 1

    def wipe_what_waits(self) -> None:
        """While the consumers are frozen, with a part of it in hand and the rest in the queue."""
        before = len(self.lost)
        with ExitStack() as frozen, self._house.broker() as broker:
            for name in CONSUMERS:
                frozen.enter_context(faults.stopped(self._house.stack, name))
            self._house.until(lambda: broker.llen(QUEUE) > 5, "events wait")
            self.wipe()
        assert len(self.lost) > before

    def _kill(self, name: str, fault: Callable[[Stack], None]) -> None:
        handle = self._house.stack.handle(name)
        restarts = handle.restarts
        fault(self._house.stack)
        self._house.until(lambda: handle.restarts > restarts, f"{name} is dead", RECOVERS)


FAULTS: tuple[Callable[[Storm], None], ...] = (
    Storm.kill_consumer,
    Storm.wipe,
    Storm.kill_postgres,
    Storm.cut_connections,
    Storm.kill_counters,
    Storm.wipe_what_waits,
    Storm.kill_both_consumers,
    Storm.crash_postgres,
    Storm.freeze_broker,
    Storm.kill_counters,
)
"""In this order once, then in any."""


@pytest.fixture
def house() -> Iterator[House]:
    """With twenty registered overlays, and two who take events in."""
    with running_house() as house:
        faults.add_consumer(house.stack, CONSUMERS[1])
        with transaction(house.engine) as session:
            at, names = forge_now(session), keep_texts(session, SICK, *HEALTHY)
            version = {"version": "1.0.0", "description": None, "proposal": "p-test"}
            append(
                session,
                [
                    Entry(REGISTERED, at, FOUNDER, overlay, {"name": name, **version})
                    for overlay, name in zip((SICK, *HEALTHY), names, strict=True)
                ],
            )
        yield house


def test_in_a_storm_each_event_is_recorded_once_and_the_sick_overlay_is_set_aside_once(house):
    chance = random.Random(5)
    with publishing(house) as publishers:
        storm = Storm(house, publishers)
        for number in range(ROUNDS):
            for fault in chance.sample(FAULTS, len(FAULTS)) if number else FAULTS:
                time.sleep(chance.random() / 2)
                fault(storm)
                seconds = until_events_come(house)
                print(f"{fault.__name__}: events again after {seconds:.2f} s")  # noqa: T201  # a result
    told = {key: one for publisher in publishers for key, one in publisher.confirmed.items()}
    drain(house)

    missing = assert_recorded_once(house, told, storm.lost)
    assert_verdict(house)
    again = storm.published_again()
    print(  # noqa: T201  # a result
        f"{len(told):,} events confirmed, {again:,} of them at the second try or later;"
        f" {storm.wipes} wipes met {len(storm.lost):,} in the broker, of which"
        f" {missing:,} were not recorded"
    )


def until_events_come(house: House) -> float:
    """Until something more is recorded; returns the seconds."""
    seen: list[int] = []

    def more() -> bool:
        seen.append(house.scalar("SELECT count(*) FROM runtime_events"))
        return seen[-1] > seen[0]

    return house.until(more, "events are recorded again", RECOVERS)


def drain(house: House) -> None:
    """Until an event that came after all others is recorded, and no consumer holds one."""
    told = Told("last", "last", datetime.now(UTC), HEALTHY[0], success=True)
    with RuntimeEvents(told.source, settings=house.stack.settings) as events:

        def confirmed() -> bool:
            return publish(events, told).exception() is None

        house.until(confirmed, "the last event is confirmed", RECOVERS)
    found = "SELECT FROM runtime_events WHERE source = 'last'"
    house.until(lambda: house.rows(found), "the last event is recorded", RECOVERS)
    with house.broker() as broker:
        house.until(lambda: not broker.exists(QUEUE, TAKEN), "nobody holds any", RECOVERS)


def assert_recorded_once(house: House, told: dict[Key, Told], lost: set[Key]) -> int:
    """Rows as they were published, and summaries that add up to them; the number of the missing."""
    with snapshot(house.engine) as session:
        rows = [
            Told(*row)
            for row in session.execute(
                text(
                    "SELECT source, id, at, subject, success FROM runtime_events"
                    " WHERE source <> 'last'"
                )
            )
        ]
        by_minute, summed_up = (
            sorted(tuple(map(str, row)) for row in session.execute(text(sql)))
            for sql in (BY_MINUTE, SUMMED_UP)
        )
        letters = session.execute(text("SELECT reason FROM dead_letters")).all()
    found = Counter(row.key for row in rows)
    assert set(found.values()) == {1}
    assert letters == []
    missing = told.keys() - found.keys()
    assert missing == lost - found.keys(), "only what a wiped broker had is missing"
    assert {row.key: row for row in rows} == {
        key: one for key, one in told.items() if key not in missing
    }
    assert by_minute == summed_up
    return len(missing)


def assert_verdict(house: House) -> None:
    """One response, however often the house forgot what it had counted."""
    house.until(lambda: house.rows("SELECT FROM containments"), "it is set aside", RECOVERS)
    responses = house.rows(
        "SELECT subject, rung FROM immune_responses WHERE rung NOT IN ('observe', 'warn')"
    )
    assert [tuple(row) for row in responses] == [(SICK, "quarantine")]
    [standing] = house.rows("SELECT overlay, stage FROM containments")
    assert standing.overlay == SICK
    assert standing.stage != "active"
    with snapshot(house.engine) as session:
        assert list(verify(session, Scope(ENTRY_KINDS, DERIVED, ()))) == []
