"""Simulation: what a proposal would change if it were executed now, and what it takes until then.

The plan is the one that execution uses, so that what is shown is what happens. Nothing is written:
the database itself refuses it while a simulation runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue, check_may_propose
from forge_core.actions.kind import Frame, Planned
from forge_core.actions.payloads import Payload, parse_payload
from forge_core.actions.planning import Step, plan
from forge_core.actions.present import Present
from forge_core.actions.rollback import undone_proposals
from forge_core.capabilities.declaration import Value
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now, is_sandbox
from forge_core.database import describe, run
from forge_core.enforcement.eligible import eligible, require_roll
from forge_core.enforcement.execution import HOOK_SECONDS
from forge_core.enforcement.limits import time_limit
from forge_core.enforcement.review import able_reviewers
from forge_core.enforcement.standing import LIVE, standings
from forge_core.errors import Refused
from forge_core.members.electorate import members_now, require_member
from forge_core.proposals.basis import Basis, basis_of, undone_by
from forge_core.proposals.creation import REFUSED_AT_ONCE, completed
from forge_core.proposals.draft import check_voting_hours
from forge_core.proposals.locking import LockedProposal, read_proposals, require_proposal
from forge_core.proposals.tracks import Terms
from forge_core.text import require_id

DRAFT: Final = "draft"
"""Stands for the id of a proposal that is not there yet."""

RIVALS_MOST: Final = 100

_READ_ONLY = text("SET LOCAL transaction_read_only = on")
_RIVALS = text("""
    SELECT id, status, proposer, array_agg(target ORDER BY target) AS targets
    FROM proposal_targets JOIN proposals ON id = proposal_id
    WHERE target = ANY(:targets) AND id <> :besides
        AND status IN ('draft', 'active', 'approved', 'queued', 'failed')
    GROUP BY id ORDER BY created_at, id LIMIT :limit
""")
_TARGETS = text("SELECT target FROM proposal_targets WHERE proposal_id = :id")
_QUEUED = text("SELECT id FROM proposals WHERE status = 'queued' ORDER BY eta, id LIMIT :limit")


@contextmanager
def read_only(session: Session) -> Iterator[None]:
    """Whatever would write within the block fails; the transaction around it may write again."""
    with session.begin_nested():
        session.execute(_READ_ONLY)
        yield


@dataclass(frozen=True)
class _Subject:
    """What is simulated: a proposal as it stands, or one that is not there yet."""

    proposal: LockedProposal | None
    type: str
    proposer: str
    targets: Collection[str]
    electorate: str | None
    basis: Basis | None
    terms: Terms | None
    steps: Sequence[Step]
    problem: Refused | None


def simulate(  # noqa: PLR0913  # one keyword for each field of a proposal
    session: Session,
    catalogue: Catalogue,
    *,
    proposer: str,
    type: object,  # noqa: A002  # the field's own name
    payload: object,
    title: str = "",
    description: str = "",
    voting_hours: object = None,
    electorate: object = None,
    predecessor: object = None,
) -> dict[str, Any]:
    """What creating this proposal and executing it now would do, as plain JSON.

    ``changes``: each with target, value before and after, and what the declaration's preview adds;
    ``problem`` (code, message) instead, if it could not be executed now. ``rivals``: live proposals
    that change the same. ``classes``, ``track`` and ``terms`` as they would be frozen by opening it
    now. ``electorate``: who could vote with what weight. ``review``: who could review, and how many
    are needed. Raises what creating it would be refused with.
    """
    with read_only(session):
        catalogue = with_extensions(session, catalogue)
        values, now = present_values(session, catalogue), forge_now(session)
        parsed = parse_payload(type, payload, catalogue)
        basis = basis_of(parsed, catalogue, undone_proposals(session, undone_by(parsed)))
        member = require_member(members_now(session, [require_id("actor", proposer)]), proposer)
        check_may_propose(member.level, basis.kind)
        roll = None if electorate is None else require_roll(session, electorate)
        if predecessor is not None:
            first = require_id("predecessor", predecessor)
            require_proposal(read_proposals(session, [first]), first)
        present = Present(session, catalogue, now)
        parsed = completed(present, parsed)
        hours = check_voting_hours(
            voting_hours, basis.track, values, caps_lifted=is_sandbox(session)
        )
        frame = Frame(DRAFT, member.id, now, title, description)
        steps, problem = _planned(present, catalogue, parsed, frame)
        if problem is not None and problem.code in REFUSED_AT_ONCE:
            raise problem
        return _told(
            session,
            _Subject(
                proposal=None,
                type=parsed.kind.name,
                proposer=member.id,
                targets={*parsed.targets(), *basis.governing.targets()},
                electorate=roll,
                basis=basis,
                terms=basis.terms(values, voting_hours=hours),
                steps=steps,
                problem=problem,
            ),
            values,
        )


def simulate_proposal(session: Session, catalogue: Catalogue, id_: str) -> dict[str, Any]:
    """The same of a proposal that is there, with ``standing``: what it still waits for.

    Of an opened one terms and electorate are those frozen at opening; a payload that is refused
    now is its problem. Raises PROPOSAL_UNKNOWN.
    """
    with read_only(session):
        catalogue = with_extensions(session, catalogue)
        values, now = present_values(session, catalogue), forge_now(session)
        proposal = require_proposal(read_proposals(session, [require_id("proposal", id_)]), id_)
        subject = _subject(session, catalogue, proposal, values, now)
        standing = standings(session, catalogue, [proposal], now)[proposal.id]
        return {**_told(session, subject, values), "standing": standing}


def queue(session: Session, catalogue: Catalogue, *, limit: int = 50) -> list[dict[str, Any]]:
    """The queued proposals by eta: what each would change now, and what it still waits for.

    Each is simulated alone: what an earlier one changes is not seen by a later one.
    """
    with read_only(session):
        catalogue = with_extensions(session, catalogue)
        values, now = present_values(session, catalogue), forge_now(session)
        ids = [row.id for row in run(session, _QUEUED, limit=limit)]
        known = read_proposals(session, ids)
        standing = standings(session, catalogue, list(known.values()), now)
        found = []
        for id_ in ids:
            subject = _subject(session, catalogue, known[id_], values, now)
            head = {"proposal": id_, "type": subject.type, "proposer": subject.proposer}
            found.append({**head, **_outcome(subject), **standing[id_]})
        return found


def _subject(
    session: Session,
    catalogue: Catalogue,
    proposal: LockedProposal,
    values: Mapping[str, Value],
    now: datetime,
) -> _Subject:
    basis: Basis | None = None
    steps: Sequence[Step] = ()
    problem: Refused | None = None
    try:
        payload = parse_payload(proposal.type, json.loads(proposal.payload), catalogue)
        basis = basis_of(payload, catalogue, undone_proposals(session, undone_by(payload)))
        if proposal.frozen_terms is not None and proposal.status in LIVE:
            basis.require_track(proposal.track)
    except Refused as refusal:
        problem = refusal
    else:
        frame = Frame(proposal.id, proposal.proposer, now, proposal.title, proposal.description)
        if proposal.status in LIVE:
            steps, problem = _planned(Present(session, catalogue, now), catalogue, payload, frame)
    if proposal.status not in LIVE:
        problem = Refused("PROPOSAL_STATUS", f"it is {proposal.status}: nothing more comes of it")
    terms = None
    if proposal.frozen_terms is not None:
        terms = proposal.terms
    elif basis is not None:
        terms = basis.terms(values, voting_hours=proposal.voting_hours)
    return _Subject(
        proposal=proposal,
        type=proposal.type,
        proposer=proposal.proposer,
        targets=[row.target for row in run(session, _TARGETS, id=proposal.id)],
        electorate=proposal.electorate,
        basis=basis,
        terms=terms,
        steps=steps,
        problem=problem,
    )


def _planned(
    present: Present, catalogue: Catalogue, payload: Payload, frame: Frame
) -> tuple[Sequence[Step], Refused | None]:
    try:
        return plan(present, catalogue, payload, frame), None
    except Refused as refusal:
        return (), refusal


def _told(session: Session, subject: _Subject, values: Mapping[str, Value]) -> dict[str, Any]:
    proposal, basis, terms = subject.proposal, subject.basis, subject.terms
    classes = [] if basis is None else sorted(klass.value for klass in basis.classes)
    return {
        "proposal": None if proposal is None else proposal.id,
        "type": subject.type,
        "proposer": subject.proposer,
        **_outcome(subject),
        "rivals": _rivals(session, subject),
        "classes": classes,
        "track": None if terms is None else terms.track.value,
        "terms": None if terms is None else terms.to_json(),
        "frozen": proposal is not None and proposal.frozen_terms is not None,
        "electorate": eligible(session, values, subject.electorate, subject.proposal),
        "review": {
            "needed": None if terms is None else terms.reviewers,
            "able": able_reviewers(session, subject.proposer),
        },
    }


def _outcome(subject: _Subject) -> dict[str, Any]:
    problem = subject.problem
    return {
        "changes": [_change(subject, index, step) for index, step in enumerate(subject.steps)],
        "problem": None if problem is None else {"code": problem.code, "message": problem.message},
    }


def _change(subject: _Subject, index: int, step: Step) -> dict[str, Any]:
    """As the execution's effect names it, beside what the platform's preview adds."""
    planned, undoes = step.planned, step.undoes
    own = DRAFT if subject.proposal is None else subject.proposal.id
    return {
        "proposal": own if undoes is None else undoes.proposal,
        "action": index if undoes is None else undoes.index,
        "direction": "apply" if undoes is None else "undo",
        "type": subject.type if undoes is None else undoes.type,
        "target": planned.target,
        "before": planned.before,
        "after": planned.after,
        "preview": _preview(planned),
    }


def _preview(planned: Planned) -> list[str]:
    declared = planned.capability
    if declared is None or declared.preview is None:
        return []
    try:
        with time_limit(HOOK_SECONDS, declared.key):
            return [str(line) for line in declared.preview(planned.before, planned.after)]
    except Exception as error:  # noqa: BLE001  # whatever a platform's hook raises
        return [f"the preview of {declared.key} failed: {describe(error)}"]


def _rivals(session: Session, subject: _Subject) -> list[dict[str, Any]]:
    proposal = subject.proposal
    if not subject.targets or (proposal is not None and proposal.status not in LIVE):
        return []
    besides = "" if proposal is None else proposal.id
    rows = run(
        session, _RIVALS, targets=sorted(subject.targets), besides=besides, limit=RIVALS_MOST
    )
    return [
        {
            "proposal": row.id,
            "status": row.status,
            "proposer": row.proposer,
            "targets": list(row.targets),
        }
        for row in rows
    ]
