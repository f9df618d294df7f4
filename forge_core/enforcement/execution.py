"""Execution: an approved change happens exactly once, or is recorded as failed with its reason.

Everything that forbids it is checked again under the locks, from the stored facts. What then goes
wrong (a stale value, an error or a time limit of a hook) is rolled back to a savepoint and
recorded as the proposal's failure in the same transaction; success is never inferred.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import Frame
from forge_core.actions.payloads import Payload, parse_payload
from forge_core.actions.planning import Step, plan
from forge_core.actions.present import Present
from forge_core.actions.rollback import undone_proposals
from forge_core.actions.targets import Target
from forge_core.capabilities.declaration import Change
from forge_core.clock import forge_now
from forge_core.database import describe, is_retryable, run
from forge_core.enforcement.claiming import Held, hold
from forge_core.enforcement.holding import is_stopped
from forge_core.enforcement.limits import held_open, time_limit
from forge_core.enforcement.outbox import hand_over
from forge_core.enforcement.review import gates_of
from forge_core.errors import Refused
from forge_core.failpoints import reach
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.record import HOUSE
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.proposals.basis import basis_of, undone_by
from forge_core.proposals.creation import with_commitments
from forge_core.proposals.expiry import EXPIRED, is_expired
from forge_core.proposals.lifecycle import Status, execution_due
from forge_core.proposals.locking import LockedProposal, lock_proposals

EXECUTED = EntryKind.of(
    "proposal.executed",
    # The primary key of effects is the last word on "once".
    """
    INSERT INTO effects (proposal_id, action, direction, applied_at, cause, type, target, before,
        after, way_back, microseconds)
    SELECT subject, number - 1, 'apply', at, subject, done ->> 'type', done ->> 'target',
        done -> 'before', done -> 'after', done -> 'way_back', (data ->> 'microseconds')::bigint
    FROM forge_entries(:ids), jsonb_array_elements(coalesce(data -> 'actions', '[{}]'))
        WITH ORDINALITY AS action (done, number)
    """,
    """
    UPDATE proposals SET status = 'executed', ended_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    version=2,
)

ROLLED_BACK = EntryKind.of(
    "proposal.rolled_back",
    """
    INSERT INTO effects (proposal_id, action, direction, applied_at, cause, type, target, before,
        after, microseconds)
    SELECT subject, (done ->> 'action')::integer, 'undo', at, data ->> 'by', done ->> 'type',
        done ->> 'target', done -> 'before', done -> 'after', (data ->> 'microseconds')::bigint
    FROM forge_entries(:ids), jsonb_array_elements(data -> 'actions') AS done
    """,
    """
    UPDATE proposals SET status = 'rolled_back', ended_at = entry.at,
        end_reason = 'rolled back by ' || (data ->> 'by')
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

ATTEMPT_REFUSED = EntryKind.of("execution.refused")

_WAITS = frozenset({"EXECUTION_HELD", "PREDECESSOR_NOT_EXECUTED"})

STATEMENT_TIMEOUT = "57014"
# The database ends a transaction that idles for 10 s: a hook has to be stopped well before.
HOOK_SECONDS = 5.0

_KNOWN = text("""
    SELECT commitment FROM texts WHERE commitment = ANY(:given)
    UNION ALL SELECT commitment FROM erasures WHERE commitment = ANY(:given)
""")
_CREATED = text("""
    SELECT convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'payload_hash' FROM ledger_entries
    WHERE subject = :id AND kind = 'proposal.created'
""")
_RECORDED = text("""
    SELECT EXISTS (
        SELECT FROM ledger_entries WHERE subject = :id AND kind = 'execution.refused'
            AND convert_from(body, 'UTF8')::jsonb -> 'data' = CAST(:data AS jsonb)
    )
""")


def execute(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``enforcement.execute``, one proposal a transaction.

    Safe to repeat: a proposal that is executed already is refused with ``ALREADY_EXECUTED``, and
    the effect's primary key refuses a second one whatever else goes wrong. An attempt on one that
    may not be executed changes nothing and is recorded.
    """
    (job,) = jobs
    try:
        held = hold(session, job.payload.get("proposal_id"), catalogue)
    except Refused as refusal:
        return [Outcome.refused(refusal)]
    proposal, now = held.proposal, held.now
    if proposal.status is Status.QUEUED and is_expired(session, proposal, now):
        append(session, [Entry(EXPIRED, now, "rule:grace", proposal.id, {"was": "queued"})])
        return [Outcome.failed("EXPIRED", "the grace period after eta is over")]
    try:
        _check(session, held)
    except Refused as refusal:
        # The house begins what a close has approved at once; what has to wait, the sweep finds.
        if not (job.actor == HOUSE and refusal.code in _WAITS):
            _record_attempt(session, held, refusal.code, job.actor)
        return [Outcome.refused(refusal)]
    return [_apply(session, held)]


def _record_attempt(session: Session, held: Held, code: str, actor: str) -> None:
    """Once for each reason and whoever it was: a flood of attempts is no flood of entries."""
    proposal = held.proposal
    data = {"code": code, "status": proposal.status.value, "by": actor}
    known = {"id": proposal.id, "data": json.dumps(data)}
    if not session.execute(_RECORDED, known).scalar_one():
        append(session, [Entry(ATTEMPT_REFUSED, held.now, "rule:execution", proposal.id, data)])


_NOT_QUEUED = {
    Status.EXECUTED: ("ALREADY_EXECUTED", "the proposal is executed; it happens once"),
    Status.ROLLED_BACK: ("ALREADY_EXECUTED", "the proposal was executed, and rolled back"),
    Status.EXPIRED: ("EXPIRED", "the proposal is expired for good"),
    Status.CANCELLED: ("CANCELLED", "the proposal is cancelled for good"),
    Status.FAILED: ("EXECUTION_FAILED", "its execution failed; an operator may retry it"),
}


def _check(session: Session, held: Held) -> None:
    """Everything that has to be true, from what is stored and not from how it got here (INV-27)."""
    proposal, now = held.proposal, held.now
    if proposal.status in _NOT_QUEUED:
        raise Refused(*_NOT_QUEUED[proposal.status])
    if (proposal.decision or {}).get("outcome") != "approved":
        raise Refused("VOTING_NOT_APPROVED", f"the proposal is {proposal.status}, not approved")
    missing = gates_of(session, proposal).problem() if proposal.terms.gated else None
    if missing is not None:
        raise missing
    if proposal.status is not Status.QUEUED or proposal.eta is None:
        raise Refused("VOTING_NOT_APPROVED", f"the proposal is {proposal.status}, not queued")
    if not execution_due(now, proposal.eta):
        raise Refused("TIMELOCK_ACTIVE", f"the timelock ends at {proposal.eta.isoformat()}")
    if proposal.predecessor is not None:
        first = held.others.get(proposal.predecessor)
        if first is None or first.status is not Status.EXECUTED:
            raise Refused(
                "PREDECESSOR_NOT_EXECUTED", f"{proposal.predecessor} has to be executed before"
            )
    if is_stopped(session, held.catalogue, proposal, now):
        raise Refused("EXECUTION_HELD", "a freeze or a pause is in force")


def _apply(session: Session, held: Held) -> Outcome:
    proposal, catalogue, now = held.proposal, held.catalogue, held.now
    started = time.monotonic_ns()
    try:
        with session.begin_nested():
            _require_unchanged(session, proposal)
            payload = parse_payload(proposal.type, json.loads(proposal.payload), catalogue)
            basis_of(
                payload, catalogue, undone_proposals(session, undone_by(payload))
            ).require_track(proposal.track)
            payload = _committed(session, payload)
            present = Present(session, catalogue, now)
            frame = Frame(proposal.id, proposal.proposer, now, proposal.title, proposal.description)
            steps = plan(present, catalogue, payload, frame)
            append(session, [entry for step in steps for entry in step.planned.entries])
            _run_hooks(session, proposal.id, steps)
            reach("execution.applied")
            microseconds = (time.monotonic_ns() - started) // 1_000
            _record(session, proposal, steps, now, microseconds)
    except Refused as refusal:
        return record_failure(session, proposal.id, refusal.code, refusal.message, now)
    except DBAPIError as error:
        # A handler past its time limit has failed; a lost connection has done nothing yet.
        if is_retryable(error) and getattr(error.orig, "pgcode", None) != STATEMENT_TIMEOUT:
            raise
        return record_failure(session, proposal.id, "HANDLER_FAILED", describe(error), now)
    except Exception as error:  # noqa: BLE001  # whatever a hook raises is its proposal's failure
        return record_failure(session, proposal.id, "HANDLER_FAILED", describe(error), now)
    return Outcome.done(proposal_id=proposal.id)


def _run_hooks(session: Session, proposal: str, steps: Sequence[Step]) -> None:
    """What the platform's declarations do with the change: in this transaction, and after it."""
    changes = [
        (step.planned.capability, _change(session, proposal, index, step))
        for index, step in enumerate(steps)
        if step.planned.capability is not None
    ]
    # All of them together have the time: a lease has to outlast several executions.
    with time_limit(HOOK_SECONDS, proposal), held_open(session):
        for declared, change in changes:
            hook = declared.apply if change.direction == "apply" else declared.undo
            if hook is not None:
                hook(change)
    for declared, change in changes:
        if declared.deliver is not None:
            hand_over(session, change)


def _change(session: Session, proposal: str, index: int, step: Step) -> Change:
    undoes = step.undoes
    return Change(
        session=session,
        key=Target.parse(step.planned.target).id,
        before=step.planned.before,
        after=step.planned.after,
        proposal=proposal,
        origin=proposal if undoes is None else undoes.proposal,
        action=index if undoes is None else undoes.index,
        direction="apply" if undoes is None else "undo",
    )


def _record(
    session: Session,
    proposal: LockedProposal,
    steps: Sequence[Step],
    now: datetime,
    microseconds: int,
) -> None:
    """The entry of the execution; for a rollback also that of the proposal it has undone."""
    applied = [_effect(proposal.type, step) for step in steps if step.undoes is None]
    data: dict[str, Any] = {
        "payload_hash": proposal.payload_hash,
        "microseconds": str(microseconds),
        "actions": applied,
    }
    append(session, [Entry(EXECUTED, now, "rule:execution", proposal.id, data)])
    undone: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        if step.undoes is not None:
            effect = {**_effect(step.undoes.type, step), "action": step.undoes.index}
            undone.setdefault(step.undoes.proposal, []).append(effect)
    for target, actions in undone.items():
        data = {"by": proposal.id, "actions": actions, "microseconds": str(microseconds)}
        append(session, [Entry(ROLLED_BACK, now, "rule:execution", target, data)])


def _effect(type_: str, step: Step) -> dict[str, Any]:
    planned = step.planned
    return {
        "type": type_,
        "target": planned.target,
        "before": planned.before,
        "after": planned.after,
        "way_back": dict(planned.way_back),
    }


def _committed(session: Session, payload: Payload) -> Payload:
    """Proposals of the first schema have their texts in clear; what they change must not."""
    given = [value for _, _, value in payload.texts()]
    if not given:
        return payload
    known = {row.commitment for row in run(session, _KNOWN, given=given)}
    return payload if known.issuperset(given) else with_commitments(session, payload)[0]


def _require_unchanged(session: Session, proposal: LockedProposal) -> None:
    """What is executed is byte for byte what was voted on: the ledger has its hash (INV-33)."""
    proposed = session.execute(_CREATED, {"id": proposal.id}).scalar_one_or_none()
    if not hashlib.sha256(proposal.payload).hexdigest() == proposal.payload_hash == proposed:
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
