"""The register of overlays: entries of executed proposals, and looking one up."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.ledger.entries import EntryKind

REGISTERED = EntryKind.of(
    "overlay.registered",
    """
    INSERT INTO overlays (id, name, version, status, description, max_execution_ms,
        max_fuel, max_memory, provides, registered_by, proposal_id, changed_at)
    SELECT subject, data ->> 'name', data ->> 'version', 'ACTIVE', data ->> 'description',
        (data ->> 'max_execution_ms')::bigint, (data ->> 'max_fuel')::bigint,
        (data ->> 'max_memory')::bigint, coalesce(nullif(data -> 'provides', 'null'), '[]'), actor,
        data ->> 'proposal', at
    FROM forge_entries(:ids)
    """,
    version=2,
    texts={"name": 2, "description": 2},
)

DEREGISTERED = EntryKind.of(
    "overlay.deregistered",
    "DELETE FROM overlays USING forge_entries(:ids) AS entry WHERE overlays.id = entry.subject",
    # Whoever is registered anew begins anew.
    "DELETE FROM containments USING forge_entries(:ids) AS entry WHERE overlay = entry.subject",
)

UPDATED = EntryKind.of(
    "overlay.updated",
    """
    UPDATE overlays SET version = entry.data ->> 'after',
        proposal_id = entry.data ->> 'proposal', changed_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE overlays.id = entry.subject
    """,
)

TRUST_CHANGED = EntryKind.of(
    "overlay.trust_changed",
    """
    UPDATE overlays SET trust = entry.data ->> 'after',
        proposal_id = entry.data ->> 'proposal', changed_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE overlays.id = entry.subject
    """,
)

STATUS_CHANGED = EntryKind.of(
    "overlay.status_changed",
    """
    UPDATE overlays SET status = entry.data ->> 'after',
        proposal_id = entry.data ->> 'proposal', changed_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE overlays.id = entry.subject
    """,
)

_OVERLAY = text("SELECT id, version, trust, status FROM overlays WHERE id = :id")


@dataclass(frozen=True)
class OverlayNow:
    """A registered overlay as of now."""

    id: str
    version: str
    trust: str
    status: str


def find(session: Session, id_: str) -> OverlayNow | None:
    """The overlay of that id, if it is registered."""
    row = session.execute(_OVERLAY, {"id": id_}).one_or_none()
    return None if row is None else OverlayNow(row.id, row.version, row.trust, row.status)


def require_overlay(session: Session, id_: str) -> OverlayNow:
    """The overlay. Raises ``Refused`` OVERLAY_UNKNOWN."""
    found = find(session, id_)
    if found is None:
        raise Refused("OVERLAY_UNKNOWN", f"there is no overlay {id_!r}; register it first")
    return found
