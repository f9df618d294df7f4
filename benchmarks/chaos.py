"""A whole past voting replayed in a storm: ``python -m benchmarks.chaos [--dataset NAME]``.

While every ballot goes through the pipeline a worker is killed every few seconds, one is stopped
past its lease, the broker is wiped twice and killed once, and PostgreSQL crashes once. Prints what
happened when, and how long it took until everything accepted by then was counted and a command
was answered again. Exit status 0 only if the result is exact, and every fault was inflicted.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from forge_core.database import make_engine, transaction
from forge_core.errors import Unavailable
from forge_workers.client import Command, GovernanceClient
from forge_workers.replay.expected import expected
from forge_workers.replay.observe import Observer
from forge_workers.replay.plan import plan
from forge_workers.replay.report import Report, report
from forge_workers.replay.run import ISSUER, replay
from forge_workers.replay.sandbox import ensure_sandbox
from forge_workers.replay.source import Source, read
from forge_workers.stack.house import WORKERS, Worker
from forge_workers.stack.up import Stack, running_stack

DATA = Path(__file__).parents[2] / "shared" / "data"
DATASETS = {"polis": "polis-opendata", "decentraland": "decentraland-dao"}

# Two of each: while one is down or stopped the other works.
HOUSE = (*WORKERS, *(Worker(f"{one.name}-too", one.queues, one.concurrency) for one in WORKERS))
STOPPED = "decide-too"
PAUSE = 4.0  # seconds between two killed workers
LOOK = 0.05
# There is no such member: a worker that works refuses it, and it leaves no trace.
PROBE = ("members.release", "nobody", {"member_id": "nobody", "reason": "a probe"})
LONGEST = 180.0  # seconds a recovery may take before this gives up

Fault = Callable[[Stack], None]


def wipe_broker(stack: Stack) -> None:
    with redis.Redis.from_url(stack.settings.broker_url) as broker:
        broker.flushall()


def kill(name: str, stack: Stack) -> None:
    stack.handle(name).send(signal.SIGKILL, group=False)


def crash_postgres(stack: Stack) -> None:
    """Immediate shutdown: no checkpoint, every connection cut."""
    stack.handle("postgres").send(signal.SIGQUIT, group=False)


# Inflicted when this share of the ballots has been sent.
FAULTS: Mapping[float, tuple[str, Fault]] = {
    0.15: ("the broker is wiped", wipe_broker),
    0.35: ("PostgreSQL crashes", crash_postgres),
    0.55: ("the broker is killed", partial(kill, "broker")),
    0.75: ("the broker is wiped again", wipe_broker),
}


@dataclass(frozen=True)
class Event:
    """Something that was done to the house, and when all was well again (seconds)."""

    at: float
    what: str
    counted_after: float
    answered_after: float


@dataclass
class Storm:
    """Inflicts faults on a stack while a replay tells, as its `Watch`, how far it is."""

    stack: Stack
    ballots: int
    began: float = field(default_factory=time.monotonic)
    events: list[Event] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        settings = self.stack.settings
        self._engine = make_engine(settings.database_url)
        self._client = GovernanceClient(issuer="storm", settings=settings, patience=LONGEST)
        self._threads = ThreadPoolExecutor(16)
        self._running: list[Future[None]] = []
        self._sent = 0
        self._faults = dict(FAULTS)
        self._stop_is_due = True
        self._phases: set[str] = set()
        self._log = threading.Lock()

    # What the replay tells

    def phase(self, what: str) -> None:
        if (kind := what.split(maxsplit=1)[0]) not in self._phases:
            self._phases.add(kind)
            self._say(what)
        if what == "opening proposals" and self._stop_is_due:
            self._stop_is_due = False
            self._start(self._stop_past_lease)
        if what == "sending ballots" and not self._sent:
            self._start(self._keep_killing)

    def sent(self, ballots: int) -> None:
        self._sent += ballots
        for share in [share for share in self._faults if self._sent >= share * self.ballots]:
            what, fault = self._faults.pop(share)
            self.inflict(what, fault)

    def depths(self, waiting: Mapping[str, int]) -> None:
        pass

    def trouble(self, reason: str) -> None:
        pass

    # What is done

    def inflict(self, what: str, fault: Fault) -> None:
        """Do it now, and note in the background when all is well again."""
        fault(self.stack)
        self._start(partial(self._note, time.monotonic(), what))

    def end(self) -> None:
        """Wait for what is under way; raises what went wrong there."""
        self.over.set()
        for running in self._running:
            running.result()
        self._threads.shutdown()
        self._client.close()
        self._engine.dispose()

    def missed(self) -> list[str]:
        """Faults that were not inflicted, because the replay was over first."""
        missed = [what for what, _ in self._faults.values()]
        done = {event.what for event in self.events}
        return missed + [
            what for what in ("a worker was killed", self._stopped) if what not in done
        ]

    @property
    def _stopped(self) -> str:
        return f"{STOPPED} is stopped past its lease"

    def _start(self, work: Callable[[], None]) -> None:
        self._running.append(self._threads.submit(work))

    def _keep_killing(self) -> None:
        names = [worker.name for worker in HOUSE if worker.name != STOPPED]
        number = 0
        while not self.over.wait(PAUSE):
            name = names[number % len(names)]
            number += 1
            if self.stack.handle(name).alive:
                self.inflict("a worker was killed", partial(kill, name))

    def _stop_past_lease(self) -> None:
        """SIGSTOP to a worker that holds jobs, until another worker has done them; then SIGCONT."""
        handle = self.stack.handle(STOPPED)
        while not self.over.is_set():
            self._client.commands([Command(*PROBE) for _ in range(200)])  # something to hold
            handle.send(signal.SIGSTOP)
            at = time.monotonic()
            held = self._held()
            if held:
                self._say(f"{STOPPED} is stopped, holding {len(held)} jobs")
                self._until(lambda: not self._held(held))  # noqa: B023  # called at once
                handle.send(signal.SIGCONT)
                self._note(at, self._stopped)
                return
            handle.send(signal.SIGCONT)
            time.sleep(LOOK)

    def _held(self, among: Sequence[int] = ()) -> list[int]:
        """Claimed jobs that nobody finishes while we look, for longer than any takes here."""
        claimed = text(
            "SELECT id FROM jobs WHERE state = 'running'"
            " AND lease_until - INTERVAL '29 seconds' < clock_timestamp()"
        )
        time.sleep(0 if among else 2.5)
        with transaction(self._engine) as session:
            running = {row.id for row in session.execute(claimed)}
        return sorted(running & set(among)) if among else sorted(running)

    def _note(self, at: float, what: str) -> None:
        last = self._read("SELECT coalesce(max(ballot_id), 0) FROM ballot_inbox")
        probe = self._client.command(*PROBE)
        left = "SELECT count(*) FROM ballot_inbox WHERE ballot_id <= :last"
        self._until(lambda: self._read(left, last=last) == 0)
        counted = time.monotonic() - at
        self._client.wait(probe, LONGEST)
        answered = time.monotonic() - at
        self.events.append(Event(at - self.began, what, counted, answered))
        self._say(
            f"{what} at {at - self.began:.1f} s: ballots counted after {counted:.2f} s, "
            f"a command answered after {answered:.2f} s"
        )

    def _read(self, sql: str, **parameters: object) -> int:
        found: list[int] = []

        def look() -> bool:
            with transaction(self._engine) as session:
                found.append(int(session.execute(text(sql), parameters).scalar_one()))
            return True

        self._until(look)
        return found[-1]

    def _until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONGEST
        while True:
            try:
                if holds():
                    return
            except DBAPIError:
                pass  # it is being restarted
            if time.monotonic() > deadline:
                raise Unavailable(f"it did not recover within {LONGEST:g} s")
            time.sleep(LOOK)

    def _say(self, what: str) -> None:
        with self._log:
            print(f"{time.monotonic() - self.began:8.1f} s  {what}", flush=True)


def in_a_storm(source: Source, stack: Stack) -> tuple[Report, Storm]:
    """Replay a dataset on a stack that is being mistreated."""
    made = plan(source)
    wanted = expected(source, made.votes)
    engine = make_engine(stack.settings.database_url, pool_size=1)
    try:
        ensure_sandbox(engine)
        storm = Storm(stack, len(made.votes))
        try:
            with GovernanceClient(issuer=ISSUER, settings=stack.settings) as client:
                run = replay(made, client, Observer(engine), storm)
        finally:
            storm.end()
    finally:
        engine.dispose()
    return report(source, wanted, run), storm


def show(outcome: Report, storm: Storm) -> int:
    """Print the events and the comparison; return the exit status."""
    kinds: dict[str, list[Event]] = {}
    for event in sorted(storm.events, key=lambda event: event.at):
        kinds.setdefault(event.what, []).append(event)
    print("\nseconds until all ballots accepted by then were counted, and a command was answered:")
    for what, events in kinds.items():
        print(
            f"  {what} ({len(events)}): "
            f"{_spread([event.counted_after for event in events])}; "
            f"{_spread([event.answered_after for event in events])}"
        )
    run = outcome.run
    print(
        f"\n{outcome.proposals_matching:,} of {len(outcome.source.proposals):,} proposals exact; "
        f"{run.ballots_sent:,} ballots sent, {run.ballot_entries:,} ballot entries of "
        f"{run.ballot_entry_commands:,} commands; {run.duplicates_suppressed:,} repeated sends "
        f"suppressed; {run.seconds:.1f} s"
    )
    problems = [*outcome.problems(), *(f"not inflicted: {what}" for what in storm.missed())]
    if run.ballot_entries != len(outcome.source.votes):
        problems.append(f"the data set holds {len(outcome.source.votes):,} ballots")
    for problem in problems:
        print(problem)
    print("not exact" if problems else "exact")
    return 1 if problems else 0


def _spread(seconds: list[float]) -> str:
    return f"median {sorted(seconds)[len(seconds) // 2]:.2f}, longest {max(seconds):.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="polis")
    parser.add_argument("--data", type=Path, help="a directory with a dataset, instead")
    given: Any = parser.parse_args(arguments)
    source = read(given.data or DATA / DATASETS[given.dataset])
    home = Path(tempfile.mkdtemp(prefix="forge-chaos-"))
    home.chmod(0o711)  # the servers of root run under an account of their own
    try:
        with running_stack(home / "home", web=False, workers=HOUSE) as stack:
            return show(*in_a_storm(source, stack))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
