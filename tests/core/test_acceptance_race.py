"""Accepting against closing: nothing acknowledged is lost, nothing late is counted, no deadlock."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from sqlalchemy import make_url

from forge_core.database import transaction
from forge_core.ids import uuid7
from forge_core.jobs.lifecycle import claim, finish
from tests.core.factories import ISSUER, KINDS, House, connect
from tests.support import until

ACCEPT = (
    f"SELECT command_id, ballot_id, accepted_at, code FROM forge_accept_ballots('{ISSUER}', %s)"
)
SIDES = ("for", "against", "abstain")


@contextmanager
def client(house: House) -> Iterator[Connection]:
    connection = connect(make_url(house.server.url("forge_client", house.name)))
    try:
        yield connection
    finally:
        connection.close()


def ballot(proposal: str, member: str, choice: str) -> dict[str, str]:
    return {
        "command_id": str(uuid7()),
        "proposal_id": proposal,
        "member_id": member,
        "choice": choice,
    }


def accept(connection: Connection, ballots: Sequence[dict[str, str]]) -> list[tuple[object, ...]]:
    """In the connection's open transaction: nothing is acknowledged before it commits."""
    with connection.cursor() as cursor:
        cursor.execute(ACCEPT, (json.dumps(ballots),))
        answers: list[tuple[object, ...]] = cursor.fetchall()
    return answers


def in_background(task: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=task)
    thread.start()
    return thread


def somebody_waits(house: House) -> bool:
    """Whether a backend of this house stands at a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    )
    return bool(house.one(waiting, house.name))


# One client, one closer, in a fixed order


def test_one_proposal_that_is_held_delays_no_other(house):
    held, free = house.open(), house.open()
    with client(house) as slow:
        accept(slow, [ballot(held, "tara", "for")])
        house.advance(days=4)
        house.sweep()
        house.perform("proposals.close")
        assert (house.status(held), house.status(free)) == ("active", "rejected")
        slow.commit()
    house.perform("proposals.close")
    assert house.status(held) == "rejected"


def test_nobody_holds_up_a_proposal_that_takes_no_ballots_any_more(house):
    """A client that asks for a ballot on a queued proposal locks nothing."""
    proposal = house.open()
    for voter in ("cora", "gus", "otto"):
        house.vote(proposal, voter, "for")
    house.advance(days=4)
    house.sweep()
    house.perform("proposals.close")
    with client(house) as thief:
        accept(thief, [ballot(proposal, "tara", "for")])
        house.perform("enforcement.execute")
        assert house.status(proposal) == "executed"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_ballots_are_accepted_with_a_fresh_snapshot_only(house, level):
    proposal = house.open()
    with client(house) as connection:
        connection.set_session(isolation_level=level)
        with pytest.raises(psycopg2.errors.InvalidTransactionState, match="READ COMMITTED only"):
            accept(connection, [ballot(proposal, "tara", "for")])


@pytest.mark.parametrize("commits", [True, False])
def test_closing_waits_for_a_ballot_in_flight_and_counts_it_iff_it_commits(house, commits):
    """INV-07, INV-21: accepted in the last microsecond, committed long after it."""
    proposal = house.open()
    closes_at = house.column(proposal, "closes_at")
    house.freeze_clock(closes_at)
    with client(house) as slow:
        ((_, ballot_id, accepted_at, code),) = accept(slow, [ballot(proposal, "tara", "for")])
        house.freeze_clock(closes_at + timedelta(microseconds=1))
        house.sweep()
        house.perform("proposals.close")
        status_meanwhile = house.status(proposal)
        slow.commit() if commits else slow.rollback()
    house.perform("proposals.close")

    assert (code, accepted_at) == (None, closes_at)
    assert status_meanwhile == "active"
    assert house.status(proposal) == "rejected"
    assert house.column(proposal, "decision")["totals"]["for"] == ("3" if commits else "0")
    counted = [(ballot_id,)] if commits else []
    assert house.sql("SELECT ballot_id FROM ballots WHERE counted") == counted


def test_a_ballot_that_comes_while_the_close_is_under_way_is_refused(house):
    """INV-22: it does not wait for the close, and a stream of such ballots never holds it up."""
    proposal = house.open()
    house.advance(days=4)
    house.sweep()
    answers: list[tuple[object, ...]] = []

    def vote() -> None:
        with client(house) as late:
            answers.extend(accept(late, [ballot(proposal, "tara", "for")]))
            late.commit()

    kind = KINDS["proposals.close"]
    with transaction(house.app) as session:
        jobs = claim(session, kind)
    with transaction(house.app) as session:
        finish(session, jobs, kind.step(session, jobs))
        voter = in_background(vote)
        voter.join()

    assert [code for *_, code in answers] == ["VOTING_CLOSED"]
    assert house.status(proposal) == "rejected"
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0


def test_cancelling_waits_for_a_ballot_in_flight_and_keeps_it_as_not_counted(house):
    """INV-23, INV-35."""
    proposal = house.open()
    with client(house) as slow:
        accept(slow, [ballot(proposal, "tara", "for")])
        cancel = {"proposal_id": proposal, "reason": "stop"}
        canceller = in_background(lambda: house.command("proposals.cancel", "gus", cancel))
        until(lambda: somebody_waits(house))
        slow.commit()
        canceller.join()

    assert house.status(proposal) == "cancelled"
    assert house.sql("SELECT member_id, counted FROM ballots") == [("tara", False)]
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0


def test_counting_does_not_wait_for_ballots_in_flight(house):
    """INV-10: what is committed is counted; what is not yet is counted later, in any order."""
    proposal = house.open()
    with client(house) as slow, client(house) as quick:
        accept(slow, [ballot(proposal, "tara", "for")])
        accept(quick, [ballot(proposal, "tara", "against")])
        quick.commit()
        house.perform("votes.count")
        early = house.sql("SELECT choice FROM effective_ballots")
        slow.commit()
    house.perform("votes.count")

    assert early == [("against",)]
    # The slow one was accepted first: committing late does not make it the later ballot.
    assert house.sql("SELECT choice FROM effective_ballots") == [("against",)]
    assert house.one("SELECT against_weight FROM tallies") == 3
    assert house.one("SELECT for_weight FROM tallies") == 0
    assert house.one("SELECT count(*) FROM ballots") == 2


def test_two_counters_at_once_count_every_ballot_once(house):
    """INV-10, INV-11."""
    proposals = [house.open() for _ in range(6)]
    order = random.Random(3)
    for proposal in proposals:
        members = [order.choice(("cora", "gus", "otto", "tara", "stan")) for _ in range(20)]
        house.vote_many([ballot(proposal, m, order.choice(SIDES)) for m in members])
    barrier = threading.Barrier(3)

    def count() -> None:
        barrier.wait()
        for _ in range(10):
            house.perform("votes.count")

    for counter in [in_background(count) for _ in range(3)]:
        counter.join()
    house.perform("votes.count")

    assert house.one("SELECT count(*) FROM ballot_inbox") == 0
    assert house.one("SELECT count(*) FROM ballots") == 120
    assert house.counters_that_differ() == []


# The storm


@dataclass
class Storm:
    """Clients of every temper, counters and closers, all at once, around ``closes_at``."""

    house: House
    proposals: list[str]
    members: list[str]
    acknowledged: dict[str, tuple[dict[str, str], int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def guarded(self, task: Callable[..., None], *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                task(*arguments)
            except BaseException as error:  # noqa: BLE001  # shown by the test, whatever it is
                self.errors.append(error)

        return in_background(run)

    def over(self) -> bool:
        """Whether every voting is decided."""
        return not self.house.one("SELECT count(*) FROM proposals WHERE status = 'active'")

    def held_up(self) -> bool:
        """Whether a proposal is due and not decided yet."""
        due = "SELECT count(*) FROM proposals WHERE status = 'active' AND closes_at < forge_now()"
        return bool(self.house.one(due))

    def note(self, batch: Sequence[dict[str, str]], answers: Sequence[tuple[object, ...]]) -> None:
        """After the commit: these answers have reached the client."""
        for given, (command, ballot_id, _, code) in zip(batch, answers, strict=True):
            assert str(command) == given["command_id"]
            if code is None:
                known = self.acknowledged.setdefault(str(command), (given, int(str(ballot_id))))
                assert known[1] == ballot_id, "the first answer again"
            else:
                self.refused.append(str(code))

    def batch(self, order: random.Random) -> list[dict[str, str]]:
        return [
            ballot(order.choice(self.proposals), order.choice(self.members), order.choice(SIDES))
            for _ in range(order.randint(1, 8))
        ]

    def steady(self, seed: int) -> None:
        """Votes, re-votes, and sends much of it again, some of it out of order."""
        order = random.Random(seed)
        sent: list[dict[str, str]] = []
        with client(self.house) as connection:
            while not self.over():
                batch = self.batch(order)
                if sent:
                    batch += order.sample(sent, k=min(3, len(sent)))
                order.shuffle(batch)
                answers = accept(connection, batch)
                connection.commit()
                self.note(batch, answers)
                sent += batch
            for known in order.sample(sent, k=min(50, len(sent))):
                answers = accept(connection, [known])
                connection.commit()
                if known["command_id"] in self.acknowledged:
                    assert answers[0][1] == self.acknowledged[known["command_id"]][1]

    def slow(self, seed: int) -> None:
        """Accepts in time and commits only when a due proposal cannot be closed without it."""
        order = random.Random(seed)
        with client(self.house) as connection:
            while not self.over():
                batch = self.batch(order)
                answers = accept(connection, batch)
                until(lambda: self.held_up() or self.over(), seconds=20)
                connection.commit()
                self.note(batch, answers)

    def aborting(self, seed: int) -> None:
        """Accepts and goes away: rolled back, or the connection lost without a word."""
        order = random.Random(seed)
        while not self.over():
            with client(self.house) as connection:
                for _ in range(5):
                    accept(connection, self.batch(order))
                    connection.rollback()
                accept(connection, self.batch(order))

    def counter(self) -> None:
        while not self.over():
            self.house.perform("votes.count")

    def closer(self) -> None:
        while not self.over():
            self.house.sweep()
            self.house.perform("proposals.close")
            self.house.sql("UPDATE jobs SET not_before = now() WHERE state = 'pending'")


def test_a_storm_around_closes_at_loses_nothing_and_counts_nothing_late(house, capfd):
    """INV-07, INV-08, INV-10, INV-21, INV-22: two closers, two counters, clients of all kinds."""
    members = [f"m{number}" for number in range(25)]
    admitted = [{"id": m, "level": ("STANDARD", "TRUSTED")[n % 2]} for n, m in enumerate(members)]
    house.do("members.admit", "cora", source="tests", members=admitted)
    proposals = [house.open() for _ in range(4)]
    for number, proposal in enumerate(proposals):
        house.sql(
            "UPDATE proposals SET closes_at = forge_now() + make_interval(secs => %s)"
            " WHERE id = %s",
            1.0 + number,
            proposal,
        )
    storm = Storm(house, proposals, members)
    threads = [
        *(storm.guarded(storm.steady, seed) for seed in range(3)),
        storm.guarded(storm.slow, 10),
        storm.guarded(storm.aborting, 20),
        *(storm.guarded(storm.counter) for _ in range(2)),
        *(storm.guarded(storm.closer) for _ in range(2)),
    ]
    for thread in threads:
        thread.join()

    assert storm.errors == []
    assert "40P01" not in capfd.readouterr().out, "a deadlock"
    assert storm.acknowledged
    assert set(storm.refused) <= {"VOTING_CLOSED", "PROPOSAL_NOT_ACTIVE"}

    acknowledged = {
        (number, given["proposal_id"], given["member_id"], given["choice"])
        for given, number in storm.acknowledged.values()
    }
    history = set(
        house.sql("SELECT ballot_id, proposal_id, member_id, choice FROM ballots WHERE counted")
    )
    assert history == acknowledged, "neither lost nor made up"
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0
    assert (
        house.sql(
            "SELECT ballot_id FROM ballots JOIN proposals ON id = proposal_id"
            " WHERE accepted_at > closes_at"
        )
        == []
    )

    last = {(p, m): (number, choice) for number, p, m, choice in sorted(acknowledged)}
    effective = house.sql("SELECT proposal_id, member_id, ballot_id, choice FROM effective_ballots")
    assert {(p, m): (number, choice) for p, m, number, choice in effective} == last
    assert house.counters_that_differ() == []
    weights = {m: (1, 3)[n % 2] for n, m in enumerate(members)}
    for proposal in proposals:
        totals = house.column(proposal, "decision")["totals"]
        for side in SIDES:
            expected = sum(
                weights[m]
                for (p, m), (_, choice) in last.items()
                if (p, choice) == (proposal, side)
            )
            assert Fraction(totals[side]) == expected
    assert len(house.entries("proposal.decided")) == len(proposals)
