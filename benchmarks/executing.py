"""Executing changes that are all due at once, with every wake-up delivered many times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figure import Figure
from benchmarks.house import ALICE, House, running_house
from forge_workers.app import app
from forge_workers.client import Ballot, Command
from forge_workers.stack.house import WORKERS, Worker
from forge_workers.waker import Waker

HOURS = 73  # the default voting is 72 h
# Four processes execute, and nobody else does.
EXECUTE = Worker("execute", ("execution",), 4)
DECIDE = Worker("decide", ("proposals", "closure", "recounts", "maintenance"), 1)


def measure(*, proposals: int) -> list[Figure]:
    """Settings changed by policies and votes of their own; timed from the first to the last.

    The closing that comes before is not part of it: what is approved waits behind a freeze, and
    the clock begins when that ends.
    """
    others = tuple(worker for worker in WORKERS if worker.name not in ("decide", "outside"))
    with running_house(workers=(DECIDE, EXECUTE, *others)) as house:
        _queue(house, proposals)
        (freeze,) = house.query("SELECT id FROM execution_windows")
        with delivered_again(house), house.pace(proposals) as executed:
            thaw = Command("enforcement.thaw", ALICE, {"window": freeze[0], "reason": "measured"})
            sent = house.client.commands([thaw])
            house.until(lambda: _executed(house) == proposals)
        house.client.wait_many(sent)
        effects = house.number("SELECT count(*) FROM effects")
        if effects != proposals:
            raise AssertionError(f"{effects} effects of {proposals} proposals")
        refused = house.number(
            "SELECT count(*) FROM ledger_entries WHERE kind = 'execution.refused'"
        )
    return [
        Figure(
            f"executing {proposals:,} proposals due at once",
            executed().rate,
            "/s",
            ">=",
            150,
            {
                "executed": executed().shown("proposals"),
                "effects": f"{effects:,}, each once",
                "attempts refused": f"{refused:,}",
            },
        )
    ]


def _queue(house: House, proposals: int) -> None:
    """Vote so many policies through, and hold them back by a freeze."""
    ids = house.open_votings(proposals)
    answers = house.client.vote_many([Ballot(id_, ALICE, "for") for id_ in ids])
    if not all(answer.accepted for answer in answers):
        raise AssertionError("a ballot was refused")
    until = str(house.query("SELECT to_json(forge_now() + INTERVAL '10 days') #>> '{}'")[0][0])
    hold = Command("enforcement.freeze", ALICE, {"until": until, "reason": "measured"})
    forward = Command("clock.advance", ALICE, {"seconds": HOURS * 3600})
    for command in (hold, forward):
        for answer in house.client.wait_many(house.client.commands([command])):
            answer.require_done()
    house.until(lambda: _in(house, "queued") == proposals)


@contextmanager
def delivered_again(house: House) -> Iterator[None]:
    """Send the wake-up for executions again and again while the block lasts."""
    over = threading.Event()
    waker = Waker(app, broker_url=house.settings.broker_url)

    def send() -> None:
        while not over.wait(0.2):
            waker.wake(["enforcement.execute"] * 20)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        waker.close()


def _executed(house: House) -> int:
    return _in(house, "executed")


def _in(house: House, status: str) -> int:
    return house.number("SELECT count(*) FROM proposals WHERE status = %s", status)
