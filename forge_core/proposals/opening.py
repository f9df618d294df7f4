"""Opening: a draft becomes active, and everything that decides about it is frozen.

O(1) in the number of members: version, members per level and the weight table are all there is
to freeze; a voter's own weight is looked up when they vote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue, check_may_propose
from forge_core.actions.payloads import parse_payload
from forge_core.actions.rollback import undone_proposals
from forge_core.capabilities.declaration import Value
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now, rfc3339
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.record import HOUSE
from forge_core.jobs.steps import each
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.members.electorate import MemberNow, members_now, require_member, share_electorate
from forge_core.members.holdings import is_balance_roll, materialise
from forge_core.members.levels import Role, TrustLevel
from forge_core.proposals.basis import Basis, basis_of, require_roll_allowed, undone_by
from forge_core.proposals.lifecycle import Status, lifetime_over
from forge_core.proposals.locking import LockedProposal, lock_proposals, require_proposal
from forge_core.proposals.tracks import Track
from forge_core.proposals.weights import COIN_SHARE, weight_table

ACTIVATED = EntryKind.of(
    "proposal.activated",
    """
    UPDATE proposals SET
        status = 'active', lapses_at = NULL, opened_at = entry.at,
        closes_at = (data ->> 'closes_at')::timestamptz,
        electorate_version = (data ->> 'electorate_version')::bigint,
        eligible_weight = (data ->> 'eligible_weight')::numeric,
        eligible_members = (data ->> 'eligible_members')::bigint,
        weights = CASE WHEN data -> 'weights' <> 'null' THEN data -> 'weights' END,
        electorate = coalesce(data ->> 'electorate', electorate),
        terms = data -> 'terms'
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    version=2,
)

_ROLL = text("SELECT id, members, weight FROM imported_electorates WHERE id = :id")


def activate(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``proposals.activate``. Twice is refused: the proposal is no draft any more."""
    try:
        electorate = share_electorate(session)  # before the proposals, by the lock order
    except Refused as refusal:
        return [Outcome.refused(refusal) for _ in jobs]
    locked = lock_proposals(session, [job.payload.get("proposal_id") for job in jobs])
    known = members_now(
        session, [job.actor for job in jobs] + [p.proposer for p in locked.values()]
    )
    catalogue = with_extensions(session, catalogue)
    values = present_values(session, catalogue)
    now = forge_now(session)
    opened: dict[str, Entry] = {}

    def decide(job: Job) -> Outcome:
        proposal = require_proposal(locked, job.payload.get("proposal_id"))
        if proposal.id in opened:
            raise Refused("PROPOSAL_STATUS", "the proposal is active, not draft")
        basis = _basis(session, proposal, catalogue)
        _check(job, proposal, basis, known, values, now)
        data = _frozen(session, proposal, basis, electorate, values, now)
        opened[proposal.id] = Entry(ACTIVATED, now, job.actor, proposal.id, data, job.command)
        return Outcome.done(proposal_id=proposal.id, closes_at=data["closes_at"])

    outcomes = each(jobs, decide)
    append(session, list(opened.values()))
    return outcomes


def _basis(session: Session, proposal: LockedProposal, catalogue: Catalogue) -> Basis:
    payload = parse_payload(proposal.type, json.loads(proposal.payload), catalogue)
    return basis_of(payload, catalogue, undone_proposals(session, undone_by(payload)))


def _check(
    job: Job,
    proposal: LockedProposal,
    basis: Basis,
    known: dict[str, MemberNow],
    values: Mapping[str, Value],
    now: datetime,
) -> None:
    proposal.require(Status.DRAFT)
    if proposal.lapses_at is not None and lifetime_over(now, proposal.lapses_at, timedelta(0)):
        raise Refused("DRAFT_LAPSED", "the draft's lifetime is over; create the proposal again")
    actor = require_member(known, job.actor)
    if actor.id != proposal.proposer and Role.ADMIN not in actor.roles:
        raise Refused("POWER_MISSING", "a draft is activated by its proposer or an admin")
    # Nobody proposed what the house drafted: who activates it stands behind it.
    sponsor = actor if proposal.proposer == HOUSE else require_member(known, proposal.proposer)
    check_may_propose(sponsor.level, basis.kind)
    require_roll_allowed(basis.kind, proposal.electorate, values)


def _frozen(  # what opening freezes is made of all this
    session: Session,
    proposal: LockedProposal,
    basis: Basis,
    electorate: Row[Any],
    values: Mapping[str, Value],
    now: datetime,
) -> dict[str, Any]:
    # A rule may have come to ask for longer since the draft was made.
    least = int(str(values[f"track.{basis.track}.voting_hours_least"]))
    terms = basis.terms(values, voting_hours=max(proposal.voting_hours, least))
    if terms.track is not Track(proposal.track):
        raise Refused(
            "TRACK_CHANGED",
            f"what it changes belongs to the {terms.track} track now, not {proposal.track}; "
            "create the proposal again",
        )
    closes_at = now + terms.voting
    frozen: dict[str, Any] = {
        "closes_at": rfc3339(closes_at),
        "electorate_version": str(electorate.version),
        "terms": terms.to_json(),
    }
    if proposal.electorate is not None:
        roll = _roll(session, proposal.electorate, values, now)
        return frozen | {
            "electorate": roll.id,
            "weights": None,
            "eligible_weight": format(roll.weight, "f"),
            "eligible_members": str(roll.members),
        }
    weights = weight_table(values)
    members = {level: getattr(electorate, level.value.lower()) for level in TrustLevel}
    eligible = sum((weights[level] * members[level] for level in TrustLevel), Fraction(0))
    return frozen | {
        "weights": {level.value: to_decimal_string(weights[level]) for level in TrustLevel},
        "eligible_weight": to_decimal_string(eligible),
        "eligible_members": str(sum(n for level, n in members.items() if weights[level] > 0)),
    }


def _roll(
    session: Session, electorate: str, values: Mapping[str, Value], now: datetime
) -> Row[Any]:
    """The sealed roll that a draft names, or one of what its source says members hold now."""
    if is_balance_roll(electorate):
        share = parse_decimal(values[COIN_SHARE])
        electorate = materialise(session, electorate, coin_share=share, at=now)
    return session.execute(_ROLL, {"id": electorate}).one()
