"""What the immune system would do and may not do alone: two operators confirm it, or it lapses."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.errors import Refused
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.responses import real_now, response_id
from forge_core.immune.rulebook import Rung
from forge_core.jobs.record import HOUSE
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.text import shown

LASTS: Final = timedelta(minutes=15)

ACTION_OPENED = EntryKind.of(
    "immune.action_opened",
    """
    INSERT INTO immune_actions
        (id, subject_kind, subject, rung, response_id, opened_at, lapses_at)
    SELECT subject, data ->> 'about', data ->> 'subject', data ->> 'rung', data ->> 'response',
        (data ->> 'opened')::timestamptz, (data ->> 'lapses_at')::timestamptz
    FROM forge_entries(:ids)
    """,
)

ACTION_CONFIRMED = EntryKind.of(
    "immune.action_confirmed",
    """
    UPDATE immune_actions
    SET second_by = CASE WHEN first_by IS NOT NULL THEN entry.actor END,
        second_at = CASE WHEN first_by IS NOT NULL THEN (data ->> 'confirmed')::timestamptz END,
        first_by = coalesce(first_by, entry.actor),
        first_at = coalesce(first_at, (data ->> 'confirmed')::timestamptz)
    FROM forge_entries(:ids) AS entry WHERE immune_actions.id = entry.subject
    """,
)

_OPEN = text("""
    SELECT rung FROM immune_actions
    WHERE subject = :subject AND subject_kind = :kind AND second_by IS NULL
        AND lapses_at > clock_timestamp()
""")
_ACTION = text("""
    SELECT id, subject_kind, subject, rung, response_id, lapses_at, first_by, second_by,
        lapses_at <= clock_timestamp() OR EXISTS (
            SELECT FROM containments
            WHERE subject_kind = 'overlay' AND overlay = subject AND since > opened_at
        ) AS lapsed
    FROM immune_actions WHERE id = :id
""")


def open_action(session: Session, subject: Subject, rung: Rung, response: str) -> None:
    """Ask people, unless they are asked for as much about the same subject already."""
    asked = session.execute(_OPEN, {"subject": subject.id, "kind": subject.kind}).scalars()
    if any(Rung(one).height >= rung.height for one in asked):
        return
    now = real_now(session)
    id_ = response_id("action", response, rung.value).replace("r-", "a-", 1)
    data = {
        "about": subject.kind,
        "subject": subject.id,
        "rung": rung.value,
        "response": response,
        "opened": rfc3339(now),
        "lapses_at": rfc3339(now + LASTS),
    }
    append(session, [Entry(ACTION_OPENED, forge_now(session), HOUSE, id_, data)])


def pending_action(session: Session, id_: str, *, actor: str) -> Row[Any]:
    """What ``actor`` may confirm.

    Refused: ``ACTION_UNKNOWN``, ``ACTION_LAPSED``, ``ACTION_DONE``, ``CONFIRMED_ALREADY``.
    """
    row = session.execute(_ACTION, {"id": id_}).one_or_none()
    if row is None:
        raise Refused("ACTION_UNKNOWN", f"there is no pending action {shown(id_)}")
    if row.second_by is not None:
        raise Refused("ACTION_DONE", "two people have confirmed it already")
    if row.lapsed:
        raise Refused("ACTION_LAPSED", "it has lapsed, or its overlay was contained since")
    if row.first_by == actor:
        raise Refused("CONFIRMED_ALREADY", "it takes a second person; you are the first one")
    return row


def confirm_action(
    session: Session, id_: str, *, actor: str, at: datetime, command: str | None
) -> None:
    """One more person wants it; whoever calls has checked that it is pending."""
    data = {"confirmed": rfc3339(real_now(session))}
    append(session, [Entry(ACTION_CONFIRMED, at, actor, id_, data, command)])
