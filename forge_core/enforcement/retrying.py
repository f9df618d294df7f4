"""Retrying: a failed execution goes back to the queue when an operator says so, with a reason."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.record import enqueue
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.electorate import require_role
from forge_core.members.levels import Role
from forge_core.proposals.draft import REASON_MOST
from forge_core.proposals.expiry import grace_over
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.locking import lock_proposals, require_proposal
from forge_core.proposals.queueing import execution_job
from forge_core.text import require_text

# Neither eta nor expiry move: a retry gains no time.
RETRIED = EntryKind.of(
    "proposal.retried",
    """
    UPDATE proposals SET status = 'queued', queued_count = queued_count + 1,
        ended_at = NULL, failure = NULL, end_reason = NULL
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    texts=("reason",),
)

# The job that used up its attempts has its consequence in the ledger; it does not block another.
_CLEAR = text("""
    UPDATE jobs SET state = 'failed'
    WHERE key = 'execute:' || CAST(:id AS text) AND state = 'dead'
""")


def retry(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``enforcement.retry``; twice is refused, the proposal is queued already."""

    def decide(job: Job) -> Outcome:
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        locked = lock_proposals(session, [job.payload.get("proposal_id")])
        proposal = require_proposal(locked, job.payload.get("proposal_id"))
        actor = require_role(session, job.actor, Role.OPERATOR)
        proposal.require(Status.FAILED)
        now = forge_now(session)
        if grace_over(session, proposal, now):
            raise Refused("EXPIRED", "its grace period is over; propose it again")
        data = {"reason": keep_texts(session, reason)[0], "at": rfc3339(now)}
        append(session, [Entry(RETRIED, now, actor.id, proposal.id, data, job.command)])
        session.execute(_CLEAR, {"id": proposal.id})
        enqueue(session, [execution_job(proposal.id)])
        return Outcome.done(proposal_id=proposal.id)

    return alone(jobs, decide)
