"""Expiring: a lifetime (draft, approved) or a grace (queued) that is over ends a proposal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.locking import LockedProposal, lock_proposals

EXPIRED = EntryKind.of(
    "proposal.expired",
    """
    UPDATE proposals SET status = 'expired', ended_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
)

_HELD = text("SELECT forge_held(:eta, :now)")


def expire(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``proposals.expire``: what outlived its lifetime or its grace is expired.

    Found again by the sweep and checked again here, so that running it twice changes nothing.
    """
    locked = lock_proposals(session, [job.payload.get("proposal_id") for job in jobs])
    now = forge_now(session)
    entries = [
        Entry(EXPIRED, now, "rule:lifetime", proposal.id, {"was": proposal.status.value})
        for proposal in locked.values()
        if is_expired(session, proposal, now)
    ]
    append(session, entries)
    return [Outcome.done() for _ in jobs]


def is_expired(session: Session, proposal: LockedProposal, now: datetime) -> bool:
    """Whether a lifetime (draft, approved) or the grace after eta (queued) is over."""
    if proposal.status is Status.QUEUED:
        return grace_over(session, proposal, now)
    if proposal.status in (Status.DRAFT, Status.APPROVED):
        return proposal.lapses_at is not None and now >= proposal.lapses_at
    return False


def grace_over(session: Session, proposal: LockedProposal, now: datetime) -> bool:
    """Whether a proposal that was queued may be executed no more.

    Grace does not run while a window forbids execution.
    """
    if proposal.expires_at is None or now < proposal.expires_at:
        return False
    held = session.execute(_HELD, {"eta": proposal.eta, "now": now}).scalar_one()
    return bool(now >= proposal.expires_at + held)


LAPSED = Derivation(
    "lapsed",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'proposals.expire', 'expire:' || id, false, jsonb_build_object('proposal_id', id),
            'system'
        FROM (
            SELECT id FROM proposals
            WHERE status IN ('draft', 'approved') AND lapses_at <= (SELECT forge_now())
            UNION ALL
            SELECT id FROM proposals
            WHERE status = 'queued' AND expires_at <= (SELECT forge_now())
                AND expires_at + forge_held(eta, (SELECT forge_now())) <= (SELECT forge_now())
        ) AS over
        WHERE NOT EXISTS (
            SELECT FROM jobs AS present WHERE present.key = 'expire:' || over.id
                AND present.state IN ('pending', 'running', 'dead')
        )
        ORDER BY id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)
