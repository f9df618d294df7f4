"""Execution windows: a pause by emergency, a freeze by a guardian. Each has an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, rfc3339
from forge_core.database import run
from forge_core.ledger.entries import Entry, EntryKind

TARGET: Final = "execution"
"""What a window changes, and the name that is locked for it."""

WINDOW_IMPOSED = EntryKind.of(
    "execution.window_imposed",
    """
    INSERT INTO execution_windows (id, kind, from_at, until_at, imposed_by, reason, proposal_id)
    SELECT subject, data ->> 'kind', (data ->> 'from')::timestamptz,
        (data ->> 'until')::timestamptz, actor, data ->> 'reason', data ->> 'proposal'
    FROM forge_entries(:ids)
    """,
    texts=("reason",),
)

# What has passed stays: grace did not run in it.
WINDOW_ENDED = EntryKind.of(
    "execution.window_ended",
    """
    UPDATE execution_windows SET until_at = greatest(from_at, entry.at)
    FROM forge_entries(:ids) AS entry WHERE execution_windows.id = entry.subject
    """,
    texts=("reason",),
)

_WINDOWS = text("""
    SELECT id, kind, from_at, until_at FROM execution_windows WHERE until_at > :now
    ORDER BY from_at, id
""")


@dataclass(frozen=True)
class Window:
    """A time in which nothing is executed."""

    id: str
    kind: str
    from_at: datetime
    until_at: datetime

    def holds(self, now: datetime) -> bool:
        """Whether ``now`` lies in it; its end does not."""
        return self.from_at <= now < self.until_at


def windows(session: Session, now: datetime) -> Sequence[Window]:
    """Those that are in force or still to come, by their begin."""
    return [
        Window(row.id, row.kind, as_utc(row.from_at), as_utc(row.until_at))
        for row in run(session, _WINDOWS, now=now)
    ]


def imposed(
    window: Window, *, actor: str, at: datetime, more: Mapping[str, Any], command: str | None = None
) -> Entry:
    """The entry that imposes a window. ``more``: a reason's commitment, or the proposal."""
    data = {
        "kind": window.kind,
        "from": rfc3339(window.from_at),
        "until": rfc3339(window.until_at),
        **more,
    }
    return Entry(WINDOW_IMPOSED, at, actor, window.id, data, command)
