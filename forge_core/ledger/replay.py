"""Replay: the folds over the entries, in order, into tables that were empty before.

The same folds as live, over the same bytes, in the order of positions; entries that wait for the
sealer come last, in identity order. Nothing is published, enqueued or written to the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from forge_core.database import describe, run
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.entries import EntryKind, fold

CHUNK = 20_000
MOST_AT_ONCE = 5_000

_SEALED = text("""
    SELECT position, id, kind, subject
    FROM (
        SELECT position, entry_id FROM ledger_order
        WHERE position >= :first AND (position < :until OR CAST(:until AS bigint) IS NULL)
        ORDER BY position LIMIT :most
    ) AS sealed LEFT JOIN ledger_entries ON id = entry_id
    ORDER BY position
""")
_UNSEALED = text("""
    SELECT NULL AS position, id, kind, subject
    FROM ledger_unsealed JOIN ledger_entries ON id = entry_id
    ORDER BY id
""")


@dataclass(frozen=True)
class Batch:
    """Neighbouring entries of one kind that may be folded by one statement."""

    kind: str
    ids: Sequence[int]
    positions: Sequence[int | None]


def by_name(kinds: Sequence[EntryKind]) -> dict[str, EntryKind]:
    """The kinds by their names, former ones included."""
    return {name: kind for kind in kinds for name in (kind.name, *kind.formerly)}


def batches(
    session: Session, kinds: Mapping[str, EntryKind], until: int | None = None
) -> Iterator[Batch]:
    """All entries in order, as far as position ``until`` (exclusive), cut where folds need it.

    A fold sees several entries at once only if each is on a subject of its own, or its kind says
    that this makes no difference.
    """
    kind, ids, positions, subjects = "", list[int](), list[int | None](), set[str]()
    for row in _rows(session, until):
        declared = kinds.get(row.kind)
        together = declared is not None and declared.together
        if (
            row.kind != kind
            or len(ids) == MOST_AT_ONCE
            or (row.subject in subjects and not together)
        ):
            if ids:
                yield Batch(kind, ids, positions)
            kind, ids, positions, subjects = row.kind, [], [], set()
        ids.append(row.id)
        positions.append(row.position)
        subjects.add(row.subject)
    if ids:
        yield Batch(kind, ids, positions)


def _rows(session: Session, until: int | None) -> Iterator:  # type: ignore[type-arg]
    """From row to row: a false position far away would make a long way of counting to it."""
    first = 0
    while rows := run(session, _SEALED, first=first, until=until, most=CHUNK):
        yield from (row for row in rows if row.id is not None)
        first = rows[-1].position + 1
    if until is None:
        yield from run(session, _UNSEALED)


def replay(
    session: Session, kinds: Sequence[EntryKind], *, until: int | None = None
) -> Iterator[Batch | Discrepancy]:
    """Fold everything; yields each batch when it is done, and each entry that cannot be folded."""
    known = by_name(kinds)
    for batch in batches(session, known, until):
        kind = known.get(batch.kind)
        if kind is None:
            yield Discrepancy(
                "ledger_entries", batch.positions[0], f"{batch.kind!r} is no kind of entry"
            )
        elif error := _try_fold(session, kind, batch.ids):
            yield from _one_by_one(session, kind, batch, error)
        yield batch


def _one_by_one(
    session: Session, kind: EntryKind, batch: Batch, error: str
) -> Iterator[Discrepancy]:
    """Which of a batch it was."""
    for id_, position in zip(batch.ids, batch.positions, strict=True):
        if len(batch.ids) == 1 or (error := _try_fold(session, kind, [id_])):
            meaning = f"entry {id_} ({kind.name}) does not fold: {error}"
            yield Discrepancy("ledger_entries", position, meaning)


def _try_fold(session: Session, kind: EntryKind, ids: Sequence[int]) -> str:
    """Fold in a savepoint; the error, if there was one."""
    try:
        with session.begin_nested():
            fold(session, kind, ids)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return describe(error)
    return ""


def shadow(session: Session, tables: Sequence[Table]) -> None:
    """Empty temporary tables in front of the derived ones, until this transaction ends.

    What this session folds from now on goes there: names without a schema are looked up among
    temporary tables first. They are as the models say; what the database has made of its own
    tables (a default, a rule, a constraint less) does not reach them.
    """
    # Before the first temporary table: with the default of 8 MB pages would go to disk and back.
    session.execute(text("SET temp_buffers = '256MB'"))
    for table in tables:
        for statement in _beside(table):
            session.execute(statement)


@cache
def _beside(table: Table) -> list[ExecutableDDLElement]:
    """What makes a table of this session, with its indexes and without its foreign keys."""
    beside = table.to_metadata(MetaData(), schema="pg_temp")
    beside.dialect_options["postgresql"]["on_commit"] = "DROP"
    return [
        CreateTable(beside, include_foreign_key_constraints=()),
        *(CreateIndex(index) for index in beside.indexes),
    ]
