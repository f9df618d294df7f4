"""A whole house to be mistreated: real servers, real workers, a sandbox ledger and a client."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
import redis
from sqlalchemy import Engine, text
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError

from forge_core.clock import rfc3339
from forge_core.database import make_engine, transaction
from forge_core.ids import uuid7
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_workers.client import Answer, Ballot, Command, GovernanceClient
from forge_workers.stack.house import WORKERS, Worker
from forge_workers.stack.up import Stack, running_stack
from tests.support import short_folder

FOUNDER = "founder"
GENEROUS = 60.0
"""Seconds to wait for what must come; only a failing test waits so long."""


@dataclass
class House:
    """A running stack, founded as a sandbox, and what a test does with it."""

    stack: Stack
    engine: Engine
    client: GovernanceClient
    voters: list[str] = field(default_factory=list)

    # Governance

    def admit(self, count: int, level: TrustLevel = TrustLevel.STANDARD) -> list[str]:
        """Admit voters, once for a house, and return their ids."""
        self.voters = members = [f"voter-{number:05}" for number in range(count)]
        parts = [members[first : first + 1_000] for first in range(0, count, 1_000)]
        self.carry([
            Command(
                "members.admit",
                FOUNDER,
                {"members": [{"id": id_, "level": level.value} for id_ in part], "source": "test"},
            )
            for part in parts
        ])  # fmt: skip
        return members

    def open(self, titles: Sequence[str], *, hours: int = 1) -> list[str]:
        """Create and activate a policy proposal for each title."""
        created = self.carry([
            Command(
                "proposals.create",
                FOUNDER,
                {
                    "type": "policy",
                    "title": title,
                    "description": "for a test",
                    "payload": {},
                    "voting_hours": hours,
                },
            )
            for title in titles
        ])  # fmt: skip
        ids = [str(answer.result["proposal_id"]) for answer in created]
        self.carry([
            Command("proposals.activate", FOUNDER, {"proposal_id": id_}) for id_ in ids
        ])  # fmt: skip
        return ids

    def carry(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands and wait until all are done."""
        answers = self.client.wait_many(self.client.commands(commands), GENEROUS)
        for answer in answers:
            answer.require_done()
        return answers

    def close(self, proposals: Sequence[str]) -> list[Row[Any]]:
        """Move the clock just past the deadline and wait until everything is carried out."""
        closes_at: datetime = self.scalar(
            "SELECT max(closes_at) FROM proposals WHERE id = ANY(:ids)", ids=list(proposals)
        )
        to = rfc3339(closes_at + timedelta(milliseconds=1))
        self.carry([Command("clock.advance", FOUNDER, {"to": to})])
        self.until(lambda: self.undecided(proposals) == 0)
        return self.outcomes(proposals)

    def undecided(self, proposals: Sequence[str]) -> int:
        return int(
            self.scalar(
                "SELECT count(*) FROM proposals WHERE id = ANY(:ids)"
                " AND status IN ('draft', 'active', 'approved', 'queued')",
                ids=list(proposals),
            )
        )

    def outcomes(self, proposals: Sequence[str]) -> list[Row[Any]]:
        """Everything that was decided about these proposals, in the order given."""
        rows = self.rows(
            "SELECT id, status, decision, failure, for_weight, against_weight, abstain_weight,"
            " for_ballots, against_ballots, abstain_ballots, revotes"
            " FROM proposals JOIN tallies ON proposal_id = id WHERE id = ANY(:ids)",
            ids=list(proposals),
        )
        by_id = {row.id: row for row in rows}
        return [by_id[id_] for id_ in proposals]

    def carry_cancel(self, proposal: str) -> None:
        cancel = {"proposal_id": proposal, "reason": "the test is over"}
        self.carry([Command("proposals.cancel", FOUNDER, cancel)])

    def takes_a_proposal_through(self, title: str) -> None:
        """Propose, open, vote, close, execute: nothing on that way is stuck."""
        [proposal] = self.open([title])
        everybody = [FOUNDER, *self.voters]
        answers = self.client.vote_many([Ballot(proposal, voter, "for") for voter in everybody])
        assert all(answer.accepted for answer in answers), title
        [row] = self.close([proposal])
        assert (row.status, row.for_ballots) == ("executed", len(everybody)), title

    def probe(self) -> UUID:
        """Send a small command; its answer proves that the worker ``decide`` works."""
        return self.client.create_proposal(
            proposer=FOUNDER,
            type="policy",
            title="a probe",
            description="answered means recovered",
            payload={},
            command_id=uuid7(),
        )

    # Looking

    def rows(self, sql: str, /, **parameters: object) -> Sequence[Row[Any]]:
        with transaction(self.engine) as session:
            return session.execute(text(sql), parameters).all()

    def scalar(self, sql: str, /, **parameters: object) -> Any:
        [row] = self.rows(sql, **parameters)
        return row[0]

    def until(
        self, holds: Callable[[], object], what: str = "", seconds: float = GENEROUS
    ) -> float:
        """Wait for a condition; a database that is away counts as not yet. Returns the seconds."""
        began = time.monotonic()
        while True:
            try:
                if holds():
                    return time.monotonic() - began
            except DBAPIError:
                pass  # it was restarted; the next look makes a new connection
            assert time.monotonic() < began + seconds, f"not within {seconds} s {what}"
            time.sleep(0.02)

    # Processes

    def broker(self) -> redis.Redis[bytes]:
        return redis.Redis.from_url(self.stack.settings.broker_url)

    def pids(self, *names: str) -> dict[str, list[int]]:
        """The processes of these workers: the parent first, then its pool."""
        found = {}
        for name in names:
            parent = psutil.Process(self.stack.handle(name).pid)
            found[name] = [parent.pid, *sorted(child.pid for child in parent.children())]
        return found


@contextmanager
def running_house(*, workers: tuple[Worker, ...] = WORKERS, beat: bool = True) -> Iterator[House]:
    """Start a house; everything it started is ended with the block, also when a test fails."""
    folder = short_folder()
    try:
        with running_stack(folder / "home", web=False, beat=beat, workers=workers) as stack:
            engine = make_engine(stack.settings.database_url)
            try:
                with transaction(engine) as session:
                    roles = (Role.ADMIN, Role.GUARDIAN, Role.OPERATOR)
                    found(session, [Founder(FOUNDER, TrustLevel.CORE, roles)], sandbox=True)
                with GovernanceClient(issuer="tests", settings=stack.settings) as client:
                    yield House(stack, engine, client)
            finally:
                engine.dispose()
    finally:
        shutil.rmtree(folder)
