"""Pruning: finished jobs and old dead letters leave; commands and their answers stay."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run

LIMIT = 5_000
KEEP_DAYS = 30
KEEP_DEAD_LETTERS = 1_000

# Dead rows stay until a person has looked at them: a dead row counts as present.
_JOBS = text("""
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE finished_at < clock_timestamp() - make_interval(days => :days)
            AND state <> 'dead'
        ORDER BY finished_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id
""")

_DEAD_LETTERS = text("""
    DELETE FROM dead_letters
    WHERE id <= (SELECT id FROM dead_letters ORDER BY id DESC OFFSET :keep LIMIT 1)
""")


def prune(session: Session) -> bool:
    """Delete one bounded piece; True while more is left. Running it twice is harmless."""
    pruned = run(session, _JOBS, days=KEEP_DAYS, limit=LIMIT)
    bound_dead_letters(session)
    return len(pruned) == LIMIT


def bound_dead_letters(session: Session) -> None:
    """Keep the newest thousand: a flood of bad messages cannot fill the disk."""
    session.execute(_DEAD_LETTERS, {"keep": KEEP_DEAD_LETTERS})
