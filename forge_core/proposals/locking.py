"""Reading proposals under their row locks, in id order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.tracks import Terms

# What the lock protects is read in a later statement than the one that takes it.
_LOCK = text("SELECT id FROM proposals WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
_LOCK_FREE = text(
    "SELECT id FROM proposals WHERE id = ANY(:ids) ORDER BY id FOR UPDATE SKIP LOCKED"
)
_READ = text("""
    SELECT id, type, status, proposer, payload, encode(payload_hash, 'hex') AS payload_hash, track,
        voting_hours, electorate, title, description, opened_at, closes_at, electorate_version,
        eligible_weight, weights, terms AS frozen_terms, eta, expires_at, lapses_at, queued_count,
        predecessor, decision
    FROM proposals WHERE id = ANY(:ids)
""")


@dataclass(frozen=True)
class LockedProposal:
    """A proposal's row while this transaction holds its lock."""

    id: str
    type: str
    status: Status
    proposer: str
    payload: bytes
    payload_hash: str
    track: str
    voting_hours: int
    electorate: str | None
    title: str
    description: str
    opened_at: datetime | None
    closes_at: datetime | None
    electorate_version: int | None
    eligible_weight: Any
    weights: Mapping[str, str] | None
    frozen_terms: Mapping[str, Any] | None
    eta: datetime | None
    expires_at: datetime | None
    lapses_at: datetime | None
    queued_count: int
    predecessor: str | None
    decision: Mapping[str, Any] | None

    @property
    def terms(self) -> Terms:
        """The frozen terms; only an opened proposal has them."""
        return Terms.from_json(self.frozen_terms or {})

    def require(self, *statuses: Status) -> None:
        """``PROPOSAL_STATUS`` unless the proposal stands in one of these."""
        if self.status not in statuses:
            wanted = " or ".join(statuses)
            raise Refused("PROPOSAL_STATUS", f"the proposal is {self.status}, not {wanted}")


def lock_proposals(
    session: Session, ids: Sequence[object], *, skip_locked: bool = False
) -> dict[str, LockedProposal]:
    """Lock the proposals that exist among ``ids`` FOR UPDATE and read them, by id.

    With ``skip_locked`` those that somebody else holds are left out instead of waited for.
    """
    wanted = sorted({id_ for id_ in ids if isinstance(id_, str)})
    lock = _LOCK_FREE if skip_locked else _LOCK
    return read_proposals(session, [row.id for row in run(session, lock, ids=wanted)])


def read_proposals(session: Session, ids: Sequence[str]) -> dict[str, LockedProposal]:
    """Those among ``ids`` that exist, by id, as they stand now: without locks, to look at only."""
    return {
        row.id: LockedProposal(
            **{**row._mapping, "status": Status(row.status), "payload": bytes(row.payload)}  # noqa: SLF001  # Row's public name for itself as a mapping
        )
        for row in run(session, _READ, ids=list(ids))
    }


def require_proposal(locked: Mapping[str, LockedProposal], id_: object) -> LockedProposal:
    """The proposal, or ``PROPOSAL_UNKNOWN``."""
    if not isinstance(id_, str) or id_ not in locked:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {str(id_)[:80]!r}")
    return locked[id_]
