"""A house for the tests: one database, entered the way services enter it, worked without Celery.

Commands go in through ``forge_submit_commands`` as the client role, ballots through
``forge_accept_ballots``; steps are performed by ``forge_core.jobs.perform`` as the application's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from sqlalchemy import URL, Engine, make_url, text

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import ActionKind
from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.clock import rfc3339
from forge_core.database import make_engine, snapshot, transaction
from forge_core.enforcement.outbox import deliver_next
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
from forge_core.tables import DERIVED
from forge_core.wiring import CATALOGUE, CHORES, DERIVATIONS, ENTRY_KINDS, JOB_KINDS
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
"""Weights 5, 3, 3, 3, 1 and 0.5: 15.5 in all, so that 4.65 make a quorum.

Nobody reviews, and no five of them weigh alike: the protected track is closed to them.
"""

REVIEWERS = ("rae", "ray", "rex", "ria", "rob", "ron", "roy", "rue")

FULL_FOUNDERS = (
    *FOUNDERS,
    Founder("carl", TrustLevel.CORE),
    Founder("cleo", TrustLevel.CORE),
    Founder("gail", TrustLevel.TRUSTED, (Role.GUARDIAN,)),
    *(Founder(name, TrustLevel.TRUSTED, (Role.REVIEWER,)) for name in REVIEWERS),
)
"""Enough for every track: 52.5 in all, so that 15.75 make a quorum; eight may review."""

APPROVERS = ("cora", "gus", "tara", *REVIEWERS)
"""Those of them who are founders vote for what is to be approved: 11 of 15.5, or 35 of 52.5."""

POLICY: Mapping[str, Any] = {"text": "Be kind."}


def volume(key: str = "platform.volume", **hooks: Any) -> Capability:
    """A capability of a platform's own, with what it does when it changes: 0 to 11, at first 5."""
    return Capability(
        key=key,
        klass=CapabilityClass.ORDINARY,
        description="how loud it is",
        type="integer",
        default=5,
        least=0,
        most=11,
        **hooks,
    )


def catalogue_with(*capabilities: Capability, kinds: Iterable[ActionKind[Any]] = ()) -> Catalogue:
    """The house's catalogue with more capabilities, and with these kinds in their types' place."""
    by_name = {type_: CATALOGUE.kind(type_) for type_ in CATALOGUE.types}
    by_name |= {kind.name: kind for kind in kinds}
    return Catalogue((*CATALOGUE, *capabilities), by_name.values(), CATALOGUE.orders)


def kinds_for(catalogue: Catalogue) -> Mapping[str, JobKind]:
    """The wired kinds of job, with another catalogue where they take one."""
    return {name: _with_catalogue(kind, catalogue) for name, kind in KINDS.items()}


def _with_catalogue(kind: JobKind, catalogue: Catalogue) -> JobKind:
    if not isinstance(kind.step, partial) or "catalogue" not in kind.step.keywords:
        return kind
    return replace(kind, step=partial(kind.step.func, catalogue=catalogue))


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

    def __init__(
        self, server: PostgresServer, name: str, *, founders: Sequence[Founder] = FOUNDERS
    ) -> None:
        self.server = server
        self.name = name
        self.known_founders(founders)
        self.catalogue = CATALOGUE
        self.kinds: Mapping[str, JobKind] = KINDS
        self.app: Engine = make_engine(server.url("forge_app", name), pool_size=8)
        self.client: Engine = make_engine(server.url("forge_client", name), pool_size=8)
        self.reader: Engine = make_engine(server.url("forge_reader", name), pool_size=2)
        self._looking: Connection | None = None
        self.names: dict[str, str] = {}

    def close(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None
        self.app.dispose()
        self.client.dispose()
        self.reader.dispose()

    def known_founders(self, founders: Sequence[Founder]) -> None:
        """With whom its ledger begins, and so who approves what is to be approved."""
        names = {founder.id for founder in founders}
        self.founders = founders
        self.approvers = [name for name in APPROVERS if name in names]

    def use(self, catalogue: Catalogue) -> None:
        """From now on its workers know this catalogue, as a platform declares it."""
        self.catalogue, self.kinds = catalogue, kinds_for(catalogue)

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

    def do(self, kind: str, actor: str, /, **payload: object) -> Mapping[str, Any]:
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
        for member in self.approvers:
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

    def end_voting(self, proposal: str) -> None:
        """Let this voting end, and no more time pass than that takes."""
        self.advance_to(self.column(proposal, "closes_at") + timedelta(microseconds=1))
        self.sweep()
        self.perform("proposals.close")

    def approved(self, proposer: str = "carl", **given: Any) -> str:
        """Opened, approved by vote and closed, waiting for review and sign-off."""
        proposal = self.open(proposer, **given)
        self.approve(proposal)
        self.end_voting(proposal)
        assert self.status(proposal) == "approved"
        return proposal

    def review_all(self, proposal: str) -> None:
        """As many reviewers approve as its terms ask for."""
        able = self.sql(
            "SELECT id FROM members JOIN member_roles ON member_id = id AND role = 'reviewer'"
            " WHERE level IN ('CORE', 'TRUSTED') AND id <> %s ORDER BY id",
            self.column(proposal, "proposer"),
        )
        for (member,) in able[: self.column(proposal, "(terms ->> 'reviewers')::integer") or 0]:
            self.review(proposal, member)

    def review(
        self, proposal: str, member: str, *, approves: bool = True, comment: str = "Read it."
    ) -> Mapping[str, Any]:
        given = {"proposal_id": proposal, "approves": approves, "comment": comment}
        return self.do("enforcement.review", member, **given)

    def sign_all(self, proposal: str) -> None:
        """As many of its yes-voters sign off as its terms ask for."""
        voters = self.sql(
            "SELECT member_id FROM effective_ballots WHERE proposal_id = %s AND choice = 'for'"
            " ORDER BY member_id",
            proposal,
        )
        share = self.column(proposal, "coalesce((terms ->> 'sign_off')::numeric, 0)")
        for (member,) in voters[: ceil(share * len(voters))]:
            self.do("enforcement.sign_off", member, proposal_id=proposal)

    def through_gates(self, proposal: str) -> None:
        """Reviewed and signed off: from approved to queued."""
        self.review_all(proposal)
        self.sign_all(proposal)
        assert self.status(proposal) == "queued"

    def protected(self, proposer: str = "carl", **given: Any) -> str:
        """Opened, approved by vote, reviewed and signed off: its timelock runs."""
        proposal = self.approved(proposer, **given)
        self.through_gates(proposal)
        return proposal

    def enacted(self, proposer: str = "carl", **given: Any) -> str:
        """Through the protected track to the end of its timelock, and executed if it can be."""
        proposal = self.protected(proposer, **given)
        self.ripen(proposal)
        return proposal

    def ripen(self, proposal: str) -> None:
        """Let its timelock end, and execute what is due then."""
        self.advance_to(self.column(proposal, "eta"))
        self.sweep()
        self.perform("enforcement.execute")

    def advance(self, **by: float) -> None:
        seconds = timedelta(**by) // timedelta(seconds=1)
        self.do("clock.advance", "cora", seconds=seconds)

    def advance_to(self, moment: datetime) -> None:
        """Until that moment; one that has passed already changes nothing."""
        self.do("clock.advance", "cora", to=rfc3339(moment))

    # Work

    def perform(self, kind: str) -> Performed:
        """Wake a kind, or a chore, once."""
        if kind in CHORE:
            return perform_chore(self.app, CHORE[kind])
        return perform(self.app, self.kinds[kind])

    def sweep(self) -> int:
        """Take back what expired and derive what is missing; returns how many jobs were derived."""
        with transaction(self.app) as session:
            take_back_expired(session, self.kinds)
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
            if not sum(self.perform(kind).claimed for kind in self.kinds):
                return

    def deliver(self) -> int:
        """Bring about every effect that waits in the outbox now; returns how many there were."""
        delivered = 0
        while deliver_next(self.app, self.catalogue):
            delivered += 1
        return delivered

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


def found_house(
    house: House,
    founders: Sequence[Founder] | None = None,
    *,
    sandbox: bool = True,
    starts_at: datetime | None = None,
) -> None:
    """Begin its ledger, with the founders it knows or with these."""
    if founders is not None:
        house.known_founders(founders)
    with transaction(house.app) as session:
        found(session, house.founders, sandbox=sandbox, starts_at=starts_at)
