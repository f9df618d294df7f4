"""The ledger: appending, sealing, verifying, proving and rebuilding, on a database of its own.

Nobody works on that database, so that every figure is of what is measured alone.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rfc8785
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from sqlalchemy import Engine, text

from benchmarks.figure import TIMES, Figure
from benchmarks.house import ALICE, House, parts
from benchmarks.rows import connect
from forge_core.clock import rfc3339
from forge_core.database import as_json, make_engine, migrate, run, snapshot, transaction
from forge_core.ids import uuid7
from forge_core.jobs.perform import perform, perform_chore
from forge_core.ledger.auditing import TreeAudit
from forge_core.ledger.checkpoints import CheckpointFile, Signer, checkpoint
from forge_core.ledger.entries import Entry, append
from forge_core.ledger.notes import SigningKey
from forge_core.ledger.rebuilding import rebuild_beside
from forge_core.ledger.receipts import Receipt, prove
from forge_core.ledger.received import received_entry
from forge_core.ledger.sealing import seal
from forge_core.ledger.tree import sealed_size
from forge_core.ledger.verifying import Scope, verify_prefix
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_core.tables import DERIVED
from forge_core.wiring import CHORES, ENTRY_KINDS, JOB_KINDS
from forge_workers.stack.roles import create_database

KINDS = {kind.name: kind for kind in JOB_KINDS}
COUNT = next(chore for chore in CHORES if chore.name == "votes.count")
BATCH = 2_000
PROOFS = 200

# Bodies as ballots have them, about 350 bytes each.
_LOAD = """
    INSERT INTO ledger_entries (kind, subject, body)
    SELECT 'ballot.cast', 'p-' || left(md5((n / 100)::text), 32), convert_to(
        '{"actor":"m' || n || '","at":"2026-01-01T00:00:00.000000Z","data":{"accepted_at":'
        || '"2026-01-01T00:00:00.000000Z","ballot":"' || n || '","choice":"for","command":"'
        || gen_random_uuid() || '","issuer":"bench","weight":"1"},"kind":"ballot.cast",'
        || '"subject":"p-' || left(md5((n / 100)::text), 32) || '","v":1}', 'UTF8')
    FROM generate_series(%s, %s) AS n
"""


@dataclass(frozen=True)
class Ledger:
    """A founded database that nobody else uses."""

    engine: Engine
    superuser: Connection


def measure(house: House, *, entries: int, appended: int, ballots: int) -> list[Figure]:
    """The five figures of the ledger."""
    figures = []
    with _database(house, "forge_ledger_rebuild") as ledger:
        figures.append(_rebuild(ledger, ballots))
    with _database(house, "forge_ledger_bench") as ledger:
        figures.append(_append(ledger, appended))
        figures.append(_seal(ledger, entries))
        figures.append(_verify(ledger))
        figures.append(_prove(ledger))
    return figures


@contextmanager
def _database(house: House, name: str) -> Iterator[Ledger]:
    postgres = house.stack.servers.postgres
    create_database(postgres, name)
    migrate(postgres.url("forge_migrate", name))
    engine = make_engine(postgres.url("forge_app", name))
    with transaction(engine) as session:
        found(session, [Founder(ALICE, TrustLevel.CORE, (Role.ADMIN,))], sandbox=True)
    with postgres.superuser(name) as superuser:
        superuser.autocommit = True
        yield Ledger(engine, superuser)
    engine.dispose()


def _query(ledger: Ledger, sql: str, *parameters: object) -> None:
    with ledger.superuser.cursor() as cursor:
        cursor.execute(sql, parameters or None)


# Appending


def _append(ledger: Ledger, count: int) -> Figure:
    """Batches of entries without folds, beside the same bytes encoded, hashed and inserted."""
    moment = time.time()
    _query(ledger, "CREATE TABLE bare (LIKE ledger_entries INCLUDING ALL)")
    _query(ledger, "ALTER TABLE bare ALTER COLUMN leaf_hash DROP EXPRESSION")
    _query(ledger, "GRANT ALL ON bare TO forge_app")
    address = ledger.engine.url.render_as_string(hide_password=False)
    ours, bare = [], []
    with connect(address) as plain:
        for batch in parts(range(count), BATCH):
            made = [_entry(number, moment) for number in batch]
            began = time.perf_counter()
            with transaction(ledger.engine) as session:
                append(session, made)
            middle = time.perf_counter()
            _append_bare(plain, made)
            ours.append(middle - began)
            bare.append(time.perf_counter() - middle)
    return Figure(
        "appending entries : rfc8785 + SHA-256 + insert",
        statistics.median(ours) / statistics.median(bare),
        TIMES,
        "<=",
        2,
        {
            "Forge": f"{BATCH / statistics.median(ours):,.0f} entries/s in batches of {BATCH:,}",
            "bare": f"{BATCH / statistics.median(bare):,.0f} entries/s, the same bytes",
        },
    )


def _entry(number: int, moment: float) -> Entry:
    at = datetime.fromtimestamp(moment + number, UTC)
    return received_entry("bench", uuid7(), "proposals.create", at)


def _append_bare(plain: Connection, entries: Sequence[Entry]) -> None:
    rows = []
    for entry in entries:
        body = rfc8785.dumps(_document(entry))
        leaf = hashlib.sha256(b"\x00" + body).hexdigest()
        rows.append(
            {"kind": entry.kind.name, "subject": entry.subject, "body": body.decode(), "leaf": leaf}
        )
    with plain.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bare (kind, subject, body, leaf_hash) "
            "SELECT kind, subject, convert_to(body, 'UTF8'), decode(leaf, 'hex') "
            "FROM json_to_recordset(%s) AS given (kind text, subject text, body text, leaf text)",
            (as_json(rows),),
        )
    plain.commit()


def _document(entry: Entry) -> dict[str, Any]:
    data: Mapping[str, Any] = entry.data
    return {
        "v": entry.kind.version,
        "kind": entry.kind.name,
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "subject": entry.subject,
        "data": dict(data),
        "command": entry.command,
    }


# Sealing, verifying, proving


def _seal(ledger: Ledger, count: int) -> Figure:
    """All entries that wait, in the sealer's own batches."""
    step = 100_000
    for first in range(0, count, step):
        _query(ledger, _LOAD, first, min(first + step, count) - 1)
    _query(ledger, "VACUUM (ANALYZE) ledger_entries")
    with transaction(ledger.engine) as session:
        waiting = int(session.execute(text("SELECT count(*) FROM ledger_unsealed")).scalar_one())
    chore = next(chore for chore in CHORES if chore.step is seal)
    began = time.perf_counter()
    while perform_chore(ledger.engine, chore).full:
        pass
    seconds = time.perf_counter() - began
    return Figure(
        f"sealing {waiting:,} entries",
        waiting / seconds,
        "entries/s",
        ">=",
        50_000,
        {"taken": f"{seconds:.1f} s"},
    )


def _verify(ledger: Ledger) -> Figure:
    """Order, leaves and root, beside a loop that fetches the same rows and hashes them."""
    _query(ledger, "VACUUM (ANALYZE) ledger_order")
    ours, bare = [], []
    address = ledger.engine.url.render_as_string(hide_password=False)
    with transaction(ledger.engine) as session:
        size = sealed_size(session)

    def verify_all() -> None:
        with snapshot(ledger.engine) as session:
            audit = TreeAudit()
            found = list(verify_prefix(session, audit, size))
            assert not found, found  # noqa: S101
            assert audit.frontier.size == size  # noqa: S101

    for _ in range(3):
        ours.append(_seconds(verify_all))
        bare.append(_seconds(lambda: _hash_all(address)))
    return Figure(
        f"verifying {size:,} entries : fetching and hashing them",
        statistics.median(ours) / statistics.median(bare),
        TIMES,
        "<=",
        1.5,
        {
            "Forge": f"{size / statistics.median(ours):,.0f} entries/s: order, leaves and root",
            "bare": f"{size / statistics.median(bare):,.0f} entries/s",
        },
    )


def _hash_all(address: str) -> None:
    with connect(address) as plain, plain.cursor("rows") as cursor:
        cursor.itersize = 10_000
        cursor.execute(
            "SELECT position, ledger_order.leaf_hash, body FROM ledger_order "
            "JOIN ledger_entries ON id = entry_id ORDER BY position"
        )
        for _position, leaf, body in cursor:
            assert hashlib.sha256(b"\x00" + bytes(body)).digest() == bytes(leaf)  # noqa: S101


def _prove(ledger: Ledger) -> Figure:
    """Receipts at random positions: find the leaf, build the path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        signer = Signer.beside(path, SigningKey.generate("forge.bench"))
        checkpoint(ledger.engine, signer, [CheckpointFile(Path(folder) / "checkpoints")])
    with transaction(ledger.engine) as session:
        size = sealed_size(session)
        chosen = random.Random(1).sample(range(size), min(PROOFS, size))
        rows = run(session, _CHOSEN, positions=chosen)
        receipts = [Receipt(bytes(row.body).decode()) for row in rows]
        prove(session, receipts[0])
        taken = [_seconds(lambda r=receipt: prove(session, r)) for receipt in receipts]  # type: ignore[misc]
    return Figure(
        f"a proof at {size:,} entries",
        1000 * statistics.median(taken),
        "ms",
        "<=",
        2,
        {"slowest of all": f"{1000 * max(taken):.1f} ms", "proofs": f"{len(taken)}"},
    )


_CHOSEN = text("""
    SELECT body FROM ledger_order JOIN ledger_entries ON id = entry_id
    WHERE position = ANY(:positions)
""")


# Rebuilding


def _rebuild(ledger: Ledger, ballots: int) -> Figure:
    """Fold a real history again and compare every row of every derived table."""
    _live_through(ledger.engine, ballots)
    with transaction(ledger.engine) as session:
        while seal(session):
            pass
    _query(ledger, "VACUUM (ANALYZE)")
    began = time.perf_counter()
    done = rebuild_beside(ledger.engine, Scope(ENTRY_KINDS, DERIVED))
    seconds = time.perf_counter() - began
    assert not done.found, done.found[:3]  # noqa: S101
    return Figure(
        f"rebuilding from {done.entries:,} entries and comparing",
        done.entries / seconds,
        "entries/s",
        ">=",
        20_000,
        {"taken": f"{seconds:.1f} s", "of them ballots": f"{ballots:,}"},
    )


def _live_through(engine: Engine, ballots: int) -> None:
    """Members, votings and ballots through the functions and steps of the house."""
    voters = max(min(ballots // 20, 10_000), 10)
    votings = max(ballots // voters, 1)
    members = [{"id": f"m{n}", "level": "STANDARD"} for n in range(voters)]
    for part in parts(members, 5_000):
        _submit(engine, "members.admit", {"source": "bench", "members": list(part)})
    ids = []
    for number in range(votings):
        payload = {"type": "policy", "title": f"Policy {number}", "description": "As it says.",
                   "payload": {}}  # fmt: skip
        answer = _submit(engine, "proposals.create", payload)
        ids.append(answer["proposal_id"])
        _submit(engine, "proposals.activate", {"proposal_id": ids[-1]})
    for proposal in ids:
        cast = [
            {"command_id": str(uuid7()), "proposal_id": proposal, "member_id": member["id"],
             "choice": "for"}
            for member in members
        ]  # fmt: skip
        for part in parts(cast, BATCH):
            with transaction(engine) as session:
                run(session, _ACCEPT, ballots=as_json(list(part)))
        while perform_chore(engine, COUNT).full:
            pass


_ACCEPT = text("SELECT * FROM forge_accept_ballots('bench', CAST(:ballots AS json))")
_SUBMIT = text("SELECT * FROM forge_submit_commands('bench', CAST(:commands AS json))")
_ANSWER = text("SELECT result FROM forge_answers('bench', ARRAY[CAST(:id AS uuid)])")


def _submit(engine: Engine, kind: str, payload: Mapping[str, Any]) -> Any:
    id_ = str(uuid7())
    command = {"command_id": id_, "kind": kind, "actor": ALICE, "payload": payload}
    with transaction(engine) as session:
        run(session, _SUBMIT, commands=as_json([command]))
    perform(engine, KINDS[kind])
    with transaction(engine) as session:
        return session.execute(_ANSWER, {"id": id_}).scalar_one()


def _seconds(measured: Callable[[], object]) -> float:
    began = time.perf_counter()
    measured()
    return time.perf_counter() - began
