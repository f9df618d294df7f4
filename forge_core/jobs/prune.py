"""Pruning: finished jobs and old dead letters leave; commands and their answers stay."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run

LIMIT = 5_000
KEEP_DAYS = 30
KEEP_BRIEFLY = timedelta(hours=1)
"""Jobs of which there are many, and which nobody asks about later."""
KEEP_DEAD_LETTERS = 1_000

# Dead rows stay until a person has looked at them: a dead row counts as present.
_DELETE = """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE {which} AND finished_at < clock_timestamp() - CAST(:age AS interval)
            AND state <> 'dead'
        ORDER BY finished_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id
"""
_JOBS = text(_DELETE.format(which="true"))
_BRIEF = text(_DELETE.format(which="brief"))

_DEAD_LETTERS = text("""
    DELETE FROM dead_letters
    WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC OFFSET :keep LIMIT 1)
""")


def prune(session: Session) -> bool:
    """Delete bounded pieces; True while more is left. Running it twice is harmless."""
    pruned = (
        run(session, _JOBS, age=timedelta(days=KEEP_DAYS), limit=LIMIT),
        run(session, _BRIEF, age=KEEP_BRIEFLY, limit=LIMIT),
    )
    bound_dead_letters(session)
    return any(len(piece) == LIMIT for piece in pruned)


def bound_dead_letters(session: Session) -> None:
    """Keep the newest thousand: a flood of bad messages cannot fill the disk."""
    session.execute(_DEAD_LETTERS, {"keep": KEEP_DEAD_LETTERS})
