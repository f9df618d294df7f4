"""Where proposals stand: what each still waits for, from whom, and until when. For looking only.

Everything follows from the stored facts and the clock, by the rules that execution itself obeys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.windows import Window, windows
from forge_core.clock import as_utc, rfc3339
from forge_core.database import run
from forge_core.enforcement.holding import stopping
from forge_core.enforcement.review import able_reviewers, gates_of
from forge_core.proposals.lifecycle import FINAL, Status, execution_due
from forge_core.proposals.locking import LockedProposal

LIVE = frozenset({Status.DRAFT, Status.ACTIVE, Status.APPROVED, Status.QUEUED, Status.FAILED})
"""What may still change something; a failed proposal can be retried."""

_WAITED = frozenset({Status.QUEUED, Status.FAILED})

_PREDECESSORS = text("SELECT id, status FROM proposals WHERE id = ANY(:ids)")


def standings(
    session: Session, catalogue: Catalogue, proposals: Sequence[LockedProposal], now: datetime
) -> dict[str, dict[str, Any]]:
    """Of each proposal, by id, as plain JSON with times in RFC 3339.

    ``gates``: reviews and sign-offs, of a decided proposal whose track has them. ``expires_at``
    and ``may_run_at`` take into account what is known of windows, in force or to come.
    ``may_run_at`` is None while nobody can say: a predecessor comes first. ``missing``: what speaks
    against executing it now, with the codes that execution would give.
    """
    begins = [proposal.eta for proposal in proposals if proposal.eta is not None]
    known = windows(session, min([now, *(as_utc(eta) for eta in begins)]))
    first = _statuses(session, [p.predecessor for p in proposals if p.predecessor is not None])
    stopped_by = stopping(session, catalogue, proposals, known)
    return {
        proposal.id: _standing(session, proposal, now, known, stopped_by[proposal.id], first)
        for proposal in proposals
    }


def _standing(  # what it is told from
    session: Session,
    proposal: LockedProposal,
    now: datetime,
    known: Sequence[Window],
    stopped_by: Sequence[Window],
    first: dict[str, str],
) -> dict[str, Any]:
    able = able_reviewers(session, proposal.proposer)
    decided = proposal.decision is not None and proposal.frozen_terms is not None
    gates = gates_of(session, proposal) if decided and proposal.terms.gated else None
    missing = _waiting_for(proposal, now) if proposal.status in LIVE else []
    if proposal.status is Status.APPROVED and gates is not None:
        missing = [(one.code, one.message) for one in gates.problems()]
    if proposal.status in LIVE:
        missing += _held_back(proposal, now, stopped_by, first)
    expires_at = None
    if proposal.eta is not None and proposal.expires_at is not None:
        expires_at = runs_out_at(as_utc(proposal.eta), as_utc(proposal.expires_at), known)
    may_run = None
    if proposal.status is Status.QUEUED and not _waits_for_predecessor(proposal, first):
        may_run = may_run_at(proposal.eta, now, stopped_by)
    return {
        "status": proposal.status.value,
        "lapses_at": _time(proposal.lapses_at),
        "closes_at": _time(proposal.closes_at),
        "eta": _time(proposal.eta),
        "may_run_at": _time(may_run),
        "expires_at": _time(expires_at) if proposal.status in _WAITED else None,
        "gates": None if gates is None else gates.to_json(able),
        "windows": [
            _window(window)
            for window in stopped_by
            if window.until_at > now and proposal.status in LIVE
        ],
        "predecessor": _predecessor(proposal, first),
        "missing": [{"code": code, "message": message} for code, message in missing],
    }


def _waiting_for(proposal: LockedProposal, now: datetime) -> list[tuple[str, str]]:
    """What its own status means for its execution."""
    if proposal.status is Status.DRAFT:
        return [("VOTING_NOT_APPROVED", f"a draft until {_time(proposal.lapses_at)}; activate it")]
    if proposal.status is Status.ACTIVE:
        return [("VOTING_NOT_APPROVED", f"voting is open until {_time(proposal.closes_at)}")]
    if proposal.status is Status.FAILED:
        return [("EXECUTION_FAILED", "its execution failed; an operator may retry it")]
    if proposal.eta is not None and not execution_due(now, proposal.eta):
        return [("TIMELOCK_ACTIVE", f"the timelock ends at {_time(proposal.eta)}")]
    return []


def _held_back(
    proposal: LockedProposal, now: datetime, stopped_by: Sequence[Window], first: dict[str, str]
) -> list[tuple[str, str]]:
    """What else it has to wait for, whatever its own status."""
    found = []
    if _waits_for_predecessor(proposal, first):
        is_now = first.get(str(proposal.predecessor), "unknown")
        for_ever = is_now in FINAL
        then = "so this can never be executed; a guardian may cancel it"
        found.append(
            (
                "PREDECESSOR_NOT_EXECUTED",
                f"{proposal.predecessor} is {is_now}, {then if for_ever else 'and comes before'}",
            )
        )
    found += [
        ("EXECUTION_HELD", f"{window.kind} {window.id} lasts until {_time(window.until_at)}")
        for window in stopped_by
        if window.holds(now)
    ]
    return found


def runs_out_at(eta: datetime, expires_at: datetime, known: Sequence[Window]) -> datetime:
    """When grace is over: its stored end, later by the time that windows cover after ``eta``.

    The database computes the same in ``forge_held`` for the past; this looks ahead as well.
    """
    end, reached = expires_at, eta
    for window in sorted(known, key=lambda window: window.from_at):
        begin = max(window.from_at, reached)
        if begin >= end:
            break
        if window.until_at > begin:
            end += window.until_at - begin
            reached = window.until_at
    return end


def may_run_at(
    eta: datetime | None, now: datetime, stopped_by: Sequence[Window]
) -> datetime | None:
    """The first moment from now on at which neither timelock nor a known window forbids it."""
    if eta is None:
        return None
    at = max(as_utc(eta), now)
    for window in sorted(stopped_by, key=lambda window: window.from_at):
        if window.holds(at):
            at = window.until_at
    return at


def _waits_for_predecessor(proposal: LockedProposal, first: dict[str, str]) -> bool:
    return proposal.predecessor is not None and first.get(proposal.predecessor) != Status.EXECUTED


def _statuses(session: Session, ids: Sequence[str]) -> dict[str, str]:
    return {row.id: row.status for row in run(session, _PREDECESSORS, ids=ids)} if ids else {}


def _predecessor(proposal: LockedProposal, first: dict[str, str]) -> dict[str, str | None] | None:
    if proposal.predecessor is None:
        return None
    return {"proposal": proposal.predecessor, "status": first.get(proposal.predecessor)}


def _window(window: Window) -> dict[str, str | None]:
    return {
        "window": window.id,
        "kind": window.kind,
        "from": _time(window.from_at),
        "until": _time(window.until_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
