"""How overlays stand: whether their calls are let through, by entries of whoever decided it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import run
from forge_core.ledger.entries import Entry, EntryKind

CONTAINED = EntryKind.of(
    "overlay.contained",
    """
    INSERT INTO containments
        (overlay, stage, since, until_at, doublings, failed_probations, response_id)
    SELECT subject, data ->> 'stage', (data ->> 'since')::timestamptz,
        (data ->> 'until')::timestamptz, (data ->> 'doublings')::integer,
        (data ->> 'failed_probations')::integer, data ->> 'response'
    FROM forge_entries(:ids)
    ON CONFLICT (overlay) DO UPDATE
    SET stage = excluded.stage, since = excluded.since, until_at = excluded.until_at,
        doublings = excluded.doublings, failed_probations = excluded.failed_probations,
        response_id = excluded.response_id
    """,
)

_STANDING = text("""
    SELECT overlay, stage, since, until_at, doublings, failed_probations, response_id
    FROM containments WHERE overlay = ANY(:ids)
""")


@dataclass(frozen=True)
class Standing:
    """``stage``: active, quarantined (``until``), probation or held.

    ``doublings`` and ``failed_probations`` are its past; ``response`` is what brought it there.
    """

    stage: str
    since: datetime
    until: datetime | None
    doublings: int
    failed_probations: int
    response: str

    def entry(
        self,
        overlay: str,
        *,
        at: datetime,
        actor: str,
        command: str | None = None,
        **more: Any,
    ) -> Entry:
        """The entry after which the overlay stands so; ``more`` says why, for people."""
        data = {
            "stage": self.stage,
            "since": rfc3339(self.since),
            "until": None if self.until is None else rfc3339(self.until),
            "doublings": self.doublings,
            "failed_probations": self.failed_probations,
            "response": self.response,
            **more,
        }
        return Entry(CONTAINED, at, actor, overlay, data, command)


def standing_of(session: Session, ids: Sequence[str]) -> dict[str, Standing]:
    """Of those that were ever contained, by id."""
    return {
        row.overlay: Standing(
            row.stage,
            row.since,
            row.until_at,
            row.doublings,
            row.failed_probations,
            row.response_id,
        )
        for row in run(session, _STANDING, ids=sorted(ids))
    }
