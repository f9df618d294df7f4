"""Many changes due at once: each happens exactly once, whatever is delivered how often.

Four processes execute, and some are killed meanwhile; every wake-up is sent many times over, and
job rows for proposals that are executed already are put in by hand. ``FORGE_LONG=1`` makes it a
thousand, as the benchmark does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from forge_core.clock import rfc3339
from forge_core.database import transaction
from forge_workers.app import app
from forge_workers.client import Ballot, Command
from forge_workers.stack.house import WORKERS, Worker
from forge_workers.waker import Waker
from tests.chaos import faults
from tests.chaos.house import FOUNDER, House, running_house

pytestmark = pytest.mark.processes

PROPOSALS = 1_000 if os.environ.get("FORGE_LONG") else 200
EXECUTING = ("execute", "execute-too")


@pytest.fixture
def house() -> Iterator[House]:
    """Two workers with two processes each execute, and nobody else does."""
    others = [worker for worker in WORKERS if worker.name not in ("decide", "outside")]
    decide = Worker("decide", ("proposals", "closure", "recounts", "maintenance"), 1)
    with running_house(
        workers=(decide, *others, *(Worker(name, ("execution",), 2) for name in EXECUTING))
    ) as house:
        yield house


def deliver_again(house: House, over: threading.Event) -> None:
    """Every wake-up again and again, and rows that ask for what is done already."""
    waker = Waker(app, broker_url=house.stack.settings.broker_url)
    while not over.wait(0.05):
        waker.wake(["enforcement.execute"] * 50)
        with transaction(house.engine) as session:
            session.execute(
                text("""
                    INSERT INTO jobs (kind, key, once, payload, actor)
                    SELECT 'enforcement.execute', 'again:' || id || ':' || gen_random_uuid(), true,
                        jsonb_build_object('proposal_id', id), 'somebody'
                    FROM proposals WHERE status IN ('queued', 'executed')
                    ORDER BY random() LIMIT 20
                """)
            )
    waker.close()


@pytest.mark.timeout(400)
def test_what_is_due_at_once_has_one_effect_each(house: House) -> None:
    """INV-29, INV-31."""
    proposals = house.open([f"change {number}" for number in range(PROPOSALS)])
    answers = house.client.vote_many([Ballot(id_, FOUNDER, "for") for id_ in proposals])
    assert all(answer.accepted for answer in answers)
    closes_at: datetime = house.scalar("SELECT max(closes_at) FROM proposals")
    over = threading.Event()
    sender = threading.Thread(target=deliver_again, args=(house, over))
    sender.start()
    try:
        to = rfc3339(closes_at + timedelta(milliseconds=1))
        house.carry([Command("clock.advance", FOUNDER, {"to": to})])
        faults.kill_pool_process(house.stack, EXECUTING[0])
        faults.kill_pool_process(house.stack, EXECUTING[1])
        faults.kill_worker(house.stack, EXECUTING[0])
        house.until(lambda: house.undecided(proposals) == 0)
    finally:
        over.set()
        sender.join()

    assert {row.status for row in house.outcomes(proposals)} == {"executed"}
    assert house.scalar("SELECT count(*) FROM policies") == PROPOSALS
    assert house.scalar("SELECT count(*) FROM effects") == PROPOSALS
    for kind in ("proposal.executed", "policy.adopted"):
        count = "SELECT count(*), count(DISTINCT subject) FROM ledger_entries WHERE kind = :kind"
        assert tuple(house.rows(count, kind=kind)[0]) == (PROPOSALS, PROPOSALS)
    # What was sent too often was refused, and that is in the ledger, too.
    refused = house.scalar("SELECT count(*) FROM ledger_entries WHERE kind = 'execution.refused'")
    assert refused > 0
