"""Closing: the one place where a proposal is decided.

Due proposals are locked FOR UPDATE, which no acceptor in flight lets happen; what is in the inbox
is counted, the ballots are counted anew, and the decision is made in that transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.database import run
from forge_core.exact import to_decimal_string
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.record import enqueue
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.proposals.lifecycle import Status, close_due
from forge_core.proposals.locking import LockedProposal, lock_proposals
from forge_core.proposals.queueing import execution_job, queued
from forge_core.proposals.tracks import Terms
from forge_core.voting.ballots import count_ballots
from forge_core.voting.recount import Counted, recount, with_delegations
from forge_core.voting.tally import Decision, Thresholds, Totals, decide

MOST_BALLOTS = 10_000
MOST_DELEGATED = 10  # following delegations takes a query a proposal, and a lease has an end
UNGATED_LAPSE = timedelta(days=30)

TOTALS = {
    "for": "for_",
    "against": "against",
    "abstain": "abstain",
    "eligible": "eligible",
    "largest_yes": "largest_yes",
}

DECIDED = EntryKind.of(
    "proposal.decided",
    """
    UPDATE proposals SET status = data ->> 'outcome', decided_at = entry.at,
        decision = data -> 'decision', lapses_at = (data ->> 'lapses_at')::timestamptz,
        ended_at = CASE WHEN data ->> 'outcome' = 'rejected' THEN entry.at END
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
)

_ACTIVE = text("SELECT id FROM proposals WHERE id = ANY(:ids) AND status = 'active'")
_IN_INBOX = text("SELECT DISTINCT proposal_id FROM ballot_inbox WHERE proposal_id = ANY(:ids)")


def close(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``proposals.close``.

    Safe to repeat: a proposal that is not active is left alone. A job goes again when its
    proposal is held by an acceptor in flight (no other waits for that), when more than 10,000
    ballots wait (those are committed), beyond ten with delegated weight, or when it is not due
    because the clock stepped back since the sweep.
    """
    locked = lock_proposals(
        session, [job.payload.get("proposal_id") for job in jobs], skip_locked=True
    )
    now = forge_now(session)
    due = {
        id_: proposal
        for id_, proposal in locked.items()
        if proposal.status is Status.ACTIVE
        and proposal.closes_at is not None
        and close_due(now, proposal.closes_at)
    }
    if len(count_ballots(session, sorted(due), limit=MOST_BALLOTS)) == MOST_BALLOTS:
        for row in run(session, _IN_INBOX, ids=sorted(due)):
            del due[row.proposal_id]
    for id_ in with_delegations(session, sorted(due))[MOST_DELEGATED:]:
        del due[id_]
    _decide(session, due, now)
    open_ = _open(session, jobs)
    return [
        Outcome.again() if job.payload.get("proposal_id") in open_ else Outcome.done()
        for job in jobs
    ]


def _open(session: Session, jobs: Sequence[Job]) -> set[str]:
    """The proposals among these jobs' that are still to be decided."""
    ids = [id_ for job in jobs if isinstance(id_ := job.payload.get("proposal_id"), str)]
    return {row.id for row in run(session, _ACTIVE, ids=ids)}


def _decide(session: Session, due: Mapping[str, LockedProposal], now: datetime) -> None:
    counted = recount(session, {id_: Fraction(p.eligible_weight) for id_, p in due.items()})
    decided, entries, execute = [], [], []
    for id_, proposal in sorted(due.items()):
        terms = proposal.terms
        decision = decide(counted[id_].standing, Thresholds.of(terms))
        decided.append(_decided(proposal, terms, decision, counted[id_], now))
        if decision.approved and not terms.gated:
            entries.append(queued(id_, terms, now))
            if terms.timelock_hours == 0:
                execute.append(execution_job(id_))
    append(session, decided)
    append(session, entries)
    enqueue(session, execute)


def _decided(
    proposal: LockedProposal, terms: Terms, decision: Decision, counted: Counted, now: datetime
) -> Entry:
    shown: dict[str, Any] = {
        **decision.to_json(),
        "totals": _plain(counted.standing),
        "ballots": {side: str(n) for side, n in counted.ballots.items()},
    }
    if counted.everyone != counted.standing:
        everyone = decide(counted.everyone, Thresholds.of(terms))
        shown["set_aside"] = {
            "ballots": list(counted.set_aside),
            "outcome_with_them": everyone.outcome,
            "totals_with_them": _plain(counted.everyone),
        }
    lapses_at = now + (terms.gate_lifetime or UNGATED_LAPSE) if decision.approved else None
    data = {
        "outcome": decision.outcome,
        "decision": shown,
        "lapses_at": None if lapses_at is None else rfc3339(lapses_at),
    }
    return Entry(DECIDED, now, "rule:decision", proposal.id, data)


def _plain(totals: Totals) -> dict[str, str]:
    return {
        name: to_decimal_string(Fraction(getattr(totals, attribute)))
        for name, attribute in TOTALS.items()
    } | {"yes_voters": str(totals.yes_voters)}


DUE = Derivation(
    "due proposals",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'proposals.close', 'close:' || id || ':' || extract(epoch FROM closes_at), true,
            jsonb_build_object('proposal_id', id), 'system'
        FROM proposals
        WHERE status = 'active' AND closes_at < (SELECT forge_now())
            AND NOT EXISTS (
                SELECT FROM jobs
                WHERE once AND key =
                    'close:' || proposals.id || ':' || extract(epoch FROM closes_at)
            )
        ORDER BY closes_at, id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)
