"""Actions on overlays and modules: registering one, and moving one to another version."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from forge_core.actions.fields import (
    NAME_MOST,
    TEXT_MOST,
    id_field,
    ids_field,
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
from forge_core.overlays.register import DEREGISTERED, REGISTERED, UPDATED, find, require_overlay

EXECUTION_MS_MOST = 600_000
RESOURCE_MOST = 2**53 - 1
PROVIDES_MOST = 50


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
    present.require_latest(effect, named("overlay", id_, "version"), named("overlay", id_, "trust"))
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
