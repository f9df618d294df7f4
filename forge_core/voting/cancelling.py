"""Cancelling: a proposal ends with a reason; its uncounted ballots go to the history as such."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.steps import each
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.electorate import MemberNow, members_now, require_member
from forge_core.members.levels import Role
from forge_core.proposals.draft import REASON_MOST
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.locking import LockedProposal, lock_proposals, require_proposal
from forge_core.text import require_text
from forge_core.voting.ballots import leave_uncounted

CANCELLED = EntryKind.of(
    "proposal.cancelled",
    """
    UPDATE proposals SET status = 'cancelled', ended_at = entry.at, end_reason = data ->> 'reason'
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    texts=("reason",),
)

CANCELLABLE = (Status.DRAFT, Status.ACTIVE, Status.APPROVED, Status.QUEUED, Status.FAILED)


def cancel(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``proposals.cancel``; twice is refused, cancelled is final.

    The proposer may up to ``closes_at``, a guardian up to execution, with a reason.
    """
    locked = lock_proposals(session, [job.payload.get("proposal_id") for job in jobs])
    known = members_now(session, [job.actor for job in jobs])
    now = forge_now(session)
    cancelled: set[str] = set()

    def decide(job: Job) -> Outcome:
        proposal = require_proposal(locked, job.payload.get("proposal_id"))
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        if proposal.id in cancelled:
            raise Refused("PROPOSAL_STATUS", "the proposal is cancelled already")
        _check_may_cancel(proposal, require_member(known, job.actor), now)
        data = {"reason": keep_texts(session, reason)[0], "was": proposal.status.value}
        append(session, [Entry(CANCELLED, now, job.actor, proposal.id, data, job.command)])
        leave_uncounted(session, proposal.id)
        cancelled.add(proposal.id)
        return Outcome.done(proposal_id=proposal.id)

    return each(jobs, decide)


def _check_may_cancel(proposal: LockedProposal, actor: MemberNow, now: datetime) -> None:
    proposal.require(*CANCELLABLE)
    if Role.GUARDIAN in actor.roles:
        return
    if actor.id != proposal.proposer:
        raise Refused("POWER_MISSING", "a proposal is cancelled by its proposer or a guardian")
    still_open = proposal.status is Status.DRAFT or (
        proposal.status is Status.ACTIVE
        and proposal.closes_at is not None
        and now <= proposal.closes_at
    )
    if not still_open:
        raise Refused("CANCEL_TOO_LATE", "after closes_at only a guardian can cancel")
