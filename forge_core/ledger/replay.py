"""Replay: the folds over the entries, in order, into tables that were empty before.

The same folds as live, over the same bytes, in the order of positions; entries that wait for the
sealer come last, in identity order. Nothing is published, enqueued or written to the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import describe, run
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.entries import EntryKind, fold
from forge_core.ledger.tree import sealed_size

CHUNK = 20_000
MOST_AT_ONCE = 5_000

_SEALED = text("""
    SELECT position, id, kind, subject
    FROM ledger_order JOIN ledger_entries ON id = entry_id
    WHERE position >= :first AND position < :end
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
    position: int | None


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
    kind, ids, subjects, position = "", list[int](), set[str](), None
    for row in _rows(session, until):
        declared = kinds.get(row.kind)
        together = declared is not None and declared.together
        if (
            row.kind != kind
            or len(ids) == MOST_AT_ONCE
            or (row.subject in subjects and not together)
        ):
            if ids:
                yield Batch(kind, ids, position)
            kind, ids, subjects, position = row.kind, [], set(), row.position
        ids.append(row.id)
        subjects.add(row.subject)
    if ids:
        yield Batch(kind, ids, position)


def _rows(session: Session, until: int | None) -> Iterator:  # type: ignore[type-arg]
    size = sealed_size(session)
    end = size if until is None else min(until, size)
    for first in range(0, end, CHUNK):
        yield from run(session, _SEALED, first=first, end=min(first + CHUNK, end))
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
                "ledger_entries", batch.position, f"{batch.kind!r} is no kind of entry"
            )
        elif error := _try_fold(session, kind, batch.ids):
            yield from _one_by_one(session, kind, batch, error)
        yield batch


def _one_by_one(
    session: Session, kind: EntryKind, batch: Batch, error: str
) -> Iterator[Discrepancy]:
    """Which of a batch it was."""
    for id_ in batch.ids:
        if len(batch.ids) == 1 or (error := _try_fold(session, kind, [id_])):
            meaning = f"entry {id_} ({kind.name}) does not fold: {error}"
            yield Discrepancy("ledger_entries", batch.position, meaning)


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
    temporary tables first.
    """
    for table in tables:
        session.execute(text(
            f"CREATE TEMP TABLE {table.name} (LIKE public.{table.name} INCLUDING ALL) "
            "ON COMMIT DROP"
        ))  # fmt: skip
