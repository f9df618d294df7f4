"""Actions on overlays and modules: registering one, moving it to another version, its standing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import model_validator
from sqlalchemy import text

from forge_core.actions.fields import (
    NAME_MOST,
    TEXT_MOST,
    id_field,
    ids_field,
    one_of_field,
    text_field,
    version_field,
    whole_field,
)
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present, require_still
from forge_core.actions.targets import Target, named
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.capabilities.modules import MODULE_UPDATED, require_module
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel
from forge_core.overlays.register import (
    DEREGISTERED,
    REGISTERED,
    STATUS_CHANGED,
    UPDATED,
    find,
    require_overlay,
)
from forge_core.overlays.standing import Standing, standing_of

EXECUTION_MS_MOST = 600_000
RESOURCE_MOST = 2**53 - 1
PROVIDES_MOST = 50

# From when on calls count again, which runs on real time.
_REAL_NOW = text("SELECT clock_timestamp()")


class RegisterOverlay(Action):
    """Admit a new overlay.

    ``max_execution_ms`` (milliseconds), ``max_fuel`` and ``max_memory`` (bytes) bound one of its
    runs. ``provides`` names what others rely on: of each, one overlay is always left running.
    """

    TEXTS = ("name", "description")

    overlay: Annotated[str, id_field("overlay")]
    name: Annotated[str, text_field("name", NAME_MOST)]
    version: Annotated[str, version_field("version")]
    description: Annotated[str | None, text_field("description", TEXT_MOST)] = None
    max_execution_ms: Annotated[
        int | None, whole_field("max_execution_ms", 1, EXECUTION_MS_MOST)
    ] = None
    max_fuel: Annotated[int | None, whole_field("max_fuel", 1, RESOURCE_MOST)] = None
    max_memory: Annotated[int | None, whole_field("max_memory", 1, RESOURCE_MOST)] = None
    provides: Annotated[list[str] | None, ids_field("provides", PROVIDES_MOST)] = None


class UpdateVersion(Action):
    """Move an overlay, or a module of the register, from one version to another."""

    overlay: Annotated[str | None, id_field("overlay")] = None
    module: Annotated[str | None, id_field("module")] = None
    current_version: Annotated[str, version_field("current_version")]
    new_version: Annotated[str, version_field("new_version")]

    @model_validator(mode="after")
    def _changes_something(self) -> UpdateVersion:
        if (self.overlay is None) == (self.module is None):
            raise Refused(
                "PAYLOAD_WRONG_TYPE", "payload names an overlay or a module, exactly one of them"
            )
        if self.new_version == self.current_version:
            raise Refused(
                "NO_CHANGE", f"payload.new_version is {self.new_version}, as it is already"
            )
        return self


class SetStanding(Action):
    """Let an overlay that was set aside run again, or take one out of service for good."""

    overlay: Annotated[str, id_field("overlay")]
    standing: Annotated[str, one_of_field("standing", "reinstated", "retired")]


def _plan_registration(present: Present, action: RegisterOverlay, frame: Frame) -> Planned:
    if find(present.session, action.overlay) is not None:
        raise Refused(
            "OVERLAY_EXISTS", f"overlay {action.overlay!r} is registered already; update it"
        )
    manifest = action.model_dump(mode="json", exclude={"overlay"})
    data = {**manifest, "proposal": frame.proposal}
    entry = Entry(REGISTERED, frame.at, frame.proposer, action.overlay, data)
    return Planned(named("overlay", action.overlay), None, manifest, (entry,))


def _undo_registration(present: Present, effect: Effect, frame: Frame) -> Planned:
    """Taken from the register, once what was changed about it since is undone."""
    id_ = Target.parse(effect.target).id
    others = (named("overlay", id_, what) for what in ("version", "trust", "standing"))
    present.require_latest(effect, *others)
    overlay = require_overlay(present.session, id_)
    require_still(
        f"the version of {id_}", expected=effect.after["version"], present=overlay.version
    )
    data = {"proposal": frame.proposal}
    entry = Entry(DEREGISTERED, frame.at, frame.proposer, id_, data)
    return Planned(effect.target, effect.after, None, (entry,))


def _plan_update(present: Present, action: UpdateVersion, frame: Frame) -> Planned:
    return _set_version(present, _target(action), action.current_version, action.new_version, frame)


def _undo_update(present: Present, effect: Effect, frame: Frame) -> Planned:
    present.require_latest(effect)
    return _set_version(present, effect.target, effect.after, effect.before, frame)


def _set_version(present: Present, target: str, expected: str, after: str, frame: Frame) -> Planned:
    register, _, id_ = Target.parse(target)
    if register == "overlay":
        now, kind = require_overlay(present.session, id_).version, UPDATED
    else:
        now, kind = require_module(present.session, id_).version, MODULE_UPDATED
    require_still(target, expected=expected, present=now)
    data = {"before": now, "after": after, "proposal": frame.proposal}
    return Planned(target, now, after, (Entry(kind, frame.at, frame.proposer, id_, data),))


def _plan_standing(present: Present, action: SetStanding, frame: Frame) -> Planned:
    if action.standing == "reinstated":
        after = {"status": "ACTIVE", "stage": "active"}
    else:
        after = {"status": "RETIRED"}
    before = _standing(present, action.overlay, after)
    if after == before:
        raise Refused("NO_CHANGE", f"overlay {action.overlay!r} is {action.standing} already")
    return _stand(present, action.overlay, before, after, frame)


def _undo_standing(present: Present, effect: Effect, frame: Frame) -> Planned:
    """One that was set aside is held for people, whatever the immune system had made of it."""
    present.require_latest(effect)
    id_ = Target.parse(effect.target).id
    now = _standing(present, id_, effect.after)
    require_still(f"the status of {id_}", expected=effect.after["status"], present=now["status"])
    before = dict(effect.before)
    if "stage" in before and (now["stage"] != "active" or before["stage"] != "active"):
        before["stage"] = "held"
    return _stand(present, id_, now, before, frame)


def _standing(present: Present, id_: str, keys: Collection[str]) -> dict[str, str]:
    status = require_overlay(present.session, id_).status
    found = standing_of(present.session, [id_]).get(id_)
    whole = {"status": status, "stage": "active" if found is None else found.stage}
    return {key: whole[key] for key in keys}


def _stand(
    present: Present, id_: str, before: dict[str, str], after: dict[str, str], frame: Frame
) -> Planned:
    entries: list[Entry] = []
    if after["status"] != before["status"]:
        data = {"before": before["status"], "after": after["status"], "proposal": frame.proposal}
        entries.append(Entry(STATUS_CHANGED, frame.at, frame.proposer, id_, data))
    if after.get("stage") != before.get("stage"):
        now = present.session.execute(_REAL_NOW).scalar_one()
        standing = Standing(after["stage"], now, None, 0, 0, frame.proposal)
        entries.append(standing.entry(id_, at=frame.at, actor=frame.proposer))
    return Planned(named("overlay", id_, "standing"), before, after, tuple(entries))


def _target(action: UpdateVersion) -> str:
    if action.overlay is None:
        return named("module", str(action.module), "version")
    return named("overlay", action.overlay, "version")


REGISTRATION = ActionKind(
    name="overlay_registration",
    trust=TrustLevel.STANDARD,
    model=RegisterOverlay,
    touches=lambda *_: CapabilityClass.ORDINARY,
    target=lambda action: named("overlay", action.overlay),
    plan=_plan_registration,
    undo=_undo_registration,
)

UPDATE = ActionKind(
    name="overlay_update",
    trust=TrustLevel.STANDARD,
    model=UpdateVersion,
    touches=lambda *_: CapabilityClass.ORDINARY,
    target=_target,
    plan=_plan_update,
    undo=_undo_update,
)

STANDING = ActionKind(
    name="overlay_standing",
    trust=TrustLevel.TRUSTED,
    model=SetStanding,
    touches=lambda *_: CapabilityClass.ORDINARY,
    target=lambda action: named("overlay", action.overlay, "standing"),
    plan=_plan_standing,
    undo=_undo_standing,
)
