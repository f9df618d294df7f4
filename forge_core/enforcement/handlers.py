"""What each type of proposal does when it is executed: one handler a type.

A handler checks the present state under its locks, then appends the entry that makes the change.
It refuses (``STALE_VALUE``, ``OVERLAY_EXISTS``, …) by raising ``Refused``; the execution records
that as the proposal's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from forge_core.capabilities.registry import Registry
from forge_core.capabilities.values import POLICY_ADOPTED, SETTING_CHANGED, lock_value
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, append
from forge_core.members.electorate import change_level
from forge_core.overlays.register import register, update
from forge_core.proposals.locking import LockedProposal
from forge_core.proposals.payloads import (
    Configuration,
    OverlayRegistration,
    OverlayUpdate,
    Payload,
    Policy,
    TrustAdjustment,
)


@dataclass(frozen=True)
class Execution:
    """One proposal being executed: its row (locked), its payload, and the time of the step."""

    session: Session
    proposal: LockedProposal
    payload: Payload
    registry: Registry
    at: datetime


def _configuration(run: Execution) -> None:
    payload = run.payload
    assert isinstance(payload, Configuration)  # noqa: S101  # HANDLERS pairs type and payload
    before = lock_value(run.session, run.registry, payload.key)
    after = run.registry.get(payload.key).check(payload.new_value)
    if payload.old_value is not None and payload.old_value != before:
        raise Refused(
            "STALE_VALUE",
            f"{payload.key} is {before} now; the proposal expected {payload.old_value}",
        )
    data = {"before": before, "after": after, "proposal": run.proposal.id}
    append(
        run.session,
        [Entry(SETTING_CHANGED, run.at, run.proposal.proposer, payload.key, data)],
    )


def _policy(run: Execution) -> None:
    payload = run.payload
    assert isinstance(payload, Policy)  # noqa: S101
    data = {"title": run.proposal.title, "text": payload.text or run.proposal.description}
    append(
        run.session,
        [Entry(POLICY_ADOPTED, run.at, run.proposal.proposer, run.proposal.id, data)],
    )


def _trust_adjustment(run: Execution) -> None:
    payload = run.payload
    assert isinstance(payload, TrustAdjustment)  # noqa: S101
    change_level(
        run.session,
        payload.member,
        before=payload.current_trust,
        after=payload.new_trust,
        actor=run.proposal.proposer,
        cause=f"proposal {run.proposal.id}",
        at=run.at,
    )


def _overlay_registration(run: Execution) -> None:
    payload = run.payload
    assert isinstance(payload, OverlayRegistration)  # noqa: S101
    manifest = payload.model_dump(mode="json", exclude={"overlay"})
    register(
        run.session,
        payload.overlay,
        manifest,
        actor=run.proposal.proposer,
        proposal=run.proposal.id,
        at=run.at,
    )


def _overlay_update(run: Execution) -> None:
    payload = run.payload
    assert isinstance(payload, OverlayUpdate)  # noqa: S101
    update(
        run.session,
        payload.overlay,
        before=payload.current_version,
        after=payload.new_version,
        actor=run.proposal.proposer,
        proposal=run.proposal.id,
        at=run.at,
    )


HANDLERS: Mapping[type[Payload], Callable[[Execution], None]] = {
    Configuration: _configuration,
    Policy: _policy,
    TrustAdjustment: _trust_adjustment,
    OverlayRegistration: _overlay_registration,
    OverlayUpdate: _overlay_update,
}
