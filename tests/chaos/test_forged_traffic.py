"""Whatever somebody puts on the broker: it decides nothing, and nobody stops working."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery
from sqlalchemy.engine import Row

from forge_core.jobs.prune import KEEP_DEAD_LETTERS
from forge_workers.app import app
from forge_workers.client import Ballot
from forge_workers.queues import QUEUE_OF, QUEUES
from forge_workers.stack.house import WORKERS as HOUSE_WORKERS
from forge_workers.waker import Waker
from tests.chaos import forgeries
from tests.chaos.house import FOUNDER, House, running_house

# Long for a machine that is busy with other things; nothing here waits for time to pass.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

QUEUE_OF_WORKER = {worker.name: worker.queues[0] for worker in HOUSE_WORKERS}
WORKERS = tuple(QUEUE_OF_WORKER)
NOBODY = 15  # a database of the broker that no worker reads


@dataclass
class Standing:
    """What forged traffic must not change."""

    pids: Mapping[str, Sequence[int]]
    outcomes: Sequence[Row[Any]]
    entries: int


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running_house() as house:
        yield house


@pytest.fixture
def forged(house: House) -> Iterator[House]:
    """The house, with proposals at several stages; afterwards all must be as it was."""
    voters = house.voters or house.admit(20)
    executed, rejected = house.open(["to be executed", "to be rejected"])
    answers = house.client.vote_many([
        *(Ballot(executed, voter, "for") for voter in voters),
        *(Ballot(rejected, voter, "against") for voter in voters),
    ])  # fmt: skip
    assert all(answer.accepted for answer in answers)
    house.close([executed, rejected])
    [active] = house.open(["under way"], hours=168)
    assert house.client.vote(Ballot(active, FOUNDER, "for")).accepted
    house.until(lambda: not house.rows("SELECT FROM ballot_inbox"))
    # The house advises on what is open, and says so in the ledger.
    house.until(lambda: house.rows("SELECT FROM advice WHERE proposal_id = :id", id=active))
    house.until(lambda: not house.rows("SELECT FROM jobs WHERE state IN ('pending', 'running')"))
    proposals = [executed, rejected, active]
    assert [row.status for row in house.outcomes(proposals)] == ["executed", "rejected", "active"]
    before = standing(house, proposals)
    yield house
    until_drained(house)
    assert standing(house, proposals) == before
    house.takes_a_proposal_through("afterwards")
    house.carry_cancel(active)


def standing(house: House, proposals: Sequence[str]) -> Standing:
    return Standing(
        pids=house.pids(*WORKERS),
        outcomes=house.outcomes(proposals),
        entries=house.scalar(
            "SELECT count(*) FROM ledger_entries WHERE subject = ANY(:ids)", ids=proposals
        ),
    )


def until_drained(house: House) -> None:
    """Wait until no queue holds a message and none is left unacknowledged."""
    with house.broker() as broker:
        names = [queue.name for queue in QUEUES]
        house.until(
            lambda: not any(broker.llen(name) for name in names) and not broker.hlen("unacked")
        )


def inspecting(house: House) -> Any:
    """Ask the workers as Flower does."""
    forger = Celery("forger", broker=house.stack.settings.broker_url)
    return forger.control.inspect(timeout=2)


def until_answered(house: House) -> None:
    house.until(lambda: len(inspecting(house).ping() or {}) == len(WORKERS), "no answer to a ping")


def active_queues(house: House) -> dict[str, list[str]]:
    answers = inspecting(house).active_queues() or {}
    return {
        host.split("@")[0]: sorted(queue["name"] for queue in queues)
        for host, queues in answers.items()
    }


def push(house: House, queue: str, *messages: bytes) -> None:
    with house.broker() as broker:
        for first in range(0, len(messages), 500):
            broker.lpush(queue, *messages[first : first + 500])


def letters(house: House, last: int) -> int:
    return int(house.scalar("SELECT count(*) FROM dead_letters WHERE id > :last", last=last))


@pytest.mark.parametrize("kinds", [forgeries.carrying, forgeries.garbage])
def test_what_is_no_wake_up_becomes_a_dead_letter_and_stops_nobody(forged, kinds):
    pids = forged.pids(*WORKERS)
    for name, message in kinds().items():
        last = forged.scalar("SELECT coalesce(max(id), 0) FROM dead_letters")
        copies = forgeries.MORE_THAN_PREFETCHED if len(message) < 2_000_000 else 2
        for queue in QUEUE_OF_WORKER.values():
            push(forged, queue, *[message] * copies)
        many = copies * len(WORKERS)
        forged.until(lambda: letters(forged, last) >= many, name)  # noqa: B023  # called at once
        assert forged.client.wait(forged.probe()).state == "done", name
        assert forged.pids(*WORKERS) == pids, name
        assert letters(forged, last) == many, name


def test_an_odd_wake_up_is_a_wake_up(forged):
    pids = forged.pids(*WORKERS)
    last = forged.scalar("SELECT coalesce(max(id), 0) FROM dead_letters")
    for name, message in forgeries.odd_wake_ups().items():
        for queue in QUEUE_OF_WORKER.values():
            push(forged, queue, *[message] * forgeries.MORE_THAN_PREFETCHED)
        until_drained(forged)
        assert forged.client.wait(forged.probe()).state == "done", name
        assert forged.pids(*WORKERS) == pids, name
    assert letters(forged, last) == 0


def test_thousands_of_made_up_wake_ups_of_every_kind_do_nothing(forged):
    before = forged.scalar("SELECT count(*) FROM jobs")
    for task, queue in QUEUE_OF.items():
        push(forged, queue, *(forgeries.wake_up(task) for _ in range(50)))
    probe = forged.probe()
    assert forged.client.wait(probe).state == "done"
    until_drained(forged)
    assert forged.scalar("SELECT count(*) FROM jobs") == before + 1  # the probe's


def test_captured_wake_ups_may_be_replayed(forged):
    url = forged.stack.settings.broker_url.removesuffix("/0") + f"/{NOBODY}"
    waker = Waker(app, broker_url=url)
    waker.wake(QUEUE_OF)
    waker.close()
    with forged.broker() as broker:
        captured = {}
        broker.execute_command("SELECT", NOBODY)
        captured = {queue.name: broker.lrange(queue.name, 0, -1) for queue in QUEUES}
        broker.execute_command("SELECT", 0)
    assert sum(map(len, captured.values())) == len(QUEUE_OF)
    for queue, messages in captured.items():
        push(forged, queue, *messages * 40)
    assert forged.client.wait(forged.probe()).state == "done"


def test_a_flood_of_dead_letters_stays_bounded(forged):
    message = forgeries.wake_up(body=[["do it"], {}, forgeries.NO_EMBED])
    for queue in QUEUE_OF_WORKER.values():
        push(forged, queue, *[message] * forgeries.MANY)
        push(forged, queue, *[b"garbage"] * forgeries.MANY)
    assert forged.client.wait(forged.probe()).state == "done"
    until_drained(forged)
    forged.until(lambda: letters(forged, 0) == KEEP_DEAD_LETTERS)


@pytest.mark.parametrize("kinds", [forgeries.commands, forgeries.garbage])
def test_what_is_broadcast_to_workers_is_not_obeyed(forged, kinds):
    with forged.broker() as broker:
        for name, message in kinds().items():
            copies = forgeries.MORE_THAN_PREFETCHED if len(message) < 2_000_000 else 2
            heard = [broker.publish("/0.celery.pidbox", message) for _ in range(copies)]
            assert min(heard) == len(WORKERS), name
            assert forged.client.wait(forged.probe()).state == "done", name
    until_answered(forged)
    assert active_queues(forged) == {one.name: sorted(one.queues) for one in HOUSE_WORKERS}


def test_events_nobody_sent_hurt_no_worker(forged):
    channel = "/0.celeryev/worker.heartbeat"
    with forged.broker() as broker:
        for message in (*forgeries.garbage().values(), *forgeries.carrying().values()):
            broker.publish(channel, message)
    assert forged.client.wait(forged.probe()).state == "done"


@pytest.mark.parametrize("key", ["proposals", "votes", "unacked", "unacked_index"])
def test_a_key_of_another_type_is_cleared_away(house, key):
    """A worker may be restarted over this; it must not be for ever."""
    voters = house.voters or house.admit(20)
    [proposal] = house.open([f"with a strange {key}"])
    with house.broker() as broker:
        broker.delete(key)
        broker.set(key, "mine")
        # Whatever else looks at the key before the worker does, each command wakes it again.
        house.until(lambda: house.client.wait(house.probe()) and broker.type(key) != b"string")
    assert house.client.vote(Ballot(proposal, voters[0], "for")).accepted
    house.until(lambda: not house.rows("SELECT FROM ballot_inbox"))
    house.takes_a_proposal_through(f"after a strange {key}")
    until_answered(house)
