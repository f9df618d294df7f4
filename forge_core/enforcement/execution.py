"""Execution: an approved change happens exactly once, or is recorded as failed with its reason.

The handler runs in a savepoint. When it raises or runs into a limit, its work is rolled back to
the savepoint and the failure is recorded in the same transaction; success is never inferred.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.capabilities.registry import Registry
from forge_core.clock import forge_now
from forge_core.database import describe, is_retryable, run
from forge_core.enforcement.handlers import HANDLERS, Execution
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.electorate import lock_version
from forge_core.proposals.expiry import EXPIRED, is_expired
from forge_core.proposals.lifecycle import Status, execution_due
from forge_core.proposals.locking import LockedProposal, lock_proposals, require_proposal
from forge_core.proposals.payloads import Payload, parse_payload
from forge_core.proposals.types import ProposalType

EXECUTED = EntryKind.of(
    "proposal.executed",
    # The primary key of effects is the last word on "once".
    """
    INSERT INTO effects (proposal_id, action, direction, applied_at)
    SELECT subject, 0, 'apply', at FROM forge_entries(:ids)
    """,
    """
    UPDATE proposals SET status = 'executed', ended_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
)

FAILED = EntryKind.of(
    "proposal.failed",
    """
    UPDATE proposals SET status = 'failed', ended_at = entry.at, failure = data ->> 'code',
        end_reason = data ->> 'reason'
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    texts=("reason",),
)

STATEMENT_TIMEOUT = "57014"

_KNOWN = text("""
    SELECT commitment FROM texts WHERE commitment = ANY(:given)
    UNION ALL SELECT commitment FROM erasures WHERE commitment = ANY(:given)
""")
_TYPE = text("SELECT type FROM proposals WHERE id = :id")


def execute(session: Session, jobs: Sequence[Job], *, registry: Registry) -> list[Outcome]:
    """The step of ``enforcement.execute``, one proposal a transaction.

    Safe to repeat: a proposal that is executed already is refused with ``ALREADY_EXECUTED``, and
    the effect's primary key refuses a second one whatever else goes wrong.
    """
    (job,) = jobs
    id_ = job.payload.get("proposal_id")
    if session.execute(_TYPE, {"id": id_}).scalar_one_or_none() == ProposalType.TRUST_ADJUSTMENT:
        lock_version(session)  # the electorate comes before proposals in the lock order
    try:
        proposal = require_proposal(lock_proposals(session, [id_]), id_)
        now = forge_now(session)
        if proposal.status is Status.QUEUED and is_expired(proposal, now):
            append(session, [Entry(EXPIRED, now, "rule:grace", proposal.id, {"was": "queued"})])
            return [Outcome.failed("EXPIRED", "the grace period after eta is over")]
        if _is_early(proposal, now):
            return [Outcome.again()]  # the clock stepped back since the sweep: its time comes again
        _check(proposal)
    except Refused as refusal:
        return [Outcome.refused(refusal)]
    return [_apply(session, proposal, registry, now)]


def _is_early(proposal: LockedProposal, now: datetime) -> bool:
    return (
        proposal.status is Status.QUEUED
        and proposal.eta is not None
        and not execution_due(now, proposal.eta)
    )


def _check(proposal: LockedProposal) -> None:
    if proposal.status in (Status.EXECUTED, Status.ROLLED_BACK):
        raise Refused("ALREADY_EXECUTED", "the proposal is executed; it happens once")
    if proposal.status is not Status.QUEUED:
        raise Refused("VOTING_NOT_APPROVED", f"the proposal is {proposal.status}, not queued")


def _apply(
    session: Session, proposal: LockedProposal, registry: Registry, now: datetime
) -> Outcome:
    try:
        with session.begin_nested():
            _require_unchanged(proposal)
            payload = parse_payload(proposal.type, json.loads(proposal.payload), registry)
            payload = _committed(session, payload)
            HANDLERS[type(payload)](Execution(session, proposal, payload, registry, now))
            data = {"payload_hash": proposal.payload_hash}
            append(session, [Entry(EXECUTED, now, "rule:execution", proposal.id, data)])
    except Refused as refusal:
        return record_failure(session, proposal.id, refusal.code, refusal.message, now)
    except DBAPIError as error:
        # A handler past its time limit has failed; a lost connection has done nothing yet.
        if is_retryable(error) and getattr(error.orig, "pgcode", None) != STATEMENT_TIMEOUT:
            raise
        return record_failure(session, proposal.id, "HANDLER_FAILED", describe(error), now)
    except Exception as error:  # noqa: BLE001  # whatever a handler raises is its proposal's failure
        return record_failure(session, proposal.id, "HANDLER_FAILED", describe(error), now)
    return Outcome.done(proposal_id=proposal.id)


def _committed(session: Session, payload: Payload) -> Payload:
    """Proposals of the first schema have their texts in clear; what they change must not."""
    texts = {key: text for key in payload.TEXTS if (text := getattr(payload, key)) is not None}
    known = {row.commitment for row in run(session, _KNOWN, given=list(texts.values()))}
    clear = {key: text for key, text in texts.items() if text not in known}
    if not clear:
        return payload
    kept = keep_texts(session, *clear.values())
    return payload.model_copy(update=dict(zip(clear, kept, strict=True)))


def _require_unchanged(proposal: LockedProposal) -> None:
    """What is executed is byte for byte what was voted on."""
    if hashlib.sha256(proposal.payload).hexdigest() != proposal.payload_hash:
        raise Refused("PAYLOAD_HASH_MISMATCH", "the payload is not the one that was voted on")


def record_failure(
    session: Session, proposal: str, code: str, message: str, now: datetime
) -> Outcome:
    """End a queued proposal in ``failed`` with its reason."""
    data = {"code": code, "reason": keep_texts(session, message)[0]}
    append(session, [Entry(FAILED, now, "rule:execution", proposal, data)])
    return Outcome.failed(code, message)


def give_up(session: Session, job: Job, reason: str) -> None:
    """``on_dead``: when attempts are used up, the proposal fails in the same transaction."""
    id_ = job.payload.get("proposal_id")
    proposal = lock_proposals(session, [id_]).get(str(id_))
    if proposal is not None and proposal.status is Status.QUEUED:
        record_failure(session, proposal.id, "ATTEMPTS_USED_UP", reason, forge_now(session))
