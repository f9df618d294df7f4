"""Actions on trust: levels of members and overlays, and the roles of members."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import id_field, level_field, role_field, switch_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present, require_still
from forge_core.actions.targets import Target, named
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry
from forge_core.members.electorate import MemberNow, level_changed
from forge_core.members.levels import Role, TrustLevel
from forge_core.members.roles import ROLE_GRANTED, ROLE_WITHDRAWN
from forge_core.overlays.register import TRUST_CHANGED, OverlayNow, require_overlay


class AdjustTrust(Action):
    """Give a member, or an overlay, another trust level."""

    member: Annotated[str | None, id_field("member")] = None
    overlay: Annotated[str | None, id_field("overlay")] = None
    current_trust: Annotated[TrustLevel, level_field("current_trust")]
    new_trust: Annotated[TrustLevel, level_field("new_trust")]

    @model_validator(mode="after")
    def _changes_something_allowed(self) -> AdjustTrust:
        if (self.member is None) == (self.overlay is None):
            raise Refused(
                "PAYLOAD_WRONG_TYPE", "payload names a member or an overlay, exactly one of them"
            )
        if self.new_trust is self.current_trust:
            raise Refused("NO_CHANGE", f"payload.new_trust is {self.new_trust}, as it is already")
        if self.new_trust is TrustLevel.CORE:
            raise Refused(
                "CORE_NOT_GRANTED",
                "payload.new_trust is CORE; a CORE seat is never granted by trust_adjustment",
            )
        return self


class ChangeRole(Action):
    """Give a member a role, or take it away."""

    member: Annotated[str, id_field("member")]
    role: Annotated[Role, role_field("role")]
    holds: Annotated[bool, switch_field("holds")]


def _target(action: AdjustTrust) -> str:
    if action.member is None:
        return named("overlay", str(action.overlay), "trust")
    return named("member", action.member, "level")


def _plan(present: Present, action: AdjustTrust, frame: Frame) -> Planned:
    if action.member is None:
        return _plan_overlay(present, str(action.overlay), action, frame)
    _refuse_own_raise(frame, action.member, action.current_trust, action.new_trust)
    member = present.member(action.member)
    require_still(_target(action), expected=action.current_trust.value, present=member.level.value)
    return _move(present, member, action.new_trust, frame, f"proposal {frame.proposal}")


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    """The level before. CORE, which no proposal gives, is given back to whom it was taken from."""
    present.require_latest(effect)
    register, _, id_ = Target.parse(effect.target)
    if register == "overlay":
        overlay = require_overlay(present.session, id_)
        require_still(effect.target, expected=effect.after, present=overlay.trust)
        return _set_overlay(overlay, effect.before, frame)
    member = present.member(id_)
    require_still(effect.target, expected=effect.after, present=member.level.value)
    _refuse_own_raise(frame, id_, member.level, TrustLevel(effect.before))
    cause = f"rollback {frame.proposal} of {effect.proposal}"
    return _move(present, member, TrustLevel(effect.before), frame, cause)


def _refuse_own_raise(frame: Frame, member: str, before: TrustLevel, after: TrustLevel) -> None:
    if member == frame.proposer and after > before:
        raise Refused("OWN_RAISE", "nobody proposes to raise their own trust level")


def _move(
    present: Present, member: MemberNow, after: TrustLevel, frame: Frame, cause: str
) -> Planned:
    present.write("census", present.census().moved(member.level, after, member.roles))
    present.write(f"member:{member.id}", member.at(after))
    entry = level_changed(
        member.id,
        before=member.level,
        after=after,
        version=present.next_version(),
        actor=frame.proposer,
        cause=cause,
        at=frame.at,
    )
    target = named("member", member.id, "level")
    return Planned(target, member.level.value, after.value, (entry,))


def _plan_overlay(present: Present, id_: str, action: AdjustTrust, frame: Frame) -> Planned:
    overlay = require_overlay(present.session, id_)
    require_still(_target(action), expected=action.current_trust.value, present=overlay.trust)
    return _set_overlay(overlay, action.new_trust.value, frame)


def _set_overlay(overlay: OverlayNow, after: str, frame: Frame) -> Planned:
    data = {"before": overlay.trust, "after": after, "proposal": frame.proposal}
    entry = Entry(TRUST_CHANGED, frame.at, frame.proposer, overlay.id, data)
    return Planned(named("overlay", overlay.id, "trust"), overlay.trust, after, (entry,))


def _plan_role(present: Present, action: ChangeRole, frame: Frame) -> Planned:
    _refuse_own_role(frame, action.member, holds=action.holds)
    return _set_role(present, action.member, action.role, frame, holds=action.holds)


def _undo_role(present: Present, effect: Effect, frame: Frame) -> Planned:
    present.require_latest(effect)
    _, aspect, id_ = Target.parse(effect.target)
    role = Role(str(aspect))
    holds = role in present.member(id_).roles
    require_still(effect.target, expected=effect.after, present=holds)
    _refuse_own_role(frame, id_, holds=effect.before)
    return _set_role(present, id_, role, frame, holds=effect.before)


def _refuse_own_role(frame: Frame, member: str, *, holds: bool) -> None:
    if member == frame.proposer and holds:
        raise Refused("OWN_RAISE", "nobody proposes to give a role to themselves")


def _set_role(present: Present, id_: str, role: Role, frame: Frame, *, holds: bool) -> Planned:
    member = present.member(id_)
    if (role in member.roles) == holds:
        raise Refused("STALE_VALUE", _stands(id_, role, holds=holds))
    if role is Role.REVIEWER:
        change = 1 if holds else -1
        present.write("census", present.census().with_reviewers(member.level, change))
    roles = member.roles | {role.value} if holds else member.roles - {role.value}
    present.write(f"member:{id_}", member.holding(roles))
    kind = ROLE_GRANTED if holds else ROLE_WITHDRAWN
    data = {"role": role.value, "proposal": frame.proposal}
    entry = Entry(kind, frame.at, frame.proposer, id_, data)
    return Planned(named("role", id_, role.value), not holds, holds, (entry,))


def _complete_role(present: Present, action: ChangeRole) -> ChangeRole:
    if (action.role in present.member(action.member).roles) == action.holds:
        raise Refused("NO_CHANGE", _stands(action.member, action.role, holds=action.holds))
    return action


def _stands(id_: str, role: Role, *, holds: bool) -> str:
    return f"{id_!r} {'has' if holds else 'does not have'} the role {role} already"


def _touches(_catalogue: Catalogue, _action: AdjustTrust) -> CapabilityClass:
    return CapabilityClass.ORDINARY


ADJUSTMENT = ActionKind(
    name="trust_adjustment",
    trust=TrustLevel.TRUSTED,
    model=AdjustTrust,
    touches=_touches,
    target=_target,
    plan=_plan,
    undo=_undo,
    census=True,
)

ROLE_CHANGE = ActionKind(
    name="role_change",
    trust=TrustLevel.CORE,
    model=ChangeRole,
    touches=lambda *_: CapabilityClass.RULE,
    target=lambda action: named("role", action.member, action.role.value),
    plan=_plan_role,
    undo=_undo_role,
    complete=_complete_role,
    census=True,
)
