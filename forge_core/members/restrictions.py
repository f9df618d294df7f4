"""Restrictions: leases on a member's new commands. They touch no level, weight, roll or ballot."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts

LONGEST = timedelta(days=30)

RESTRICTED = EntryKind.of(
    "member.restricted",
    """
    INSERT INTO restrictions (member_id, imposed_at, until, imposed_by, reason)
    SELECT subject, (data ->> 'from')::timestamptz, (data ->> 'until')::timestamptz, actor,
        data ->> 'reason'
    FROM forge_entries(:ids)
    ON CONFLICT (member_id) DO UPDATE
    SET imposed_at = excluded.imposed_at, until = excluded.until,
        imposed_by = excluded.imposed_by, reason = excluded.reason
    """,
    texts=("reason",),
)

RELEASED = EntryKind.of(
    "member.released",
    "DELETE FROM restrictions USING forge_entries(:ids) AS entry WHERE member_id = entry.subject",
    texts=("reason",),
)

# Leases run on real time: a sandbox whose clock jumps frees nobody early.
_PRESENT = text("""
    SELECT clock_timestamp() AS real_now, members.id, restrictions.until
    FROM members LEFT JOIN restrictions ON restrictions.member_id = members.id
    WHERE members.id = :member
    FOR UPDATE OF members
""")


def restrict(
    session: Session,
    member_id: str,
    *,
    actor: str,
    reason: str,
    lasting: timedelta,
    at: datetime,
    command: str | None,
) -> datetime:
    """Block a member's new commands for ``lasting`` (at most 30 days); returns its end.

    A second restriction never shortens the first. ``MEMBER_UNKNOWN``, ``RESTRICTION_LENGTH``.
    """
    if not timedelta(0) < lasting <= LONGEST:
        raise Refused("RESTRICTION_LENGTH", "a restriction lasts more than 0 s and at most 30 days")
    present = _present(session, member_id)
    until: datetime = present.real_now + lasting
    if present.until is not None:
        until = max(until, present.until)
    data = {
        "from": rfc3339(present.real_now),
        "until": rfc3339(until),
        "reason": keep_texts(session, reason)[0],
    }
    append(session, [Entry(RESTRICTED, at, actor, member_id, data, command)])
    return until


def release(
    session: Session, member_id: str, *, actor: str, reason: str, at: datetime, command: str | None
) -> None:
    """End a restriction before its time. ``NOT_RESTRICTED`` when there is none."""
    present = _present(session, member_id)
    if present.until is None or present.until <= present.real_now:
        raise Refused("NOT_RESTRICTED", f"member {member_id!r} is not restricted")
    data = {"reason": keep_texts(session, reason)[0]}
    append(session, [Entry(RELEASED, at, actor, member_id, data, command)])


def _present(session: Session, member_id: str) -> Row[Any]:
    rows = run(session, _PRESENT, member=member_id)
    if not rows:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {member_id!r}")
    return rows[0]
