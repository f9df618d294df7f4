"""The immune system: events taken in, checks, and how soon an overlay that fails is set aside."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from kombu import Connection, Consumer, Exchange, Queue

from benchmarks.figure import TIMES, Figure
from benchmarks.house import House
from forge_core.clock import forge_now, rfc3339
from forge_core.database import transaction
from forge_core.ids import uuid7
from forge_core.immune.checking import STEPS
from forge_core.immune.intake.recording import CHECKS
from forge_core.jobs.perform import perform
from forge_core.ledger.entries import Entry, append, keep_texts
from forge_core.overlays.register import REGISTERED
from forge_core.wiring import JOB_KINDS
from forge_workers.leases import Leases
from forge_workers.runtime_events import RuntimeEvents
from forge_workers.runtime_queue import QUEUE

BATCH = 500
OVERLAYS = 500
HUMMING = 250
"""Of them; the others fail, one after the other."""
BARE = Queue("bench.runtime", Exchange("bench.runtime", type="topic"), routing_key="#")
IN_A_ROW = 10
"""The failure that crosses the line: the tenth, one after the other."""


def measure(house: House, *, events: int, checks: int, outages: int) -> list[Figure]:
    """Each on the stack as it runs, with the consumer of events as its one process."""
    _register(house, [f"bench{n}" for n in range(OVERLAYS)])
    return [
        _ingested(house, events),
        _checked(house, checks),
        _contained(house, outages),
    ]


def _register(house: House, overlays: Sequence[str]) -> None:
    with transaction(house.engine) as session:
        at = forge_now(session)
        names = keep_texts(session, *overlays)
        entries = [
            Entry(
                REGISTERED,
                at,
                "alice",
                overlay,
                {"name": name, "version": "1.0.0", "description": None, "proposal": "p-bench"},
            )
            for overlay, name in zip(overlays, names, strict=True)
        ]
        append(session, entries)


def _ingested(house: House, events: int) -> Figure:
    """From a queue that is full to rows that are committed; a bare consumer only counts.

    From the first flush on: how soon a process is up is another matter.
    """
    random = Random(0)
    before = house.number("SELECT count(*) FROM runtime_events")

    def recorded() -> int:
        return house.number("SELECT count(*) FROM runtime_events") - before

    consumer = house.stack.handle("events")
    consumer.stop()
    with RuntimeEvents("bench", settings=house.settings, batch=BATCH) as runtime:
        for _ in range(events):
            runtime.overlay_invoked(
                f"bench{random.randrange(OVERLAYS)}", function="f", execution_ms=12, fuel=100,
                memory=4_096, caller="m1", **_outcome(random.random() >= 0.02),
            )  # fmt: skip
        runtime.flush()
    with house.pace(events) as bare:
        _consume_bare(house, events)
    consumer.start()
    house.until(lambda: recorded() > 0)  # it is up; what follows is its pace
    with house.pace(events - recorded()) as taken:
        # Counting rows fifty times a second would take its share of what is measured.
        house.until(lambda: not house.waiting(QUEUE))
        house.until(lambda: recorded() == events)
    return Figure(
        f"{events:,} runtime events in batches of {BATCH} recorded",
        taken().rate,
        "/s",
        ">=",
        10_000,
        {
            "recorded, summed up, windows told": taken().shown("events"),
            "a bare kombu consumer, which reads and forgets them": bare().shown("events"),
            "ratio": f"{taken().rate / bare().rate:.2f} {TIMES}",
        },
    )


def _outcome(success: bool) -> dict[str, Any]:  # noqa: FBT001  # an outcome it is
    return {"success": success} if success else {"success": False, "fault": "overlay"}


def _consume_bare(house: House, events: int) -> None:
    """The same batches, published to a queue of their own and acknowledged one by one."""
    data = {"overlay": "bench1", "function": "f", "success": True, "execution_ms": 12,
            "fuel": 100, "memory": 4_096, "caller": "m1"}  # fmt: skip
    event = {"specversion": "1.0", "id": str(uuid7()), "source": "bench", "data": data,
             "type": "overlay.invoked", "time": rfc3339(datetime.now(UTC))}  # fmt: skip
    body = json.dumps([event] * BATCH)
    counted = 0

    def on_message(batch: Any, message: Any) -> None:
        nonlocal counted
        counted += len(batch)
        message.ack()

    with Connection(house.settings.broker_url) as connection:
        producer = connection.Producer()
        for _ in range(events // BATCH):
            producer.publish(
                body, exchange=BARE.exchange, declare=[BARE], content_type="application/json",
                content_encoding="utf-8",
            )  # fmt: skip
        with Consumer(connection.channel(), [BARE], callbacks=[on_message], accept=["json"]):
            while counted < events // BATCH * BATCH:
                connection.drain_events(timeout=10)


def _checked(house: House, checks: int) -> Figure:
    """Overlays with full windows, of each of which one failure is to be judged; one process."""
    start = datetime.now(UTC) - timedelta(minutes=20)
    house.query(
        "INSERT INTO runtime_events (source, id, at, type, subject_kind, subject, success, data)"
        " SELECT 'checks', n || '.' || k, %s + k * INTERVAL '1 second', 'overlay.invoked',"
        " 'overlay', 'check' || n, k %% 3 > 0, '{}'"
        " FROM generate_series(1, %s) AS n, generate_series(1, 51) AS k",
        start,
        checks,
    )
    house.query("ANALYZE runtime_events")
    house.query(
        "INSERT INTO runtime_unjudged (subject_kind, subject, at, source, id)"
        " SELECT 'overlay', 'check' || n, %s + INTERVAL '51 seconds', 'checks', n || '.51'"
        " FROM generate_series(1, %s) AS n",
        start,
        checks,
    )
    kind = next(kind for kind in JOB_KINDS if kind.name == CHECKS["overlay"])
    assert kind.name in STEPS  # noqa: S101  # measured is what the workers do
    with house.pace(checks) as checked:
        house.query(
            "INSERT INTO jobs (kind, key, once, brief, payload, actor)"
            " SELECT %s, 'check:overlay:check' || n, false, true,"
            " jsonb_build_object('subject', 'check' || n), 'system'"
            " FROM generate_series(1, %s) AS n",
            kind.name,
            checks,
        )
        while perform(house.engine, kind).claimed:
            pass
        house.until(
            lambda: (
                not house.number("SELECT count(*) FROM runtime_unjudged WHERE source = 'checks'")
            )
        )
    return Figure(
        f"{checks:,} overlays checked, each on its last 50 calls",
        checked().rate,
        "/s",
        ">=",
        500,
        {"checks": checked().shown("checks")},
    )


def _contained(house: House, outages: int) -> Figure:
    """From the time of the failure that crosses the line, with a hum of calls that go well."""
    decided: list[float] = []
    refused: list[float] = []
    asked = Leases(house.settings)
    try:
        with RuntimeEvents("outage", settings=house.settings, linger=0.01) as runtime, _hum(house):
            for number in range(outages):
                overlay = f"bench{HUMMING + number % (OVERLAYS - HUMMING)}"
                crossed, seen = _outage(runtime, asked, overlay)
                began = house.query(
                    "SELECT began_at FROM immune_responses WHERE subject = %s"
                    " ORDER BY began_at DESC LIMIT 1",
                    overlay,
                )[0][0]
                decided.append((began - crossed).total_seconds())  # type: ignore[operator]  # a time
                refused.append((seen - crossed).total_seconds())
                _release(house, overlay)
    finally:
        asked.close()
    decided.sort()
    refused.sort()
    return Figure(
        f"an overlay's tenth failure to its quarantine, 99 of 100 of {outages:,} within",
        _share(decided, 0.99),
        "s",
        "<=",
        1,
        {
            "until the quarantine was decided": _shown(decided),
            "until a gateway that asks was told": _shown(refused),
        },
    )


def _outage(runtime: RuntimeEvents, asked: Leases, overlay: str) -> tuple[datetime, datetime]:
    """When the line was crossed, and when `may_invoke` first said no."""
    for _ in range(IN_A_ROW):
        crossed = datetime.now(UTC)
        runtime.overlay_invoked(overlay, success=False, fault="overlay", time=crossed)
    ends = time.monotonic() + 60
    while asked.may_invoke(overlay):
        if time.monotonic() > ends:
            raise AssertionError(f"{overlay} was never set aside")
        time.sleep(0.002)
    return crossed, datetime.now(UTC)


def _release(house: House, overlay: str) -> None:
    """So that the next one is not beyond the blast radius."""
    given = {"target_type": "overlay", "target_id": overlay, "reason": "measured"}
    command = house.client.command("immune.release", "alice", given)
    house.client.wait(command).require_done()


@contextmanager
def _hum(house: House) -> Iterator[Counter[str]]:
    """About two thousand calls a second that go well."""
    stopping, sent = threading.Event(), Counter[str]()

    def hum() -> None:
        random = Random(1)
        with RuntimeEvents("hum", settings=house.settings, batch=BATCH) as runtime:
            while not stopping.wait(0.05):
                for _ in range(100):
                    runtime.overlay_invoked(f"bench{random.randrange(HUMMING)}", success=True)
                sent["events"] += 100

    thread = threading.Thread(target=hum, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        stopping.set()
        thread.join()


def _share(taken: list[float], share: float) -> float:
    return taken[min(int(len(taken) * share), len(taken) - 1)]


def _shown(taken: list[float]) -> str:
    half, most, slowest = (_share(taken, share) for share in (0.5, 0.99, 1))
    return f"half {half:.3f} s, 99 % {most:.3f} s, slowest {slowest:.3f} s"
