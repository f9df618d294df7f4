"""Keeping what is kept: partitions come and go, summaries leave, what is usual is worked out."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

LIMIT: Final = 10_000
SUMMARIES: Final = timedelta(days=8)

_ROLL = text("SELECT forge_roll_events()")

# Late events may still change an hour that is over; a day later they are refused.
_DOWNLOADS = text("""
    INSERT INTO download_hours (member, hour, items)
    SELECT subject, date_trunc('hour', at, 'UTC'), count(DISTINCT item)
    FROM runtime_events, jsonb_array_elements_text(data -> 'items') AS item
    WHERE type = 'data.downloaded'
        AND at >= date_trunc('hour', clock_timestamp(), 'UTC') - INTERVAL '3 hours'
        AND at < date_trunc('hour', clock_timestamp(), 'UTC')
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (member, hour) DO UPDATE SET items = excluded.items
""")

# What was usual for half an hour at least; the last ten minutes may be what is unusual.
_BASELINES = text("""
    INSERT INTO overlay_baselines (overlay, usual_ms, calls_a_minute, measured_at)
    SELECT overlay,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY milliseconds / calls),
        round(sum(calls) / (extract(epoch FROM clock_timestamp() - min(minute)) / 60), 3),
        clock_timestamp()
    FROM overlay_minutes
    WHERE minute >= clock_timestamp() - INTERVAL '24 hours'
        AND minute < clock_timestamp() - INTERVAL '10 minutes' AND calls > 0
    GROUP BY overlay
    HAVING count(*) >= 30
    ORDER BY overlay
    ON CONFLICT (overlay) DO UPDATE
    SET usual_ms = excluded.usual_ms, calls_a_minute = excluded.calls_a_minute,
        measured_at = excluded.measured_at
""")

_OLD: Final = tuple(
    text(f"""
        DELETE FROM {table} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {table} WHERE {time} < clock_timestamp() - :age
            ORDER BY {time} LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
    """)  # noqa: S608  # names are ours
    for table, time in (
        ("overlay_minutes", "minute"),
        ("address_minutes", "minute"),
        ("member_minutes", "minute"),
        ("host_minutes", "minute"),
        ("download_hours", "hour"),
    )
)


def tidy(session: Session) -> bool:
    """The step of the chore ``immune.tidy``; says whether more is left to delete.

    Running it twice is safe: everything in it is worked out from what there is.
    """
    session.execute(_ROLL)
    session.execute(_DOWNLOADS)
    session.execute(_BASELINES)
    given = {"age": SUMMARIES, "limit": LIMIT}
    deleted = [session.execute(statement, given).rowcount for statement in _OLD]  # type: ignore[attr-defined]  # of a DELETE
    return LIMIT in deleted
