"""Whoever changes their mind often, the last accepted ballot is the one that counts.

Four processes count, and some are killed. Every ballot is sent by two clients at once, each in an
order of its own, and by each again later.
``FORGE_LONG=1`` runs the whole 10,000 voters with 20 ballots each.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from forge_workers.client import Ballot, BallotAnswer, GovernanceClient
from forge_workers.stack.house import WORKERS, Worker
from tests.chaos import faults
from tests.chaos.house import House, running_house

pytestmark = pytest.mark.processes

LONG = bool(os.environ.get("FORGE_LONG"))
VOTERS, REVOTES = (10_000, 20) if LONG else (300, 6)
CLIENTS = 4
BATCH = 500 if LONG else 50
CHOICES = ("for", "against")
COUNTING = ("count", "count-too")

Sent = list[tuple[Ballot, BallotAnswer]]


@pytest.fixture
def house() -> Iterator[House]:
    decide = [worker for worker in WORKERS if "votes" not in worker.queues]
    with running_house(
        workers=(*decide, *(Worker(name, ("votes",), 2) for name in COUNTING))
    ) as house:
        yield house


def alternating(proposal: str, voters: Sequence[str], chance: random.Random) -> list[Ballot]:
    """Every voter's changes of mind, mixed at random with those of all others."""
    turns = [voter for voter in voters for _ in range(REVOTES)]
    chance.shuffle(turns)
    given = dict.fromkeys(voters, 0)
    ballots = []
    for voter in turns:
        ballots.append(Ballot(proposal, voter, CHOICES[given[voter] % len(CHOICES)]))
        given[voter] += 1
    return ballots


def send(house: House, ballots: Sequence[Ballot], chance: random.Random) -> Sent:
    """Send in batches; after each send some of what was sent before again, in any order."""
    sent: Sent = []
    # The same issuer: the same command id is the same command, whoever of them sends it.
    with GovernanceClient(issuer=house.client.issuer, settings=house.stack.settings) as client:
        for first in range(0, len(ballots), BATCH):
            batch = ballots[first : first + BATCH]
            sent += zip(batch, client.vote_many(batch), strict=True)
            again = chance.sample(sent, min(len(sent), BATCH // 2))
            repeated = client.vote_many([ballot for ballot, _ in again])
            assert all(answer.duplicate for answer in repeated)
            assert numbers(repeated) == numbers(known for _, known in again)
    return sent


def numbers(answers: Iterable[BallotAnswer]) -> list[int | None]:
    return [answer.ballot_id for answer in answers]


def keep_killing(house: House, over: threading.Event, chance: random.Random) -> int:
    """Kill a counting worker, or one of its processes, as soon as the last one is back."""
    kills = 0
    while not over.is_set():
        kill = chance.choice((faults.kill_worker, faults.kill_pool_process))
        kill(house.stack, chance.choice(COUNTING))
        kills += 1
        over.wait(1.0)  # the pace of the kills; nothing is expected of it
    return kills


@pytest.mark.timeout(1_800 if LONG else 300)
def test_the_last_accepted_ballot_of_every_voter_is_the_effective_one(house):
    voters = house.admit(VOTERS)
    [proposal] = house.open(["minds change"])
    ballots = alternating(proposal, voters, random.Random(4))
    shares = [ballots[number :: CLIENTS // 2] for number in range(CLIENTS // 2)]
    # The twin of each share has another order, so that either client may be the first.
    shares += [random.Random(7).sample(share, len(share)) for share in shares]
    over = threading.Event()
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        killing = pool.submit(keep_killing, house, over, random.Random(9))
        try:
            sending = [
                pool.submit(send, house, share, random.Random(number))
                for number, share in enumerate(shares)
            ]
            sent = [one for share in sending for one in share.result()]
        finally:
            over.set()
        kills = killing.result()
    house.until(lambda: not house.rows("SELECT FROM ballot_inbox"))

    numbered = {answer.ballot_id: ballot for ballot, answer in sent}
    assert len(numbered) == len(ballots) == len({ballot.command_id for ballot, _ in sent})
    last = {numbered[number].member_id: number for number in sorted(numbered)}
    effective = {
        row.member_id: (row.ballot_id, row.choice)
        for row in house.rows(
            "SELECT member_id, ballot_id, choice FROM effective_ballots WHERE proposal_id = :id",
            id=proposal,
        )
    }
    assert effective == {voter: (number, numbered[number].choice) for voter, number in last.items()}
    [row] = house.close([proposal])
    choices = [choice for _, choice in effective.values()]
    assert (row.for_ballots, row.against_ballots) == tuple(map(choices.count, CHOICES))
    assert row.revotes == VOTERS * (REVOTES - 1)
    assert house.scalar("SELECT count(*) FROM ballots") == VOTERS * REVOTES
    print(f"{len(sent)} ballots of {VOTERS} voters, {kills} kills")  # noqa: T201  # a result
