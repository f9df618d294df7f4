"""Recording work: a job's row is written in the transaction that calls for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run

WOKEN = "forge.woken"
HOUSE = "system"
"""Whose work it is when nobody asked for it; no member has this id."""


@dataclass(frozen=True)
class NewJob:
    """Work to record. ``once`` keys are unique for ever, the others among pending rows only.

    ``brief`` rows leave an hour after they are done, the others after a month.
    """

    kind: str
    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    actor: str = HOUSE
    once: bool = True
    brief: bool = False


_INSERT = text("""
    INSERT INTO jobs (kind, key, once, brief, payload, actor)
    SELECT kind, key, once, brief, payload, actor
    FROM json_to_recordset(CAST(:rows AS json))
        AS given (kind text, key text, once boolean, brief boolean, payload jsonb, actor text)
    ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING kind
""")


def enqueue(session: Session, jobs: Sequence[NewJob]) -> None:
    """Insert what is not there yet, in key order; call it last in a step (lock order).

    Running it twice is safe: a key that is present is left alone.
    """
    if not jobs:
        return
    rows = [
        {
            "kind": job.kind,
            "key": job.key,
            "once": job.once,
            "brief": job.brief,
            "payload": job.payload,
            "actor": job.actor,
        }
        for job in jobs
    ]
    wake(session, *(row.kind for row in run(session, _INSERT, rows=as_json(rows))))


def wake(session: Session, *kinds: str) -> None:
    """Note that these kinds have work; whoever commits the session tells the queues after."""
    woken: set[str] = session.info.setdefault(WOKEN, set())
    woken.update(kinds)


def woken(session: Session) -> set[str]:
    """The kinds noted so far; the set is emptied."""
    kinds: set[str] = session.info.pop(WOKEN, set())
    return kinds
