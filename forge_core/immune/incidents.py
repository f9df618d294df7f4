"""Incidents: what no single response can mend, and what pauses all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.immune.responses import real_now, response_id
from forge_core.jobs.record import HOUSE
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts

Kind = Literal["systemic", "halt", "health"]

OPENED = EntryKind.of(
    "immune.incident_opened",
    """
    INSERT INTO incidents (id, kind, subject, details, reason, opened_by, opened_at, pauses_until)
    SELECT subject, data ->> 'kind', data ->> 'about', data -> 'details', data ->> 'reason', actor,
        (data ->> 'opened')::timestamptz, (data ->> 'pauses_until')::timestamptz
    FROM forge_entries(:ids)
    """,
    texts=("reason",),
)

CLOSED = EntryKind.of(
    "immune.incident_closed",
    """
    UPDATE incidents SET closed_at = (data ->> 'closed')::timestamptz, closed_by = entry.actor
    FROM forge_entries(:ids) AS entry WHERE incidents.id = entry.subject
    """,
    texts=("reason",),
)

_OPEN = text("""
    SELECT id FROM incidents WHERE kind = :kind AND subject = :subject AND closed_at IS NULL
""")
_PAUSED = text("""
    SELECT max(pauses_until) FROM incidents
    WHERE closed_at IS NULL AND pauses_until > clock_timestamp()
""")
_PAUSES = text("SELECT pauses_until FROM incidents WHERE id = :id")
_LAPSED = text("""
    SELECT id FROM incidents
    WHERE closed_at IS NULL AND pauses_until <= clock_timestamp()
    ORDER BY id
""")


def paused_until(session: Session) -> datetime | None:
    """Until when nothing is done automatically; None when nothing pauses it."""
    until: datetime | None = session.execute(_PAUSED).scalar_one()
    return until


def open_incident(session: Session, kind: Kind, about: str) -> str | None:
    """The open incident of that kind about it, if there is one."""
    given = {"kind": kind, "subject": about}
    found: str | None = session.execute(_OPEN, given).scalar_one_or_none()
    return found


def pauses_until(session: Session, id_: str) -> datetime | None:
    """How long that incident pauses what is automatic."""
    until: datetime | None = session.execute(_PAUSES, {"id": id_}).scalar_one()
    return until


def open_one(
    session: Session,
    kind: Kind,
    about: str,
    details: Mapping[str, Any],
    *,
    pauses_until: datetime | None = None,
    actor: str = HOUSE,
    reason: str | None = None,
    command: str | None = None,
) -> str:
    """Open an incident; while one of that kind about the same is open, that one is it.

    One that only paused ends with its pause. The caller holds the lock of the immune system.
    """
    close_lapsed(session)
    present = open_incident(session, kind, about)
    if present is not None:
        return present
    now = real_now(session)
    id_ = response_id("incident", kind, about, rfc3339(now)).replace("r-", "i-", 1)
    data = {
        "kind": kind,
        "about": about,
        "details": dict(details),
        "opened": rfc3339(now),
        "pauses_until": None if pauses_until is None else rfc3339(pauses_until),
        "reason": None if reason is None else keep_texts(session, reason)[0],
    }
    append(session, [Entry(OPENED, forge_now(session), actor, id_, data, command)])
    return id_


def close_one(
    session: Session,
    id_: str,
    *,
    actor: str = HOUSE,
    reason: str | None = None,
    command: str | None = None,
) -> None:
    """Close an open incident."""
    data: dict[str, Any] = {"closed": rfc3339(real_now(session))}
    if reason is not None:
        data["reason"] = keep_texts(session, reason)[0]
    append(session, [Entry(CLOSED, forge_now(session), actor, id_, data, command)])


def close_lapsed(session: Session) -> None:
    """Those whose pause is over are over."""
    for id_ in session.execute(_LAPSED).scalars().all():
        close_one(session, id_)
