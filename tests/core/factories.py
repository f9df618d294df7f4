"""A house for the tests: one database, entered the way services enter it, worked without Celery.

Commands go in through ``forge_submit_commands`` as the client role, ballots through
``forge_accept_ballots``; steps are performed by ``forge_core.jobs.perform`` as the application's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from sqlalchemy import URL, Engine, make_url, text

from forge_core.database import make_engine, snapshot, transaction
from forge_core.ids import uuid7
from forge_core.jobs.kinds import Chore, JobKind
from forge_core.jobs.perform import Performed, perform, perform_chore
from forge_core.jobs.sweep import derive, take_back_expired
from forge_core.ledger.checkpoints import CheckpointFile, CheckpointSink, Signer, checkpoint
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.entries import EntryKind, fold
from forge_core.ledger.notes import SigningKey
from forge_core.ledger.replay import by_name
from forge_core.ledger.statements import Checkpoint
from forge_core.ledger.verifying import Erased, Scope, verify
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_core.wiring import CHORES, DERIVATIONS, DERIVED, ENTRY_KINDS, JOB_KINDS
from forge_workers.stack.postgres import SUPERUSER, PostgresServer

ISSUER = "tests"
KINDS: Mapping[str, JobKind] = {kind.name: kind for kind in JOB_KINDS}
CHORE: Mapping[str, Chore] = {chore.name: chore for chore in CHORES}

ENTRIES: Mapping[str, EntryKind] = by_name(ENTRY_KINDS)

FOUNDERS = (
    Founder("cora", TrustLevel.CORE, (Role.ADMIN,)),
    Founder("gus", TrustLevel.TRUSTED, (Role.GUARDIAN,)),
    Founder("otto", TrustLevel.TRUSTED, (Role.OPERATOR,)),
    Founder("tara", TrustLevel.TRUSTED),
    Founder("stan", TrustLevel.STANDARD),
    Founder("sam", TrustLevel.SANDBOX),
)
"""Weights 5, 3, 3, 3, 1 and 0.5: 15.5 in all, so that 4.65 make a quorum."""

POLICY: Mapping[str, Any] = {"text": "Be kind."}


@dataclass(frozen=True)
class Answer:
    """What the house says to a command or a ballot."""

    state: str
    code: str | None
    message: str | None
    result: Mapping[str, Any]
    duplicate: bool = False
    ballot_id: int | None = None
    accepted_at: datetime | None = None


class House:
    """Commands in, steps performed, rows looked at."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name
        self.app: Engine = make_engine(server.url("forge_app", name), pool_size=8)
        self.client: Engine = make_engine(server.url("forge_client", name), pool_size=8)
        self._looking: Connection | None = None
        self.names: dict[str, str] = {}

    def close(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None
        self.app.dispose()
        self.client.dispose()

    # In

    def submit_many(self, commands: Sequence[Mapping[str, Any]], *, issuer: str = ISSUER) -> list:
        return self.submit_raw(json.dumps(commands), issuer=issuer)

    def submit_raw(self, commands: str, *, issuer: str = ISSUER) -> list[Answer]:
        """As any service may: whatever JSON it likes."""
        with transaction(self.client) as session:
            rows = session.execute(
                text("SELECT * FROM forge_submit_commands(:issuer, CAST(:rows AS json))"),
                {"issuer": issuer, "rows": commands},
            ).all()
        return [Answer(r.state, r.code, r.message, {}, duplicate=r.duplicate) for r in rows]

    def submit(
        self,
        kind: str,
        actor: str | None,
        payload: object,
        *,
        command_id: object = None,
        issuer: str = ISSUER,
    ) -> Answer:
        command = {
            "command_id": str(command_id or uuid7()),
            "kind": kind,
            "actor": actor,
            "payload": payload,
        }
        return self.submit_many([command], issuer=issuer)[0]

    def submit_id(self, kind: str, actor: str, payload: object) -> UUID:
        """Submit; returns the command's id."""
        command_id = uuid7()
        self.submit(kind, actor, payload, command_id=command_id)
        return command_id

    def receive(self, *command_ids: UUID, issuer: str = ISSUER) -> list[tuple[UUID, str, datetime]]:
        """Have the ledger say that commands were received; returns id, kind, time of each."""
        with transaction(self.client) as session:
            rows = session.execute(
                text("SELECT * FROM forge_receive_commands(:issuer, CAST(:ids AS uuid[]))"),
                {"issuer": issuer, "ids": [str(id_) for id_ in command_ids]},
            ).all()
        return [(row.command_id, row.kind, row.received_at) for row in rows]

    def answer(self, command_id: UUID, *, issuer: str = ISSUER) -> Answer:
        with transaction(self.client) as session:
            row = session.execute(
                text("SELECT * FROM forge_answers(:issuer, CAST(:ids AS uuid[]))"),
                {"issuer": issuer, "ids": [str(command_id)]},
            ).one()
        return Answer(row.state, row.code, row.message, row.result or {})

    def command(
        self, kind: str, actor: str | None, payload: object, *, command_id: UUID | None = None
    ) -> Answer:
        """Submit one command, perform its kind, and give the answer."""
        command_id = command_id or uuid7()
        submitted = self.submit(kind, actor, payload, command_id=command_id)
        if submitted.state != "pending":
            return submitted
        self.perform(kind)
        return self.answer(command_id)

    def do(self, kind: str, actor: str, **payload: object) -> Mapping[str, Any]:
        """A command that has to succeed; returns its result."""
        answer = self.command(kind, actor, payload)
        assert answer.state == "done", answer
        return answer.result

    def vote(
        self,
        proposal: str,
        member: str,
        choice: str,
        *,
        command_id: object = None,
        issuer: str = ISSUER,
    ) -> Answer:
        ballot = {
            "command_id": str(command_id or uuid7()),
            "proposal_id": proposal,
            "member_id": member,
            "choice": choice,
        }
        return self.vote_many([ballot], issuer=issuer)[0]

    def vote_many(
        self, ballots: Sequence[Mapping[str, Any]], *, issuer: str = ISSUER
    ) -> list[Answer]:
        with transaction(self.client) as session:
            rows = session.execute(
                text("SELECT * FROM forge_accept_ballots(:issuer, CAST(:rows AS json))"),
                {"issuer": issuer, "rows": json.dumps(ballots)},
            ).all()
        return [
            Answer(
                "refused" if row.code else "accepted",
                row.code,
                row.message,
                {},
                row.duplicate,
                row.ballot_id,
                row.accepted_at,
            )
            for row in rows
        ]

    # Shorthands

    def propose(
        self,
        proposer: str = "tara",
        *,
        type: str = "policy",  # noqa: A002  # the field's own name
        payload: object = POLICY,
        **more: object,
    ) -> str:
        given = {"type": type, "title": "A title", "description": "What for.", "payload": payload}
        return str(self.do("proposals.create", proposer, **(given | more))["proposal_id"])

    def open(self, proposer: str = "tara", **given: Any) -> str:
        """Propose and activate."""
        proposal = self.propose(proposer, **given)
        self.do("proposals.activate", proposer, proposal_id=proposal)
        return proposal

    def approve(self, proposal: str) -> None:
        """Enough weight for, counted with the close."""
        for member in ("cora", "gus", "tara"):
            assert self.vote(proposal, member, "for").code is None

    def close_now(self) -> None:
        """Let every open voting end: an hour more than a week later, swept and closed."""
        self.advance(days=7, hours=1)
        self.sweep()
        self.perform("proposals.close")

    def decided(self, proposer: str = "tara", **given: Any) -> str:
        """Opened, approved by vote and closed: queued, with its execution waiting."""
        proposal = self.open(proposer, **given)
        self.approve(proposal)
        self.close_now()
        assert self.status(proposal) == "queued"
        return proposal

    def executed(self, proposer: str = "tara", **given: Any) -> str:
        proposal = self.decided(proposer, **given)
        self.perform("enforcement.execute")
        return proposal

    def advance(self, **by: float) -> None:
        seconds = timedelta(**by) // timedelta(seconds=1)
        self.do("clock.advance", "cora", seconds=seconds)

    # Work

    def perform(self, kind: str) -> Performed:
        """Wake a kind, or a chore, once."""
        if kind in CHORE:
            return perform_chore(self.app, CHORE[kind])
        return perform(self.app, KINDS[kind])

    def sweep(self) -> int:
        """Take back what expired and derive what is missing; returns how many jobs were derived."""
        with transaction(self.app) as session:
            take_back_expired(session, KINDS)
        derived = 0
        for derivation in DERIVATIONS:
            with transaction(self.app) as session:
                derived += derive(session, derivation)
        return derived

    def settle(self) -> None:
        """Sweep and perform everything until nothing is left to do now."""
        while True:
            self.sweep()
            while self.perform("votes.count").full:
                pass
            if not sum(self.perform(kind).claimed for kind in KINDS):
                return

    def seal(self) -> None:
        """Give every waiting entry its position."""
        while self.perform("ledger.seal").full:
            pass

    def checkpoint(self, folder: Path) -> Checkpoint:
        """Seal, sign and keep a copy in ``folder``, where the log's key lies."""
        self.seal()
        made = checkpoint(self.app, signer(folder), [CheckpointFile(folder / "checkpoints")])
        assert made is not None
        return made

    def verify(self, *sinks: CheckpointSink, **given: Any) -> list[Discrepancy | Erased]:
        """Everything that a verification reports."""
        scope = Scope(ENTRY_KINDS, DERIVED, sinks, **given)
        with snapshot(self.app) as session:
            return list(verify(session, scope))

    # Looking

    @contextmanager
    def superuser(self) -> Iterator[Connection]:
        with self.server.superuser(self.name) as connection:
            yield connection

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """As the superuser, in autocommit."""
        if self._looking is None:
            self._looking = connect(make_url(self.server.url(SUPERUSER, self.name)))
            self._looking.autocommit = True
        with self._looking.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *parameters: object) -> Any:
        """The one value that a query gives."""
        ((value,),) = self.sql(statement, *parameters)
        return value

    def status(self, proposal: str) -> str:
        return str(self.one("SELECT status FROM proposals WHERE id = %s", proposal))

    def column(self, proposal: str, name: str) -> Any:
        return self.one(f"SELECT {name} FROM proposals WHERE id = %s", proposal)

    def image(self, proposal: str) -> str:
        """The whole row as text, to see whether anything about it changed."""
        return str(self.one("SELECT p::text FROM proposals AS p WHERE id = %s", proposal))

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The bodies of the ledger's entries, in identity order."""
        rows = self.sql(
            "SELECT body FROM ledger_entries WHERE kind = coalesce(%s, kind) ORDER BY id", kind
        )
        return [json.loads(bytes(body)) for (body,) in rows]

    def counters_that_differ(self) -> list[tuple[Any, ...]]:
        """INV-10: proposals whose running counters are not the sum of their effective ballots."""
        sides = ("for", "against", "abstain")
        sums = ", ".join(
            f"coalesce(sum(weight) FILTER (WHERE choice = '{side}'), 0) AS {side}_weight,"
            f" count(*) FILTER (WHERE choice = '{side}') AS {side}_ballots"
            for side in sides
        )
        columns = [f"{side}_{unit}" for side in sides for unit in ("weight", "ballots")]
        return self.sql(
            f"SELECT tallies.proposal_id FROM tallies LEFT JOIN ("
            f"SELECT proposal_id, {sums} FROM effective_ballots GROUP BY proposal_id) AS counted"
            f" USING (proposal_id) WHERE ({', '.join('tallies.' + c for c in columns)})"
            f" IS DISTINCT FROM ({', '.join(f'coalesce(counted.{c}, 0)' for c in columns)})"
        )

    def derived_rows(self) -> dict[str, list[object]]:
        """Every derived row; numbers by value, because 0.0 and 0 are the same weight."""
        return {
            table.name: [
                json.loads(row, parse_float=Decimal, parse_int=Decimal)
                for (row,) in self.sql(f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY t")
            ]
            for table in DERIVED
        }

    def refold(self, *, ballots_at_once: bool = False) -> None:
        """Throw every derived row away and make it again from the entries."""
        self.sql(f"TRUNCATE {', '.join(self.derived_rows())}")
        with transaction(self.app) as session:
            entries = session.execute(text("SELECT id, kind FROM ledger_entries ORDER BY id")).all()
            for name, run in groupby(entries, key=lambda row: str(row.kind)):
                ids = [row.id for row in run]
                # Entries of one kind may belong to different steps; any split of ballots will do.
                together = ballots_at_once and name == "ballot.cast"
                for part in [ids] if together else [[id_] for id_ in ids]:
                    fold(session, ENTRIES[name], part)

    def freeze_clock(self, at: datetime) -> None:
        """From now on ``forge_now()`` says exactly this, until it is set again."""
        self.sql(
            f"CREATE OR REPLACE FUNCTION forge_now() RETURNS timestamptz LANGUAGE sql "
            f"VOLATILE SECURITY DEFINER AS $$ SELECT timestamptz '{at.isoformat()}' $$"
        )


def signer(folder: Path) -> Signer:
    """The log's signer with its memory; its key is made when there is none."""
    path = folder / "ledger-key"
    if not path.exists():
        path.write_text(SigningKey.generate("forge.test").to_text())
    return Signer.beside(path, SigningKey.parse(path.read_text()))


def connect(url: URL) -> Connection:
    """A connection of the driver's own, for what happens between statements."""
    return psycopg2.connect(
        host=url.query["host"], user=url.username, password=url.password, dbname=url.database
    )


def found_house(house: House, *, sandbox: bool = True) -> None:
    """Begin its ledger with ``FOUNDERS``."""
    with transaction(house.app) as session:
        found(session, FOUNDERS, sandbox=sandbox)
