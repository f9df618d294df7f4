"""Ballots a second, end to end: from `vote_many` until each is counted and the inbox is empty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from itertools import count

from benchmarks import peers, rows
from benchmarks.figure import TIMES, Figure, Pace
from benchmarks.house import House, parts
from forge_core.ids import uuid7
from forge_workers.client import Ballot
from forge_workers.stack.house import WORKERS

BATCH = 2_000
VOTINGS = 20
REVOTES = 0.05


def measure(house: House, *, ballots: int, tasks: int) -> list[Figure]:
    """Ours beside one task a ballot (fewer of them: it is slow) and beside a bare SQL loop."""
    voters = ballots // VOTINGS
    house.add_members(voters)
    votings = house.open_votings(VOTINGS)
    given = cast(votings, voters)

    ours = _ours(house, given)
    url = peers.prepare_database(house)
    with closing(rows.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tallies (proposal_id) VALUES (%s)", [(id_,) for id_ in votings]
        )
    bare = _bare(house, url, given)
    tasked = _tasks(house, url, [(str(uuid7()), *ballot[1:]) for ballot in given[:tasks]])
    shown = {"Forge": ours.shown("ballots")}
    return [
        Figure(
            "ballots in batches : one Celery task a ballot",
            ours.rate / tasked.rate,
            TIMES,
            ">=",
            10,
            {**shown, "Celery": tasked.shown("ballots")},
        ),
        Figure(
            "ballots in batches : bare SQL loop",
            ours.rate / bare.rate,
            TIMES,
            ">=",
            0.4,
            {**shown, "bare SQL": bare.shown("ballots")},
        ),
    ]


def cast(votings: Sequence[str], voters: int) -> list[rows.Given]:
    """Everybody on every voting in random order, then some of them again."""
    chance = random.Random(2)
    pairs = [(voting, f"m{n}") for voting in votings for n in range(voters)]
    chance.shuffle(pairs)
    pairs += chance.sample(pairs, int(len(pairs) * REVOTES))
    return [
        (str(uuid7()), voting, member, chance.choice(("for", "against", "abstain")))
        for voting, member in pairs
    ]


def _ours(house: House, given: Sequence[rows.Given]) -> Pace:
    """From the first `vote_many` until the inbox is empty."""
    with house.pace(len(given)) as pace:
        for batch in parts(given, BATCH):
            house.client.vote_many([Ballot(p, m, choice) for _, p, m, choice in batch])
        house.until(lambda: not house.number("SELECT count(*) FROM ballot_inbox"))
    counted = house.number("SELECT count(*) FROM ledger_entries WHERE kind = 'ballot.cast'")
    assert counted == len(given), f"{counted} of {len(given)} ballots were counted"  # noqa: S101
    return pace()


def _bare(house: House, url: str, given: Sequence[rows.Given]) -> Pace:
    """One process, one transaction a batch, no Celery."""
    with closing(rows.connect(url)) as connection, house.pace(len(given)) as pace:
        first = 1
        for batch in parts(given, BATCH):
            with connection, connection.cursor() as cursor:
                rows.write_batch(cursor, batch, first)
            first += len(batch)
    return pace()


def _tasks(house: House, url: str, given: Sequence[rows.Given]) -> Pace:
    """From the first `apply_async` until the last task has committed."""
    counting = next(worker for worker in WORKERS if worker.name == "count")
    numbers = count(10_000_000)
    with closing(rows.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def written() -> int:
            cursor.execute("SELECT count(*) FROM ballots WHERE ballot_id >= 10000000")
            ((number,),) = cursor.fetchall()
            return int(number)

        with (
            peers.peer_worker(house, counting.concurrency, url),
            house.pace(len(given)) as pace,
        ):
            for ballot in given:
                peers.count.apply_async((ballot, next(numbers)))
            house.until(lambda: written() == len(given))
    return pace()
