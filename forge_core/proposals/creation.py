"""Creating proposals: everything that can be wrong is refused before anything is written.

What only the present state speaks against (a stale value, a balance that does not suffice) may be
different at execution: the simulation says it, its outcome is recorded, and the draft is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue, check_may_propose
from forge_core.actions.kind import Frame
from forge_core.actions.payloads import Payload
from forge_core.actions.planning import plan
from forge_core.actions.present import Present
from forge_core.actions.rollback import undone_proposals
from forge_core.capabilities.declaration import Value
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now, is_sandbox, rfc3339
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.record import HOUSE
from forge_core.jobs.steps import each
from forge_core.ledger.canonical import canonical_bytes
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.electorate import MemberNow, members_now, require_member
from forge_core.members.holdings import is_balance_roll, require_balance_source
from forge_core.proposals.basis import Basis, basis_of, require_roll_allowed, undone_by
from forge_core.proposals.draft import Draft, check_draft, check_voting_hours
from forge_core.text import require_id

KEYS = {
    "type",
    "title",
    "description",
    "reason",
    "payload",
    "voting_hours",
    "electorate",
    "predecessor",
}

REFUSED_AT_ONCE = frozenset({"OWN_RAISE", "FEATURE_NOT_OPEN"})
"""Problems that are no matter of the present state alone: not even a draft is made."""

CREATED = EntryKind.of(
    "proposal.created",
    """
    INSERT INTO proposals (id, type, status, proposer, title, description, reason, payload,
        payload_hash, track, voting_hours, electorate, predecessor, created_at, lapses_at)
    SELECT subject, data ->> 'type', 'draft', actor, data ->> 'title', data ->> 'description',
        data ->> 'reason', convert_to(data ->> 'payload', 'UTF8'),
        decode(data ->> 'payload_hash', 'hex'), data ->> 'track',
        (data ->> 'voting_hours')::integer, data ->> 'electorate', data ->> 'predecessor', at,
        (data ->> 'lapses_at')::timestamptz
    FROM forge_entries(:ids)
    """,
    """
    INSERT INTO tallies (proposal_id) SELECT subject FROM forge_entries(:ids)
    """,
    """
    INSERT INTO proposal_targets (proposal_id, target)
    SELECT subject, target
    FROM forge_entries(:ids), jsonb_array_elements_text(coalesce(data -> 'targets', '[]')) AS target
    """,
    version=3,
    texts={"title": 1, "description": 1, "reason": 1, "payload_texts": 2},
)

_ELECTORATES = text("""
    SELECT id FROM imported_electorates WHERE id = ANY(:ids) AND sealed_at IS NOT NULL
""")
_PROPOSALS = text("SELECT id FROM proposals WHERE id = ANY(:ids)")


@dataclass(frozen=True)
class _Known:
    """What the step has read once for all its jobs."""

    session: Session
    catalogue: Catalogue
    values: Mapping[str, Value]
    members: dict[str, MemberNow]
    electorates: frozenset[str]
    proposals: frozenset[str]
    sandbox: bool
    now: datetime


def create(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``proposals.create``. Safe to repeat: ids are unique, the job ends with it."""
    catalogue = with_extensions(session, catalogue)
    known = _Known(
        session,
        catalogue,
        present_values(session, catalogue),
        members_now(session, [job.actor for job in jobs]),
        _named(session, _ELECTORATES, "electorate", jobs),
        _named(session, _PROPOSALS, "predecessor", jobs),
        is_sandbox(session),
        forge_now(session),
    )
    entries: list[Entry] = []

    def decide(job: Job) -> Outcome:
        entry, problem = _entry(known, job)
        entries.append(entry)
        warned = {} if problem is None else {"warning": problem.message, "code": problem.code}
        return Outcome.done(proposal_id=entry.subject, **warned)

    outcomes = each(jobs, decide)
    append(session, entries)
    return outcomes


def draft_for_house(
    session: Session, catalogue: Catalogue, id_: str, given: Mapping[str, Any]
) -> None:
    """A draft that the house itself makes: an admin who activates it stands behind it.

    ``given``: type, title, description and payload, as a command has them. Running it twice is
    safe: a proposal of that id is left alone.
    """
    if run(session, _PROPOSALS, ids=[id_]):
        return
    catalogue = with_extensions(session, catalogue)
    none: frozenset[str] = frozenset()
    values, now = present_values(session, catalogue), forge_now(session)
    known = _Known(session, catalogue, values, {}, none, none, is_sandbox(session), now)
    draft = check_draft(**given, catalogue=catalogue)
    basis = basis_of(draft.payload, catalogue, {})
    payload = completed(Present(session, catalogue, now), draft.payload)
    hours = check_voting_hours(None, basis.track, values, caps_lifted=known.sandbox)
    frame = Frame(id_, HOUSE, now, draft.title, draft.description)
    problem = simulated(Present(session, catalogue, now), catalogue, payload, frame)
    data = _data(known, {}, draft, basis, payload, hours, problem)
    append(session, [Entry(CREATED, now, HOUSE, id_, data)])


def proposal_id(issuer: str, command_id: str) -> str:
    """Deterministic: a command, whose content never changes, names one proposal.

    The content is not hashed into it: a guess at a text that was erased could be tried against it.
    """
    digest = hashlib.sha256(canonical_bytes({"issuer": issuer, "command": command_id}))
    return "p-" + digest.hexdigest()[:32]


def _named(session: Session, query: Any, key: str, jobs: Sequence[Job]) -> frozenset[str]:
    named = [id_ for job in jobs if isinstance(id_ := job.payload.get(key), str)]
    return frozenset(row.id for row in run(session, query, ids=named)) if named else frozenset()


def _entry(known: _Known, job: Job) -> tuple[Entry, Refused | None]:
    unknown = sorted(set(job.payload) - KEYS)
    if unknown:
        raise Refused("COMMAND_UNKNOWN_KEY", f"unknown: {unknown[0]!r}; known are {sorted(KEYS)}")
    draft = check_draft(
        type=job.payload.get("type"),
        title=job.payload.get("title"),
        description=job.payload.get("description"),
        payload=job.payload.get("payload"),
        reason=job.payload.get("reason", ""),
        catalogue=known.catalogue,
    )
    undone = undone_proposals(known.session, undone_by(draft.payload))
    basis = basis_of(draft.payload, known.catalogue, undone)
    proposer = require_member(known.members, job.actor)
    check_may_propose(proposer.level, basis.kind)
    _check_named(known, job)
    require_roll_allowed(basis.kind, job.payload.get("electorate"), known.values)
    present = Present(known.session, known.catalogue, known.now)
    payload = completed(present, draft.payload)
    hours = check_voting_hours(
        job.payload.get("voting_hours"), basis.track, known.values, caps_lifted=known.sandbox
    )
    id_ = proposal_id(str(job.issuer), str(job.command_id))
    frame = Frame(id_, proposer.id, known.now, draft.title, draft.description)
    problem = simulated(present, known.catalogue, payload, frame)
    if problem is not None and problem.code in REFUSED_AT_ONCE:
        raise problem
    data = _data(known, job.payload, draft, basis, payload, hours, problem)
    return Entry(CREATED, known.now, job.actor, id_, data, job.command), problem


def completed(present: Present, payload: Payload) -> Payload:
    """The payload with what the proposer left to the present state."""
    actions = tuple(payload.kind.complete(present, action) for action in payload.actions)
    return Payload(payload.kind, actions)


def simulated(
    present: Present, catalogue: Catalogue, payload: Payload, frame: Frame
) -> Refused | None:
    """Why the payload could not be executed now; None when it could."""
    try:
        plan(present, catalogue, payload, frame)
    except Refused as refusal:
        return refusal
    return None


def _check_named(known: _Known, job: Job) -> None:
    electorate, predecessor = job.payload.get("electorate"), job.payload.get("predecessor")
    if electorate is not None:
        require_id("electorate", electorate)
        if is_balance_roll(electorate):
            require_balance_source(known.session, electorate)
        elif electorate not in known.electorates:
            raise Refused("ELECTORATE_UNKNOWN", f"there is no sealed electorate {electorate!r}")
    if predecessor is not None and require_id("predecessor", predecessor) not in known.proposals:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no predecessor {str(predecessor)[:80]!r}")


def _data(  # what an entry of creation is made of
    known: _Known,
    given: Mapping[str, Any],
    draft: Draft,
    basis: Basis,
    payload: Payload,
    hours: int,
    problem: Refused | None,
) -> dict[str, Any]:
    terms = basis.terms(known.values, voting_hours=hours)
    title, description, reason = keep_texts(
        known.session, draft.title, draft.description, draft.reason
    )
    committed, payload_texts = with_commitments(known.session, payload)
    return {
        "type": payload.kind.name,
        "track": basis.track.value,
        "voting_hours": hours,
        "title": title,
        "description": description,
        "reason": reason,
        "payload": committed.canonical().decode(),
        "payload_hash": committed.digest(),
        "payload_texts": payload_texts,
        "electorate": given.get("electorate"),
        "predecessor": given.get("predecessor"),
        "targets": sorted(basis.targets),
        "simulation": "possible" if problem is None else problem.code,
        "lapses_at": rfc3339(known.now + terms.draft_lifetime),
    }


def with_commitments(session: Session, payload: Payload) -> tuple[Payload, list[str]]:
    """The payload with commitments in place of its free texts, and these commitments."""
    texts = {(index, field): value for index, field, value in payload.texts()}
    kept = keep_texts(session, *texts.values()) if texts else []
    return payload.with_texts(dict(zip(texts, kept, strict=True))), kept
