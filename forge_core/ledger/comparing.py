"""Comparing derived tables row by row: what is live against what the entries make."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Column, Integer, Numeric, Table, Text, text
from sqlalchemy.orm import Session

from forge_core.ledger.discrepancy import Discrepancy

CHUNK = 10_000
MOST_SHOWN = 1_000  # of one table: whoever changed everything need not be told every row

Row = tuple[Any, ...]


def compare(
    table: Table, live: tuple[Session, str], rebuilt: tuple[Session, str]
) -> Iterator[Discrepancy]:
    """Every row that differs, is missing or should not be there. Each side is (session, schema)."""
    yield from islice(_differences(table, _stream(table, *live), _stream(table, *rebuilt)),
                      MOST_SHOWN)  # fmt: skip


def _differences(table: Table, live: Iterator[Row], made: Iterator[Row]) -> Iterator[Discrepancy]:
    """A merge of two streams in the order of the primary key."""
    columns = [column.name for column in table.columns]
    keys = [columns.index(column.name) for column in table.primary_key.columns]

    def key(row: Row) -> Row:
        return tuple((row[n] is None, row[n]) for n in keys)  # as the database sorts

    def said(row: Row) -> str:
        return ", ".join(str(row[n]) for n in keys)

    have, want = next(live, None), next(made, None)
    while have is not None or want is not None:
        if have == want:
            have, want = next(live, None), next(made, None)
        elif want is None or (have is not None and key(have) < key(want)):
            assert have is not None  # noqa: S101  # one of the two is there
            yield Discrepancy(table.name, None, f"{said(have)}: no entry made this row")
            have = next(live, None)
        elif have is None or key(want) < key(have):
            yield Discrepancy(table.name, None, f"{said(want)}: the row that entries made is gone")
            want = next(made, None)
        else:
            changed = [c for c, a, b in zip(columns, have, want, strict=True) if a != b]
            meaning = f"{said(have)}: {', '.join(changed)} is not what the entries say"
            yield Discrepancy(table.name, None, meaning)
            have, want = next(live, None), next(made, None)


def _stream(table: Table, session: Session, schema: str) -> Iterator[Row]:
    """Rows in the order of their key."""
    session.execute(text("SET LOCAL timezone TO 'UTC'"))
    shown = ", ".join(_shown(column) for column in table.columns)
    order = ", ".join(
        column.name if isinstance(column.type, Integer) else f'{_shown(column)} COLLATE "C"'
        for column in table.primary_key.columns
    )
    # The driver's own cursor: millions of rows pass, and nobody needs them as more than tuples.
    raw: Any = session.connection().connection
    with raw.cursor(f"{schema}_{table.name}") as cursor:
        cursor.itersize = CHUNK
        cursor.execute(f"SELECT {shown} FROM {schema}.{table.name} ORDER BY {order}")  # noqa: S608  # names of our tables
        yield from cursor


def _shown(column: Column[Any]) -> str:
    """Integers and texts as they are; weights by value, for 0.0 and 0 are the same; else as text.

    In Python 1 equals true, and not every time that PostgreSQL holds is a time.
    """
    if isinstance(column.type, Integer | Text):
        return column.name
    if isinstance(column.type, Numeric):
        return f"trim_scale({column.name})::text"
    return f"{column.name}::text"
