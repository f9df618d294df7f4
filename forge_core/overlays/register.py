"""Registering and updating overlays, from executed proposals only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.locks import lock_name

REGISTERED = EntryKind.of(
    "overlay.registered",
    """
    INSERT INTO overlays (id, name, version, status, description, max_execution_ms,
        registered_by, proposal_id, changed_at)
    SELECT subject, data ->> 'name', data ->> 'version', 'ACTIVE', data ->> 'description',
        (data ->> 'max_execution_ms')::bigint, actor, data ->> 'proposal', at
    FROM forge_entries(:ids)
    """,
    version=2,
    texts={"name": 2, "description": 2},
)

UPDATED = EntryKind.of(
    "overlay.updated",
    """
    UPDATE overlays SET version = entry.data ->> 'after',
        proposal_id = entry.data ->> 'proposal', changed_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE overlays.id = entry.subject
    """,
)

_VERSION = text("SELECT version FROM overlays WHERE id = :id")


def register(
    session: Session,
    overlay: str,
    manifest: Mapping[str, Any],
    *,
    actor: str,
    proposal: str,
    at: datetime,
) -> None:
    """Make an overlay ACTIVE. ``OVERLAY_EXISTS`` when its id is taken."""
    lock_name(session, f"overlay.{overlay}")
    if session.execute(_VERSION, {"id": overlay}).scalar_one_or_none() is not None:
        raise Refused("OVERLAY_EXISTS", f"overlay {overlay!r} is registered already; update it")
    data = {**manifest, "proposal": proposal}
    append(session, [Entry(REGISTERED, at, actor, overlay, data)])


def update(
    session: Session,
    overlay: str,
    *,
    before: str,
    after: str,
    actor: str,
    proposal: str,
    at: datetime,
) -> None:
    """Set a new version. ``OVERLAY_UNKNOWN``; ``STALE_VALUE`` when it is not at ``before``."""
    lock_name(session, f"overlay.{overlay}")
    present = session.execute(_VERSION, {"id": overlay}).scalar_one_or_none()
    if present is None:
        raise Refused("OVERLAY_UNKNOWN", f"there is no overlay {overlay!r}; register it first")
    if present != before:
        raise Refused(
            "STALE_VALUE",
            f"overlay {overlay!r} is at {present} now; the proposal expected {before}",
        )
    data = {"before": before, "after": after, "proposal": proposal}
    append(session, [Entry(UPDATED, at, actor, overlay, data)])
