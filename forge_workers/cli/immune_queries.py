"""What `forge immune` reads: leases run on real time, and addresses are shown in clear."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.immune.detectors.addresses import normalised
from forge_core.immune.rulebook import PREFIX

Row = dict[str, Any]

AFTERWARDS_MOST: Final = 30

_NOW = text("""
    SELECT clock_timestamp() AS now,
        date_trunc('minute', clock_timestamp(), 'UTC') - INTERVAL '1 minute' AS minute,
        date_trunc('minute', clock_timestamp(), 'UTC') - INTERVAL '59 minutes' AS hour
""")
_PAUSE = text("""
    SELECT pauses_until AS until, id AS incident, kind FROM incidents
    WHERE closed_at IS NULL AND pauses_until > clock_timestamp()
    ORDER BY pauses_until DESC LIMIT 1
""")
_VALUES = text("SELECT key, value FROM setting_values WHERE starts_with(key, :prefix)")
_STAGES = text("""
    SELECT coalesce(stage, 'active') AS stage, count(*) AS overlays
    FROM overlays LEFT JOIN containments ON overlay = id
    WHERE status = 'ACTIVE' GROUP BY 1
""")
_CONTAINED = text("""
    SELECT overlay, stage, since, containments.until_at, response_id, rule,
        evidence ->> 'says' AS says, imposed_by
    FROM containments LEFT JOIN immune_responses AS response ON response.id = response_id
    WHERE stage <> 'active' ORDER BY since DESC, overlay
""")
_WARNINGS = text("""
    SELECT id, subject_kind, subject, rule, evidence ->> 'says' AS says, why, rung, until_at
    FROM immune_responses
    WHERE rung IN ('observe', 'warn') AND ended_at IS NULL AND until_at > clock_timestamp()
        AND subject_kind <> 'address'
    ORDER BY rung DESC, began_at DESC, id
    LIMIT :limit
""")
_HELD = text("""
    SELECT kind, subject, verdict, until_at FROM forge_leases()
    WHERE verdict IN ('blocked', 'throttled', 'restricted')
    ORDER BY verdict, since DESC, subject LIMIT :limit
""")
_STRANGERS = text("""
    SELECT DISTINCT overlay FROM overlay_minutes
    WHERE minute >= :hour AND NOT EXISTS (SELECT FROM overlays WHERE id = overlay)
    ORDER BY overlay LIMIT :limit
""")
_LEASES = text("SELECT verdict, count(*) AS leases FROM forge_leases() GROUP BY verdict")

# From the summaries: of an hour of single events there may be tens of millions.
_TOLD = text("""
    SELECT 'overlay.invoked' AS type, sum(calls + excused) AS hour,
        sum(calls + excused) FILTER (WHERE minute >= :minute) AS minute
    FROM overlay_minutes WHERE minute >= :hour
    UNION ALL
    SELECT 'auth.attempted', sum(attempts), sum(attempts) FILTER (WHERE minute >= :minute)
    FROM address_minutes WHERE minute >= :hour
    UNION ALL
    SELECT 'api.request_window', count(*), count(*) FILTER (WHERE minute >= :minute)
    FROM member_minutes WHERE minute >= :hour
    UNION ALL
    SELECT 'data.downloaded', count(*), count(*) FILTER (WHERE at >= :minute)
    FROM runtime_events WHERE type = 'data.downloaded' AND at >= :hour
    UNION ALL
    SELECT 'resource.sampled', count(*), count(*) FILTER (WHERE minute >= :minute)
    FROM host_minutes WHERE minute >= :hour
""")
_UNJUDGED = text("""
    SELECT count(*) AS waiting,
        extract(epoch FROM clock_timestamp() - min(noted_at))::bigint AS oldest_seconds
    FROM runtime_unjudged
""")

# An erased address is nobody's: its subject reads as None.
_RESPONSES = text("""
    SELECT response.id, began_at, subject_kind,
        CASE WHEN subject_kind = 'address' THEN known.address ELSE subject END AS subject,
        rung, rule, evidence ->> 'says' AS says, why, texts.body AS reason, imposed_by,
        response.until_at, ended_at, ended_by, containments.stage,
        containments.until_at AS stage_until,
        ended_at IS NULL
            AND (response.until_at IS NULL OR response.until_at > clock_timestamp()) AS in_force
    FROM immune_responses AS response
    LEFT JOIN known_addresses AS known ON known.commitment = subject
    LEFT JOIN texts ON texts.commitment = reason
    LEFT JOIN containments
        ON subject_kind = 'overlay' AND overlay = subject AND response_id = response.id
    WHERE (:past OR ended_at IS NULL
            AND (response.until_at IS NULL OR response.until_at > clock_timestamp()))
        AND (CAST(:id AS text) IS NULL OR response.id = :id)
        AND (CAST(:kind AS text) IS NULL OR subject_kind = :kind)
        AND (CAST(:subject AS text) IS NULL OR subject = :subject OR known.address = :address)
        AND (CAST(:rung AS text) IS NULL OR rung = :rung)
    ORDER BY began_at DESC, response.id
    LIMIT :limit
""")
_ACTIONS = text("""
    SELECT id, subject_kind,
        CASE WHEN subject_kind = 'address' THEN known.address ELSE subject END AS subject,
        rung, immune_actions.response_id, opened_at, lapses_at, first_by, first_at, second_by,
        second_at,
        CASE WHEN second_by IS NOT NULL THEN 'confirmed'
            WHEN lapses_at <= clock_timestamp() THEN 'lapsed'
            WHEN contained.since > opened_at THEN 'moot' ELSE 'open' END AS status
    FROM immune_actions
    LEFT JOIN known_addresses AS known ON known.commitment = subject
    LEFT JOIN containments AS contained ON subject_kind = 'overlay' AND overlay = subject
    WHERE (:past OR second_by IS NULL AND lapses_at > clock_timestamp()
            AND coalesce(contained.since, '-infinity') <= opened_at)
        AND (CAST(:id AS text) IS NULL OR id = :id)
        AND (CAST(:response AS text) IS NULL OR immune_actions.response_id = :response)
    ORDER BY opened_at DESC, id
    LIMIT :limit
""")
_INCIDENTS = text("""
    SELECT id, kind, subject, details, texts.body AS reason, opened_by, opened_at, pauses_until,
        closed_at, closed_by,
        CASE WHEN closed_at IS NOT NULL THEN 'closed'
            WHEN pauses_until <= clock_timestamp() THEN 'over' ELSE 'open' END AS status
    FROM incidents LEFT JOIN texts ON commitment = reason
    WHERE :past
        OR closed_at IS NULL AND (pauses_until IS NULL OR pauses_until > clock_timestamp())
    ORDER BY opened_at DESC, id
    LIMIT :limit
""")

_ENTRIES = text("""
    SELECT kind, entry.body ->> 'actor' AS actor, entry.body -> 'data' AS data,
        texts.body AS reason
    FROM (
        (SELECT id, kind, convert_from(body, 'UTF8')::jsonb AS body FROM ledger_entries
        WHERE subject = :overlay AND kind = 'overlay.contained' AND id > (
            SELECT id FROM ledger_entries WHERE subject = :response AND kind = 'immune.responded')
        ORDER BY id LIMIT :limit)
        UNION ALL
        SELECT id, kind, convert_from(body, 'UTF8')::jsonb FROM ledger_entries
        WHERE subject = :response AND kind = 'immune.ended'
    ) AS entry
    LEFT JOIN texts ON commitment = entry.body #>> '{data,reason}'
    ORDER BY entry.id
""")
_LATER = text("""
    SELECT later.id, later.rung, later.began_at
    FROM immune_responses AS later JOIN immune_responses AS this USING (subject, subject_kind)
    WHERE this.id = :response AND (later.began_at, later.id) > (this.began_at, this.id)
    ORDER BY later.began_at, later.id LIMIT :limit
""")


def moments(session: Session) -> Row:
    """Real time, and the beginnings of the minute before this one and of the last hour."""
    return _rows(session, _NOW)[0]


def pause(session: Session) -> Row | None:
    """What pauses automatic action longest."""
    return next(iter(_rows(session, _PAUSE)), None)


def values(session: Session) -> dict[str, Any]:
    """What governance has set of the immune system, by key; what stands at its default is not."""
    return {row["key"]: row["value"] for row in _rows(session, _VALUES, prefix=PREFIX)}


def stages(session: Session) -> dict[str, int]:
    """How many registered, active overlays stand at each stage."""
    return {row["stage"]: row["overlays"] for row in _rows(session, _STAGES)}


def contained(session: Session) -> list[Row]:
    """The overlays that are not simply let through, newest first."""
    return _rows(session, _CONTAINED)


def warnings(session: Session, limit: int) -> list[Row]:
    """What was found and touches nobody."""
    return _rows(session, _WARNINGS, limit=limit)


def held(session: Session, limit: int) -> list[Row]:
    """Who is blocked, throttled or restricted."""
    return _rows(session, _HELD, limit=limit)


def strangers(session: Session, hour: datetime, limit: int) -> list[str]:
    """Overlays that the runtime told of and nobody registered."""
    return [row["overlay"] for row in _rows(session, _STRANGERS, hour=hour, limit=limit)]


def leases(session: Session) -> dict[str, int]:
    """How many subjects there are of each verdict, as those who ask fast see it."""
    return {row["verdict"]: row["leases"] for row in _rows(session, _LEASES)}


def told(session: Session, minute: datetime, hour: datetime) -> list[Row]:
    """How much was told since then, by type of event.

    Use and samples are counted once for each member or host and minute.
    """
    return [
        {"type": row["type"], "minute": int(row["minute"] or 0), "hour": int(row["hour"] or 0)}
        for row in _rows(session, _TOLD, minute=minute, hour=hour)
    ]


def unjudged(session: Session) -> Row:
    """How many events no check has looked at yet, and how old the oldest is."""
    return _rows(session, _UNJUDGED)[0]


def responses(
    session: Session,
    *,
    past: bool,
    id_: str | None = None,
    kind: str | None = None,
    subject: str | None = None,
    rung: str | None = None,
    limit: int,
) -> list[Row]:
    """List responses, newest first; an address is found by any way of writing it."""
    given = {
        "id": id_,
        "kind": kind,
        "subject": subject,
        "address": _address(subject),
        "rung": rung,
    }
    return _rows(session, _RESPONSES, past=past, **given, limit=limit)


def actions(session: Session, *, past: bool, response: str | None = None, limit: int) -> list[Row]:
    """List what waits for people, or waited, newest first."""
    return _rows(session, _ACTIONS, past=past, id=None, response=response, limit=limit)


def action(session: Session, id_: str) -> Row:
    """What two people confirm; it is there, or its command would have been refused."""
    return _rows(session, _ACTIONS, past=True, id=id_, response=None, limit=1)[0]


def incidents(session: Session, *, past: bool, limit: int) -> list[Row]:
    """List incidents, newest first."""
    return _rows(session, _INCIDENTS, past=past, limit=limit)


def entries_after(session: Session, response: str, overlay: str | None) -> list[Row]:
    """What the ledger says of a response's end, and of where its overlay stood since, in order."""
    given = {"response": response, "overlay": overlay, "limit": AFTERWARDS_MOST}
    return _rows(session, _ENTRIES, **given)


def later_responses(session: Session, response: str) -> list[Row]:
    """The responses about the same subject that came after this one."""
    return _rows(session, _LATER, response=response, limit=AFTERWARDS_MOST)


def _address(subject: str | None) -> str | None:
    try:
        return None if subject is None else normalised(subject)
    except Refused:
        return subject


def _rows(session: Session, statement: Any, **given: object) -> list[Row]:
    return [dict(row) for row in session.execute(statement, given).mappings()]
