"""Rebuilding: the derived tables made again from the entries, beside the live ones or elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from forge_core.database import snapshot, transaction
from forge_core.errors import Misconfigured, Refused
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.replay import Batch, replay, shadow
from forge_core.ledger.tree import sealed_size
from forge_core.ledger.verifying import Progress, Scope, compare_all, quiet

_EMPTY = text("""
    SELECT NOT EXISTS (SELECT FROM ledger_entries) AND NOT EXISTS (SELECT FROM instance)
""")
_OWNER = text("SELECT pg_has_role(current_user, 'forge_owner', 'MEMBER')")
_WAITING = text("""
    DELETE FROM ledger_unsealed
    WHERE EXISTS (SELECT FROM ledger_order WHERE ledger_order.entry_id = ledger_unsealed.entry_id)
""")
_NEXT_ID = text("""
    SELECT setval(pg_get_serial_sequence('ledger_entries', 'id'), coalesce(max(id), 1))
    FROM ledger_entries
""")

# What is copied, and the part of it that there was when :end entries were sealed.
_COPIED = {
    "ledger_entries (id, kind, subject, body)": (
        "SELECT id, kind, subject, body FROM ledger_entries",
        " WHERE id IN (SELECT entry_id FROM ledger_order WHERE position < {end})",
    ),
    "ledger_order (position, entry_id, leaf_hash)": (
        "SELECT position, entry_id, leaf_hash FROM ledger_order",
        " WHERE position < {end}",
    ),
    "ledger_tiles (level, index, root)": (
        "SELECT level, index, root FROM ledger_tiles",
        " WHERE (index + 1)::numeric * power(256::numeric, level + 1) <= {end}",
    ),
    "ledger_checkpoints (size, note)": (
        "SELECT size, note FROM ledger_checkpoints",
        " WHERE size <= {end}",
    ),
    "ledger_cosignatures (size, witness, line)": (
        "SELECT size, witness, line FROM ledger_cosignatures",
        " WHERE size <= {end}",
    ),
}


@dataclass
class Rebuilt:
    """What came of it."""

    entries: int
    found: Sequence[Discrepancy]


def rebuild_beside(engine: Engine, scope: Scope, progress: Progress = quiet) -> Rebuilt:
    """Into temporary tables of the same database, in one snapshot, and compare. Changes nothing."""
    with snapshot(engine) as session:
        shadow(session, scope.derived)
        rebuilt = _fold(session, scope, None, progress)
        live, made = (session, "public"), (session, "pg_temp")
        differences = list(compare_all(scope.derived, live, made, progress))
    return Rebuilt(rebuilt.entries, [*rebuilt.found, *differences])


def rebuild_into(
    engine: Engine, target: Engine, scope: Scope, *, at: int | None, progress: Progress = quiet
) -> Rebuilt:
    """Into an empty, migrated database, which then holds ledger and derived rows and nothing else.

    Without ``at`` the derived rows are compared with the live ones of the same moment; with it the
    target holds what there was when ``at`` entries were sealed. ``TARGET_NOT_EMPTY``,
    ``POSITION_UNKNOWN``; ``Misconfigured`` when the target's role may not write derived rows.
    """
    with snapshot(engine) as source, transaction(target) as made:
        _prepare(made)
        if at is not None and not 0 <= at <= (size := sealed_size(source)):
            raise Refused("POSITION_UNKNOWN", f"{size} entries are sealed; give 0 to {size}")
        for table, (query, part) in _COPIED.items():
            progress(f"copying {table.partition(' ')[0]}", 0)
            _copy(source, made, table, query + ("" if at is None else part.format(end=at)))
        made.execute(_WAITING)
        made.execute(_NEXT_ID)
        rebuilt = _fold(made, scope, at, progress)
        if at is not None:
            return rebuilt
        sides = (source, "public"), (made, "public")
        differences = list(compare_all(scope.derived, *sides, progress))
    return Rebuilt(rebuilt.entries, [*rebuilt.found, *differences])


def _prepare(target: Session) -> None:
    if not target.execute(_OWNER).scalar_one():
        raise Misconfigured(
            "the target has to be given as a role that may become forge_owner, as forge_migrate is"
        )
    target.execute(text("SET LOCAL ROLE forge_owner"))
    target.execute(text("SET LOCAL statement_timeout = 0"))
    target.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    if not target.execute(_EMPTY).scalar_one():
        raise Refused("TARGET_NOT_EMPTY", "the target holds a ledger already; give an empty one")


def _fold(session: Session, scope: Scope, at: int | None, progress: Progress) -> Rebuilt:
    done = Rebuilt(0, [])
    found: list[Discrepancy] = []
    for one in replay(session, scope.kinds, until=at):
        if isinstance(one, Batch):
            done.entries += len(one.ids)
            progress("folding", done.entries)
        else:
            found.append(one)
    done.found = found
    return done


def _copy(source: Session, target: Session, table: str, query: str) -> None:
    with tempfile.TemporaryFile() as file:
        _cursor(source).copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", file)
        file.seek(0)
        _cursor(target).copy_expert(f"COPY {table} FROM STDIN (FORMAT binary)", file)


def _cursor(session: Session) -> Any:
    return session.connection().connection.cursor()
