"""Code review and sign-off: the commands that complete a proposal's gates.

With the gate that completes them the proposal is queued in the same transaction; after that, both
are closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.enforcement.gates import Gates, Review
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.record import enqueue
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.census import REVIEWER_TRUST
from forge_core.members.electorate import MemberNow, members_now, require_member
from forge_core.members.levels import Role, can_access
from forge_core.proposals.draft import REASON_MOST
from forge_core.proposals.expiry import is_expired
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.locking import LockedProposal, lock_proposals, require_proposal
from forge_core.proposals.queueing import execution_job, queued
from forge_core.text import require_text, shown

REVIEWED = EntryKind.of(
    "proposal.reviewed",
    """
    INSERT INTO reviews (proposal_id, member_id, approves, weight, comment, reviewed_at)
    SELECT subject, actor, (data ->> 'approves')::boolean, (data ->> 'weight')::numeric,
        data ->> 'comment', at
    FROM forge_entries(:ids)
    ON CONFLICT (proposal_id, member_id) DO UPDATE
    SET approves = excluded.approves, weight = excluded.weight, comment = excluded.comment,
        reviewed_at = excluded.reviewed_at
    """,
    texts=("comment",),
)

SIGNED_OFF = EntryKind.of(
    "proposal.signed_off",
    """
    INSERT INTO sign_offs (proposal_id, member_id, signed_at)
    SELECT subject, actor, at FROM forge_entries(:ids)
    """,
)

_REVIEWS = text("""
    SELECT member_id, approves, weight, body AS comment FROM reviews
    LEFT JOIN texts ON texts.commitment = reviews.comment
    WHERE proposal_id = :id AND (NOT :standing OR EXISTS (
        SELECT FROM members JOIN member_roles AS held ON held.member_id = id AND role = 'reviewer'
        WHERE id = reviews.member_id AND active AND level IN ('CORE', 'TRUSTED')
    ))
    ORDER BY member_id
""")
_SIGNED = text("SELECT member_id FROM sign_offs WHERE proposal_id = :id")
# Ballots that the decision set aside, and those without weight, are nobody's yes.
_YES_VOTERS = text("""
    SELECT member_id FROM effective_ballots
    WHERE proposal_id = :id AND choice = 'for' AND weight > 0
        AND member_id NOT IN (
            SELECT aside ->> 'member' FROM proposals,
                jsonb_array_elements(decision -> 'set_aside' -> 'ballots') AS aside
            WHERE id = :id
        )
        AND (NOT :standing OR member_id NOT IN (
            SELECT id FROM members WHERE level = 'QUARANTINE' OR NOT active
        ))
    ORDER BY member_id COLLATE "C"
""")
_WITHOUT = text("""
    SELECT convert_from(body, 'UTF8')::jsonb -> 'data' -> 'without' FROM ledger_entries
    WHERE subject = :id AND kind = 'proposal.queued' ORDER BY id DESC LIMIT 1
""")
_ABLE = text("""
    SELECT id FROM members JOIN member_roles ON member_id = id AND role = 'reviewer'
    WHERE active AND level IN ('CORE', 'TRUSTED') AND id <> :proposer
    ORDER BY id COLLATE "C"
""")

Decide = Callable[[Session, Job, LockedProposal, MemberNow, datetime], None]


def gates_of(session: Session, proposal: LockedProposal) -> Gates:
    """The gates of a decided proposal.

    While they are open only those count who may still review or sign off; once it is queued, what
    had completed them.
    """
    if proposal.status is Status.APPROVED:
        return _gates(session, proposal, standing=True)
    lost = session.execute(_WITHOUT, {"id": proposal.id}).scalar_one_or_none() or {}
    gates = _gates(session, proposal, standing=False)
    return gates.without(lost.get("reviewers", ()), lost.get("yes_voters", ()))


def _gates(session: Session, proposal: LockedProposal, *, standing: bool) -> Gates:
    given = {"id": proposal.id, "standing": standing}
    reviews = run(session, _REVIEWS, **given)
    yes_voters = tuple(row.member_id for row in run(session, _YES_VOTERS, **given))
    signed = {row.member_id for row in run(session, _SIGNED, id=proposal.id)}
    return Gates(
        proposal.terms,
        tuple(
            Review(row.member_id, row.approves, Fraction(row.weight), row.comment)
            for row in reviews
        ),
        yes_voters,
        frozenset(signed.intersection(yes_voters)),
    )


def able_reviewers(session: Session, proposer: str) -> list[str]:
    """Who may review what ``proposer`` proposed, whether or not they have."""
    return [row.id for row in run(session, _ABLE, proposer=proposer)]


def review(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``enforcement.review``: approve or reject the code, with a comment.

    A reviewer's last word counts. Saying the same twice is safe: it is said once more.
    """

    def decide(
        session: Session, job: Job, proposal: LockedProposal, member: MemberNow, now: datetime
    ) -> None:
        _require_may_review(proposal, member)
        approves = job.payload.get("approves")
        if not isinstance(approves, bool):
            raise Refused("PAYLOAD_WRONG_TYPE", f"approves is true or false, not {shown(approves)}")
        comment = require_text("comment", job.payload.get("comment"), least=1, most=REASON_MOST)
        data = {
            "approves": approves,
            "weight": to_decimal_string(_weight(session, proposal, member, catalogue)),
            "comment": keep_texts(session, comment)[0],
        }
        append(session, [Entry(REVIEWED, now, member.id, proposal.id, data, job.command)])

    return _step(session, jobs, decide)


def sign_off(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``enforcement.sign_off``: a yes-voter agrees to the implementation, once."""

    def decide(
        session: Session, job: Job, proposal: LockedProposal, member: MemberNow, now: datetime
    ) -> None:
        gates = gates_of(session, proposal)
        if proposal.terms.sign_off is None:
            raise Refused("NO_SIGN_OFF", "this proposal's track has no sign-off")
        if member.id not in gates.yes_voters:
            raise Refused("NOT_A_YES_VOTER", "only members whose own final ballot was for sign off")
        if member.id in gates.signed:
            raise Refused("SIGNED_OFF_ALREADY", f"{member.id!r} has signed off")
        append(session, [Entry(SIGNED_OFF, now, member.id, proposal.id, {}, job.command)])

    return _step(session, jobs, decide)


def _step(session: Session, jobs: Sequence[Job], decide: Decide) -> list[Outcome]:
    """One job a transaction: each may complete the gates, and then the proposal is queued."""
    (job,) = jobs
    locked = lock_proposals(session, [job.payload.get("proposal_id")])
    now = forge_now(session)

    def decided(job: Job) -> Outcome:
        proposal = require_proposal(locked, job.payload.get("proposal_id"))
        member = require_member(members_now(session, [job.actor]), job.actor)
        proposal.require(Status.APPROVED)
        if is_expired(session, proposal, now):
            raise Refused("EXPIRED", "the time for review and sign-off is over")
        decide(session, job, proposal, member, now)
        return _go_on(session, proposal, now)

    return alone([job], decided)


def go_on(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``enforcement.go_on``: queue what somebody's loss of standing has completed.

    Safe to repeat: what is not approved any more, or not complete, stays as it is.
    """
    (job,) = jobs
    locked = lock_proposals(session, [job.payload.get("proposal_id")])
    now = forge_now(session)
    proposal = require_proposal(locked, job.payload.get("proposal_id"))
    if proposal.status is not Status.APPROVED or is_expired(session, proposal, now):
        return [Outcome.done(status=proposal.status.value)]
    return [_go_on(session, proposal, now)]


def _go_on(session: Session, proposal: LockedProposal, now: datetime) -> Outcome:
    """Queue the proposal when its gates are complete; else say what is missing."""
    gates = gates_of(session, proposal)
    missing = gates.problem()
    if missing is not None:
        return Outcome.done(status="approved", missing=missing.code, why=missing.message)
    everybody = _gates(session, proposal, standing=False)
    without = {
        "reviewers": sorted(
            {r.member for r in everybody.reviews} - {r.member for r in gates.reviews}
        ),
        "yes_voters": sorted(set(everybody.yes_voters) - set(gates.yes_voters)),
    }
    append(session, [queued(proposal.id, proposal.terms, now, without)])
    if proposal.terms.timelock_hours == 0:
        enqueue(session, [execution_job(proposal.id)])
    return Outcome.done(status="queued", eta=(now + proposal.terms.timelock).isoformat())


def _require_may_review(proposal: LockedProposal, member: MemberNow) -> None:
    if proposal.terms.reviewers is None:
        raise Refused("NO_REVIEW", "this proposal's track has no code review")
    if Role.REVIEWER not in member.roles:
        raise Refused("POWER_MISSING", "code is reviewed by members with the role reviewer")
    if not can_access(member.level, REVIEWER_TRUST):
        raise Refused("TRUST_TOO_LOW", f"reviewing takes {REVIEWER_TRUST}; you are {member.level}")
    if member.id == proposal.proposer:
        raise Refused("OWN_PROPOSAL", "nobody reviews what they proposed")


def _weight(
    session: Session, proposal: LockedProposal, member: MemberNow, catalogue: Catalogue
) -> Fraction:
    """As the member's ballot weighs: by the weights frozen at opening, else by the present ones."""
    if proposal.weights is not None:
        return parse_decimal(proposal.weights[member.level.value])
    return parse_decimal(present_values(session, catalogue)[f"trust.weight.{member.level}"])


# Once for every change of the electorate and of who reviews: the gates may ask for less since.
UNBLOCKED = Derivation(
    "gates that may be complete",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'enforcement.go_on', 'go_on:' || id || ':' || standing.now, true,
            jsonb_build_object('proposal_id', id), 'system'
        FROM proposals, (
            SELECT version, version || ':' || md5(coalesce((
                SELECT string_agg(member_id, ' ' ORDER BY member_id) FROM member_roles
                WHERE role = 'reviewer'
            ), '')) AS now
            FROM electorate
        ) AS standing
        WHERE status = 'approved'
            AND (version <> electorate_version OR EXISTS (
                SELECT FROM reviews WHERE proposal_id = proposals.id AND NOT EXISTS (
                    SELECT FROM member_roles AS held
                    WHERE held.member_id = reviews.member_id AND role = 'reviewer'
                )
            ))
            AND (
                EXISTS (SELECT FROM reviews WHERE proposal_id = proposals.id)
                OR EXISTS (SELECT FROM sign_offs WHERE proposal_id = proposals.id)
            )
            AND NOT EXISTS (
                SELECT FROM jobs
                WHERE once AND key = 'go_on:' || proposals.id || ':' || standing.now
            )
        ORDER BY id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)
