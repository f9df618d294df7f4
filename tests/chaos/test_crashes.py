"""Processes and servers die while ballots are being cast, and the same comes out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from forge_workers.client import Ballot
from forge_workers.stack.house import Worker
from forge_workers.stack.up import Stack
from tests.chaos import faults
from tests.chaos.house import House, running_house

# Long for a machine that is busy with other things.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PROPOSALS = 10
VOTERS = 300
BATCH = 25
CHOICES = ("for", "against", "abstain")

Fault = Callable[[Stack], None]

FAULTS: dict[str, Fault] = {
    "a counting worker is killed": partial(faults.kill_worker, name="count"),
    "the deciding worker is killed": partial(faults.kill_worker, name="decide"),
    "a process of a pool is killed": partial(faults.kill_pool_process, name="count"),
    "the broker is wiped": faults.wipe_broker,
    "the broker is killed": faults.kill_broker,
    "PostgreSQL crashes": faults.crash_postgres,
    "beat is killed": faults.kill_beat,
    "the broker is wiped again": faults.wipe_broker,
}


@pytest.fixture
def house() -> Iterator[House]:
    with running_house() as house:
        yield house


def planned(voters: Sequence[str]) -> list[tuple[int, str, str]]:
    """Two rounds of votes, so that every second one is a re-vote: proposal, voter, choice."""
    chance = random.Random(20)
    votes = []
    for _ in range(2):
        once = [(proposal, voter) for proposal in range(PROPOSALS) for voter in voters]
        chance.shuffle(once)
        votes += [(proposal, voter, chance.choice(CHOICES)) for proposal, voter in once]
    return votes


def cast(house: House, ballots: Sequence[Ballot]) -> None:
    for first in range(0, len(ballots), BATCH):
        answers = house.client.vote_many(ballots[first : first + BATCH])
        assert all(answer.accepted for answer in answers)


def cast_while(house: House, ballots: Sequence[Ballot], fault: Fault) -> float:
    """Inflict a fault while ballots are being sent; returns the seconds until all is well again."""
    accepted = partial(house.scalar, "SELECT count(*) FROM commands WHERE ballot_id IS NOT NULL")
    before = accepted()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(cast, house, ballots)
        house.until(lambda: accepted() > before)
        fault(house.stack)
        seconds = house.until(lambda: house.client.wait(house.probe(), 60).state == "done")
        sending.result()
    return seconds + house.until(lambda: not house.rows("SELECT FROM ballot_inbox"))


def voting(house: House, disturb: dict[str, Fault]) -> tuple[list[Any], list[str]]:
    """One whole voting, with a fault in each of its parts; the outcomes, and the proposals."""
    proposals = house.open([f"proposal {number}" for number in range(PROPOSALS)], hours=2)
    ballots = [
        Ballot(proposals[number], voter, choice) for number, voter, choice in planned(house.voters)
    ]
    size = -(-len(ballots) // max(1, len(disturb)))
    if not disturb:
        cast(house, ballots)
    for number, (name, fault) in enumerate(disturb.items()):
        seconds = cast_while(house, ballots[number * size : (number + 1) * size], fault)
        print(f"{name}: all is well again after {seconds:.2f} s")  # noqa: T201  # a result
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(house.close, proposals)
        if disturb:
            faults.kill_worker(house.stack, "decide")
        rows = closing.result()
    assert_each_command_counted_once(house, proposals, {ballot.command_id for ballot in ballots})
    return [tuple(row)[1:] for row in rows], proposals


def assert_each_command_counted_once(
    house: House, proposals: Sequence[str], commands: set[UUID]
) -> None:
    entries = house.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'command' AS command"
        " FROM ledger_entries WHERE kind = 'ballot.cast' AND subject = ANY(:ids)",
        ids=list(proposals),
    )
    assert len(entries) == len(commands)
    assert {UUID(row.command) for row in entries} == commands


def test_whatever_crashes_the_result_is_that_of_an_undisturbed_run(house):
    house.admit(VOTERS)
    undisturbed, _ = voting(house, {})
    disturbed, proposals = voting(house, FAULTS)
    assert disturbed == undisturbed
    assert expected(planned(house.voters)) == [
        (row.for_ballots, row.against_ballots, row.abstain_ballots)
        for row in house.outcomes(proposals)
    ]


def expected(votes: Sequence[tuple[int, str, str]]) -> list[tuple[int, ...]]:
    """Count the last vote of each voter, without any of our code."""
    last = {(proposal, voter): choice for proposal, voter, choice in votes}
    return [
        tuple(
            sum(of == proposal and choice == side for (of, _), choice in last.items())
            for side in CHOICES
        )
        for proposal in range(PROPOSALS)
    ]


@pytest.mark.parametrize("point", ["jobs.claimed", "jobs.finished"])
def test_a_worker_that_slept_through_its_lease_changes_nothing(house, point):
    """Stopped between claim and work, and stopped inside its transaction just before the end."""
    sleeper = Worker("sleeper", ("proposals",), 1)
    faults.add_worker(house.stack, sleeper, f"{point}=sleep:5")
    decide = house.stack.handle("decide")
    decide.stop()
    command = house.probe()
    state = partial(job, house, command)
    house.until(lambda: state().state == "running", "the sleeper claims it")
    house.until(lambda: point == "jobs.claimed" or is_locked(house, command), "it is at its point")
    with faults.stopped(house.stack, sleeper.name):
        decide.start()
        # The lease is moved, not waited for. It is not ours to move while the row is locked:
        # then the server ends the sleeper's transaction first, after ten seconds.
        house.until(lambda: expire(house, command) or state().attempt > 1, "the lease ends")
        assert house.client.wait(command, 60).state == "done"
        entries = entries_of(house, command)
        decide.stop()
    # One process, so that an answer to the next command says that its late work is over.
    assert house.client.wait(house.probe(), 60).state == "done"
    assert entries_of(house, command) == entries
    assert (len(entries), state().state, state().attempt) == (1, "done", 2)


def job(house: House, command: UUID) -> Any:
    [row] = house.rows("SELECT state, attempt FROM jobs WHERE command_id = :id", id=command)
    return row


def entries_of(house: House, command: UUID) -> list[Any]:
    return [
        tuple(row)
        for row in house.rows(
            "SELECT id, kind, subject FROM ledger_entries"
            " WHERE convert_from(body, 'UTF8')::jsonb ->> 'command' = :command",
            command=f"tests/{command}",
        )
    ]


def is_locked(house: House, command: UUID) -> bool:
    """Whether somebody has finished the job in a transaction that is still open."""
    free = "SELECT FROM jobs WHERE command_id = :id FOR UPDATE SKIP LOCKED"
    return not house.rows(free, id=command)


def expire(house: House, command: UUID) -> bool:
    """The first claim's; on a busy machine it may have ended by itself."""
    expired = house.rows(
        "UPDATE jobs SET lease_until = clock_timestamp() - INTERVAL '1 second' WHERE id IN"
        " (SELECT id FROM jobs WHERE command_id = :id AND state = 'running'"
        " AND attempt = 1 FOR UPDATE SKIP LOCKED) RETURNING id",
        id=command,
    )
    return bool(expired)
