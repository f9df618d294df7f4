"""The embedded stack that is measured: founded as a sandbox, with members and open votings.

Without Flower, which would take its share of two cores from both sides of every ratio. What a
benchmark needs in bulk before its clock starts is loaded by the superuser, past the pipeline.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import redis
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from sqlalchemy import Engine

from benchmarks.figure import Pace
from forge_core.database import make_engine, transaction
from forge_core.errors import Unavailable
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_core.settings import Settings
from forge_workers.client import Command, GovernanceClient
from forge_workers.stack.house import WORKERS, Worker
from forge_workers.stack.postgres import DATABASE
from forge_workers.stack.up import Stack, running_stack

Item = TypeVar("Item")

ALICE = "alice"
MOST_WAIT = 600.0


@dataclass(frozen=True)
class House:
    """A running stack and the ways into it."""

    stack: Stack
    settings: Settings
    client: GovernanceClient
    engine: Engine
    superuser: Connection

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows of a statement, as the superuser."""
        with self.superuser.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def number(self, sql: str, *parameters: object) -> int:
        """The one whole number a statement gives."""
        return int(str(self.query(sql, *parameters)[0][0]))

    @contextmanager
    def pace(self, count: int) -> Iterator[Callable[[], Pace]]:
        """Time the block, which does ``count`` things; afterwards the callable knows its pace."""
        spent, began = processor_seconds(psutil.Process()), time.perf_counter()
        taken: list[Pace] = []
        yield lambda: taken[0]
        seconds = time.perf_counter() - began
        taken.append(Pace(count, seconds, processor_seconds(psutil.Process()) - spent))

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that the stack does."""
        deadline = time.monotonic() + MOST_WAIT
        while not holds():
            if time.monotonic() > deadline:
                raise Unavailable(f"what was measured did not end within {MOST_WAIT:g} s")
            time.sleep(0.02)

    def waiting(self, queue: str, database: int = 0) -> int:
        """Messages in a queue of the broker."""
        url = self.settings.broker_url.removesuffix("/0") + f"/{database}"
        with redis.Redis.from_url(url) as client:
            return int(client.llen(queue))

    def add_members(self, most: int) -> None:
        """Members m0, m1, … up to ``most`` of them, STANDARD, of the present version."""
        have = self.number("SELECT count(*) FROM members WHERE id LIKE 'm%%'")
        if have >= most:
            return
        self.query("SET session_replication_role = replica")  # spare a million key checks
        for table, columns in {
            "members": "(id, level, active, admitted_at, version) SELECT 'm' || n, 'STANDARD', "
            "true, now(), version",
            "member_levels": "(member_id, version, level, active, changed_at, cause) "
            "SELECT 'm' || n, version, 'STANDARD', true, now(), 'loaded'",
        }.items():
            self.query(
                f"INSERT INTO {table} {columns} FROM electorate, generate_series(%s, %s) AS n",
                have,
                most - 1,
            )
        self.query("SET session_replication_role = origin")
        self.query("UPDATE electorate SET standard = standard + %s", most - have)
        self.query("ANALYZE members, member_levels")

    def open_votings(self, count: int) -> list[str]:
        """Open so many policy proposals through the pipeline; returns their ids."""
        drafts = [Command("proposals.create", ALICE, policy(n)) for n in range(count)]
        made = self.client.wait_many(self.client.commands(drafts), MOST_WAIT)
        ids = [str(answer.require_done()["proposal_id"]) for answer in made]
        opening = [Command("proposals.activate", ALICE, {"proposal_id": id_}) for id_ in ids]
        for answer in self.client.wait_many(self.client.commands(opening), MOST_WAIT):
            answer.require_done()
        return ids

    def clone_votings(self, template: str, prefix: str, count: int, eligible: int) -> None:
        """Copy an open voting ``count`` times as PREFIX0, PREFIX1, …, with empty tallies."""
        columns = [
            str(name)
            for (name,) in self.query(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'proposals'"
                " AND table_schema = 'public' ORDER BY ordinal_position"
            )
        ]
        values = {"id": f"'{prefix}' || n", "eligible_weight": str(eligible)}
        self.query("SET session_replication_role = replica")  # a copy does not begin as a draft
        self.query(
            f"INSERT INTO proposals ({', '.join(columns)}) "
            f"SELECT {', '.join(values.get(name, name) for name in columns)} "
            "FROM proposals, generate_series(0, %s) AS n WHERE id = %s",
            count - 1,
            template,
        )
        self.query(
            f"INSERT INTO tallies (proposal_id) SELECT '{prefix}' || n "
            "FROM generate_series(0, %s) AS n",
            count - 1,
        )
        self.query("SET session_replication_role = origin")
        # Execution compares the payload with what the ledger says was proposed.
        self.query(
            "INSERT INTO ledger_entries (kind, subject, body) "
            "SELECT kind, %s || n, "
            "convert_to(replace(convert_from(body, 'UTF8'), subject, %s || n), 'UTF8') "
            "FROM ledger_entries, generate_series(0, %s) AS n "
            "WHERE subject = %s AND kind = 'proposal.created'",
            prefix,
            prefix,
            count - 1,
            template,
        )


def policy(number: int) -> dict[str, object]:
    """The payload of a command that proposes a policy."""
    return {
        "type": "policy",
        "title": f"Policy number {number}",
        "description": f"What policy number {number} says, in one sentence of usual length.",
        "payload": {},
    }


def processor_seconds(process: psutil.Process) -> float:
    """Processor time of a process and all it runs: what a busy machine cannot blur."""
    spent = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # ended meanwhile
            times = one.cpu_times()
            spent += times.user + times.system
    return spent


@contextmanager
def running_house(workers: tuple[Worker, ...] = WORKERS) -> Iterator[House]:
    """A fresh stack in a temporary home, founded with one member; removed afterwards."""
    with temporary_home() as home, running_stack(home, web=False, workers=workers) as stack:
        settings = stack.settings
        engine = make_engine(settings.database_url)
        roles = (Role.ADMIN, Role.GUARDIAN, Role.OPERATOR)
        with transaction(engine) as session:
            found(session, [Founder(ALICE, TrustLevel.CORE, roles)], sandbox=True)
        with (
            stack.servers.postgres.superuser(DATABASE) as superuser,
            GovernanceClient(issuer="bench", settings=settings) as client,
        ):
            yield House(stack, settings, client, engine, superuser)
        engine.dispose()


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A path for a FORGE_HOME; the stack makes it, with the modes that its accounts need."""
    folder = Path(tempfile.mkdtemp(prefix="forge-bench-"))
    folder.chmod(0o711)
    try:
        yield folder / "home"
    finally:
        shutil.rmtree(folder)


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
