"""Publishing: the ledger read forward from a stored cursor, for whoever sends it out as events.

The cursor moves after what it passes was sent, never before, and only for the one publisher that
holds the lease: so events go out at least once, and in the order of their positions. Leases run on
real time. Nothing here knows a broker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.keys import LOG, known_keys

STREAM = "ledger"
LEASE = timedelta(seconds=30)
MOST_ENTRIES = 500
MOST_BYTES = 4_000_000

# Whoever comes second waits for the first one's row, and then finds its lease.
_CLAIM = text("""
    INSERT INTO event_cursors AS cursor (stream, position, fence, lease_until)
    VALUES (:stream, 0, 1, clock_timestamp() + CAST(:lease AS interval))
    ON CONFLICT (stream) DO UPDATE
    SET fence = cursor.fence + 1, lease_until = clock_timestamp() + CAST(:lease AS interval)
    WHERE cursor.lease_until <= clock_timestamp()
    RETURNING position, fence
""")
_ADVANCE = text("""
    UPDATE event_cursors
    SET position = :position, lease_until = clock_timestamp() + CAST(:keep AS interval)
    WHERE stream = :stream AND fence = :fence
    RETURNING 1
""")
# A new fence: a publisher at work would otherwise move the cursor forward again.
_REWIND = text("""
    UPDATE event_cursors
    SET position = :position, fence = fence + 1, lease_until = clock_timestamp()
    WHERE stream = :stream AND position >= :position
    RETURNING 1
""")
_PROGRESS = text("""
    SELECT coalesce((SELECT position FROM event_cursors WHERE stream = :stream), 0) AS position,
        (SELECT coalesce(max(position) + 1, 0) FROM ledger_order) AS head
""")
# Positions have no gaps. At least one entry, however large it is.
_READ = text("""
    SELECT position, kind, body FROM (
        SELECT position, kind, body,
            sum(octet_length(body)) OVER (ORDER BY position) - octet_length(body) AS before
        FROM ledger_order JOIN ledger_entries ON id = entry_id
        WHERE position >= :first AND position < :end
    ) AS placed
    WHERE before < :bytes
    ORDER BY position
""")


@dataclass(frozen=True)
class Claim:
    """The right to publish a stream from ``position`` on, until the lease ends."""

    stream: str
    position: int
    fence: int


@dataclass(frozen=True)
class Placed:
    """An entry at its position; ``body`` is its canonical bytes."""

    position: int
    kind: str
    body: bytes


@dataclass(frozen=True)
class Progress:
    """``position`` is the next to be published; ``head`` the first that does not exist yet."""

    position: int
    head: int

    @property
    def lag(self) -> int:
        """How many entries wait to be published."""
        return self.head - self.position


def claim(session: Session, stream: str = STREAM, lease: timedelta = LEASE) -> Claim | None:
    """Take the stream's lease; None while another publisher holds it.

    Calling it twice, or at once, is safe: one gets it. The first call for a stream begins it at
    position 0.
    """
    rows = run(session, _CLAIM, stream=stream, lease=lease)
    return Claim(stream, rows[0].position, rows[0].fence) if rows else None


def read(session: Session, first: int, most: int = MOST_ENTRIES) -> list[Placed]:
    """Entries from position ``first`` on: at most so many, and about four megabytes."""
    rows = run(session, _READ, first=first, end=first + most, bytes=MOST_BYTES)
    return [Placed(row.position, row.kind, bytes(row.body)) for row in rows]


def advance(
    session: Session, held: Claim, position: int, *, keep: timedelta = timedelta(0)
) -> bool:
    """Move the cursor to ``position`` and hold the lease ``keep`` longer (0 gives it back).

    False when the claim was lost meanwhile: nothing has changed then, and its holder has to stop.
    """
    given = {"stream": held.stream, "fence": held.fence, "position": position, "keep": keep}
    return bool(run(session, _ADVANCE, **given))


def rewind(session: Session, position: int, stream: str = STREAM) -> None:
    """Publish again from ``position`` on; whoever is publishing loses the claim.

    ``POSITION_INVALID`` below 0; ``POSITION_AHEAD`` beyond the cursor, for that would skip events.
    Running it twice is safe: the second time there is less to go back, or nothing.
    """
    if position < 0:
        raise Refused("POSITION_INVALID", "positions are counted from 0")
    moved = run(session, _REWIND, stream=stream, position=position)
    reached = progress(session, stream).position
    if not moved and position > reached:
        raise Refused(
            "POSITION_AHEAD",
            f"the next event to be published has position {reached}; rewinding only goes back",
        )


def progress(session: Session, stream: str = STREAM) -> Progress:
    """How far the stream is published, and how far it could be."""
    (row,) = run(session, _PROGRESS, stream=stream)
    return Progress(row.position, row.head)


def origin(session: Session) -> str:
    """The name of the log's key, which its successors keep; ``ledger`` before there is one."""
    keys = known_keys(session, LOG)
    return keys[0].name if keys else "ledger"


def cloud_event(origin: str, position: int, body: bytes) -> dict[str, Any]:
    """An entry as a CloudEvent 1.0 (JSON event format); ``data`` is the whole entry.

    Texts are not in it: entries carry only commitments to them.
    """
    entry = json.loads(body)
    return {
        "specversion": "1.0",
        "id": str(position),
        "source": f"forge/{quote(origin)}",
        "type": f"forge.{entry['kind']}",
        "subject": entry["subject"],
        "time": entry["at"],
        "datacontenttype": "application/json",
        "data": entry,
    }


def published(origin: str, entries: Sequence[Placed]) -> list[dict[str, Any]]:
    """Entries as CloudEvents, in their order."""
    return [cloud_event(origin, entry.position, entry.body) for entry in entries]
