"""The instance: whether it is a sandbox, and the clock that only a sandbox may move."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append

# Ten thousand years would overflow PostgreSQL's calendar; a century at once is a slip of the pen.
MOST_ADVANCE = timedelta(days=36_525)

CLOCK_ADVANCED = EntryKind.of(
    "clock.advanced",
    """
    UPDATE instance SET clock_offset = clock_offset + moved.by
    FROM (
        SELECT sum(make_interval(secs => (data ->> 'microseconds')::bigint / 1000000.0)) AS by
        FROM forge_entries(:ids)
    ) AS moved
    """,
)

_LOCK = text("SELECT sandbox FROM instance FOR UPDATE")


def advance_clock(session: Session, *, actor: str, by: timedelta) -> datetime:
    """Move a sandbox's clock forward; returns the new time.

    Refused: ``NOT_A_SANDBOX`` in production, ``CLOCK_BACKWARDS`` for zero or less,
    ``CLOCK_TOO_FAR`` for more than a century at once.
    """
    if not session.execute(_LOCK).scalar_one_or_none():
        raise Refused("NOT_A_SANDBOX", "only a sandbox has a clock that can be moved")
    if by <= timedelta(0):
        raise Refused("CLOCK_BACKWARDS", "the clock only moves forward; give a positive duration")
    if by > MOST_ADVANCE:
        raise Refused("CLOCK_TOO_FAR", "at most 36525 days at once")
    before = forge_now(session)
    microseconds = by // timedelta(microseconds=1)
    append(session, [
        Entry(
            kind=CLOCK_ADVANCED,
            at=before,
            actor=actor,
            subject="clock",
            data={"microseconds": str(microseconds), "to": rfc3339(before + by)},
        )
    ])  # fmt: skip
    return before + by
