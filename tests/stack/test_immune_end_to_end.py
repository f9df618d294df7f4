"""The immune system on a whole house: an overlay fails amid many thousand calls and heals.

``FORGE_LONG=1`` tells of 100,000 events and waits for the end of the quarantine, a minute;
otherwise there are 30,000, and that end is brought near.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from forge_core.clock import forge_now
from forge_core.database import make_engine, snapshot, transaction
from forge_core.ledger.entries import Entry, append, keep_texts
from forge_core.ledger.verifying import Scope, verify
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_core.overlays.register import REGISTERED
from forge_core.tables import DERIVED
from forge_core.wiring import ENTRY_KINDS
from forge_workers.client import GovernanceClient
from forge_workers.runtime_events import RuntimeEvents
from forge_workers.stack.postgres import DATABASE
from forge_workers.stack.up import Stack, running_stack
from tests.support import short_folder, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

LONG = bool(os.environ.get("FORGE_LONG"))
EVENTS = 100_000 if LONG else 30_000
OTHERS = tuple(f"overlay-{number:03}" for number in range(199))
CROWDS = 2
CROWDED = 47 * EVENTS // 100
"""Calls of the other overlays by each of the crowds; what is left is for the one that fails."""
PATIENT = "scout"
HEALTHY_FIRST = 60
IN_A_ROW = 10
"""The failure that crosses the line, after so many calls that went well."""
GENEROUS = 300.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = short_folder()
    try:
        with running_stack(folder / "home", web=False) as stack:
            yield stack
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def engine(stack: Stack) -> Iterator[Engine]:
    """The database of a house with two hundred registered overlays."""
    engine = make_engine(stack.settings.database_url)
    overlays = (*OTHERS, PATIENT)
    with transaction(engine) as session:
        found(session, [Founder("ada", TrustLevel.CORE, (Role.ADMIN,))], sandbox=True)
        at, names = forge_now(session), keep_texts(session, *overlays)
        entries = [
            Entry(
                REGISTERED,
                at,
                "ada",
                overlay,
                {"name": name, "version": "1.0.0", "description": None, "proposal": "p-test"},
            )
            for overlay, name in zip(overlays, names, strict=True)
        ]
        append(session, entries)
    yield engine
    engine.dispose()


def rows(engine: Engine, sql: str, **parameters: object) -> Sequence[Any]:
    with transaction(engine) as session:
        return session.execute(text(sql), parameters).all()


@dataclass
class Runtime:
    """A runtime as the platform has it: it asks before each call, and tells of it afterwards."""

    source: str
    governance: GovernanceClient
    events: RuntimeEvents
    numbers: Iterator[int] = field(default_factory=count)
    told: list[Future[None]] = field(default_factory=list)
    called: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    confirmed_at: dict[str, datetime] = field(default_factory=dict)

    def call(self, overlay: str, fault: str | None = None) -> Call | None:
        """None where it is not let through."""
        if not self.governance.may_invoke(overlay):
            self.refused[overlay] += 1
            return None
        call = Call(f"{self.source} {next(self.numbers):06}", datetime.now(UTC))
        sent = self.events.overlay_invoked(
            overlay,
            function="run",
            success=fault is None,
            fault=fault,
            execution_ms=12,
            caller="ada",
            id=call.name.partition(" ")[2],
            time=call.at,
        )
        sent.add_done_callback(lambda _: self.confirmed_at.setdefault(call.name, datetime.now(UTC)))
        self.told.append(sent)
        self.called[overlay] += 1
        return call


@dataclass(frozen=True)
class Call:
    """``name``: source and id, as evidence names it."""

    name: str
    at: datetime


class Story:
    """What happened when, counted from the call that crossed the line."""

    def __init__(self) -> None:
        self._told: list[tuple[datetime, str]] = []

    def tell(self, what: str, at: datetime | None = None) -> datetime:
        at = at or datetime.now(UTC)
        self._told.append((at, what))
        return at

    def show(self, since: datetime) -> None:
        for at, what in sorted(self._told):
            print(f"{(at - since).total_seconds():+9.3f} s  {what}")  # noqa: T201  # a result


def test_an_overlay_that_fails_is_set_aside_heals_and_no_event_is_lost(stack, engine) -> None:
    began = time.monotonic()
    with (
        GovernanceClient(issuer="runtime", settings=stack.settings) as governance,
        ThreadPoolExecutor(CROWDS) as pool,
        RuntimeEvents("eu-0", settings=stack.settings) as events,
    ):
        under_way = threading.Event()
        crowds = [
            pool.submit(crowd, stack, governance, f"eu-{number}", under_way)
            for number in range(1, CROWDS + 1)
        ]
        runtime = Runtime("eu-0", governance, events)
        under_way.wait(GENEROUS)
        story, crossing = fails_and_heals(stack, runtime)
        among_others = [one.result(GENEROUS) for one in crowds]
        calls_flow_again(runtime, EVENTS - CROWDS * CROWDED - runtime.called.total())
        events.flush()
        published = time.monotonic() - began
    everybody = (runtime, *among_others)

    assert sum(one.called.total() for one in everybody) == EVENTS
    assert not [sent for one in everybody for sent in one.told if sent.exception() is not None]
    until(lambda: recorded(engine) >= EVENTS, GENEROUS)
    taken = time.monotonic() - began
    assert_each_recorded_once(engine, everybody)
    assert_only_it_was_set_aside(engine, among_others)
    assert_the_ledger_tells_it(engine, story, crossing)

    story.show(crossing.at)
    print(  # noqa: T201  # a result
        f"{EVENTS:,} calls asked about and told in {published:.1f} s, all recorded"
        f" {taken - published:.1f} s later; {runtime.refused[PATIENT]:,} calls refused"
    )


def crowd(
    stack: Stack, governance: GovernanceClient, source: str, under_way: threading.Event
) -> Runtime:
    """Calls of healthy overlays, of which few fail."""
    random = Random(source)
    with RuntimeEvents(source, settings=stack.settings) as events:
        runtime = Runtime(source, governance, events)
        for number in range(CROWDED):
            chance = random.random()
            fault = "overlay" if chance < 0.02 else "caller" if chance < 0.03 else None
            runtime.call(random.choice(OTHERS), fault)
            if number > CROWDED // 4:
                under_way.set()
        events.flush()
    return runtime


def fails_and_heals(stack: Stack, runtime: Runtime) -> tuple[Story, Call]:
    """The life of one overlay; returns what was seen of it, and the call that crossed the line."""
    story = Story()
    for _ in range(HEALTHY_FIRST):
        assert runtime.call(PATIENT) is not None
    failed: list[Call] = []
    until(lambda: not keeps_failing(runtime, failed), GENEROUS)
    story.tell("the runtime is told: no more calls")
    crossing = failed[IN_A_ROW - 1]
    story.tell(f"failure {IN_A_ROW} in a row: event {crossing.name!r}", crossing.at)
    story.tell("the broker has confirmed it", runtime.confirmed_at[crossing.name])

    refused_until = time.monotonic() + 1
    until(lambda: runtime.call(PATIENT) is not None or time.monotonic() > refused_until, GENEROUS)
    assert runtime.refused[PATIENT] > 1
    assert runtime.called[PATIENT] == HEALTHY_FIRST + len(failed), "none got through meanwhile"

    if not LONG:
        end_quarantine(stack)
        story.tell("the test brings the end of the quarantine near")
    until(lambda: runtime.call(PATIENT) is not None, GENEROUS)
    story.tell("the runtime is told: a canary may go")

    def calls_until_free() -> bool:
        runtime.call(PATIENT)
        return runtime.governance.leases.lease_of_overlay(PATIENT) is None

    until(calls_until_free, GENEROUS)
    story.tell("the runtime is told: calls go ahead")
    return story, crossing


def keeps_failing(runtime: Runtime, failed: list[Call]) -> bool:
    """About fifty calls a second; says whether they are let through."""
    call = runtime.call(PATIENT, "overlay")
    if call is not None:
        failed.append(call)
    return call is not None


def end_quarantine(stack: Stack) -> None:
    """What is derived is changed behind the house's back; the next entry overwrites it."""
    with stack.servers.postgres.superuser(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE containments SET until_at = clock_timestamp()"
            " WHERE overlay = %s AND stage = 'quarantined'",
            [PATIENT],
        )
        assert cursor.rowcount == 1


def calls_flow_again(runtime: Runtime, calls: int) -> None:
    assert calls > 0
    for _ in range(calls):
        assert runtime.call(PATIENT) is not None


def recorded(engine: Engine) -> int:
    [row] = rows(engine, "SELECT count(*) FROM runtime_events")
    return int(row[0])


def assert_each_recorded_once(engine: Engine, runtimes: Sequence[Runtime]) -> None:
    called = sum((runtime.called for runtime in runtimes), Counter())
    by_source = {runtime.source: runtime.called.total() for runtime in runtimes}
    found = rows(
        engine, "SELECT source, count(DISTINCT id), count(*) FROM runtime_events GROUP BY source"
    )
    assert {row[0]: (row[1], row[2]) for row in found} == {
        source: (calls, calls) for source, calls in by_source.items()
    }
    for table in (
        "SELECT subject, count(*) FROM runtime_events GROUP BY subject",
        "SELECT overlay, sum(calls + excused) FROM overlay_minutes GROUP BY overlay",
    ):
        assert Counter({row[0]: int(row[1]) for row in rows(engine, table)}) == called, table
    assert rows(engine, "SELECT reason FROM dead_letters") == []


def assert_only_it_was_set_aside(engine: Engine, crowds: Sequence[Runtime]) -> None:
    assert not sum((runtime.refused for runtime in crowds), Counter())
    touched = rows(engine, "SELECT DISTINCT overlay FROM containments")
    assert [row.overlay for row in touched] == [PATIENT]
    responses = rows(
        engine,
        "SELECT subject, rung FROM immune_responses WHERE rung NOT IN ('observe', 'warn')",
    )
    assert [tuple(row) for row in responses] == [(PATIENT, "quarantine")]
    assert rows(engine, "SELECT kind FROM incidents WHERE kind = 'systemic'") == []


def assert_the_ledger_tells_it(engine: Engine, story: Story, crossing: Call) -> None:
    """Responded, contained, ended, in this order; and nothing else is amiss in it."""
    [response] = rows(engine, "SELECT id FROM immune_responses WHERE rung = 'quarantine'")
    entries = [
        (row.kind, row.data)
        for row in rows(
            engine,
            "SELECT kind, data FROM ("
            " SELECT id, kind, convert_from(body, 'UTF8')::jsonb ->> 'subject' AS subject,"
            " convert_from(body, 'UTF8')::jsonb -> 'data' AS data FROM ledger_entries"
            ") AS entry WHERE subject = :id OR data ->> 'response' = :id ORDER BY id",
            id=response.id,
        )
    ]
    assert [(kind, data.get("stage")) for kind, data in entries] == [
        ("immune.responded", None),
        ("overlay.contained", "quarantined"),
        ("overlay.contained", "probation"),
        ("overlay.contained", "active"),
        ("immune.ended", None),
    ]
    responded, _, probation, active, ended = (data for _, data in entries)
    evidence = responded["evidence"]
    assert (evidence["rule"], evidence["measures"]["in_a_row"]) == (
        "overlay.failures_in_a_row",
        IN_A_ROW,
    )
    assert evidence["samples"][-1] == crossing.name
    assert active["canaries"]["failed"] == 0
    story.tell(f"decided: quarantine, {evidence['says']!r}", moment(responded["began"]))
    story.tell("probation begins", moment(probation["since"]))
    story.tell(
        f"released after {active['canaries']['calls']} canaries that went well",
        moment(active["since"]),
    )
    assert moment(ended["ended"]) == moment(active["since"])
    with snapshot(engine) as session:
        assert list(verify(session, Scope(ENTRY_KINDS, DERIVED, ()))) == []


def moment(written: str) -> datetime:
    return datetime.fromisoformat(written)
