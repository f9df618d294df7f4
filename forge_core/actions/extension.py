"""Extensions of the registry: what one proposal adds, the next may change, use or name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidationError

from forge_core.actions.additions import DECLARATIONS, Module
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import id_field, one_of_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present, require_still
from forge_core.actions.targets import named
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.capabilities.extensions import EXTENSION_ADDED, EXTENSION_REMOVED, extensions
from forge_core.capabilities.modules import MODULE_REGISTERED, MODULE_REMOVED, find_module
from forge_core.complaints import what_is_wrong
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel


class Extend(Action):
    """Add something of one of the five kinds to the registry."""

    kind: Annotated[str, one_of_field("kind", *DECLARATIONS)]
    name: Annotated[str, id_field("name")]
    declaration: dict[str, Any]


def _check(_catalogue: Catalogue, action: Extend) -> Extend:
    """Refuse a declaration that contradicts itself: EXTENSION_INVALID says how."""
    model = DECLARATIONS[action.kind]
    try:
        declaration = model.model_validate(action.declaration).checked(action.name)
    except ValidationError as error:
        problems = what_is_wrong(error, model, path="payload.declaration", name=action.kind)
        raise Refused("EXTENSION_INVALID", problems) from error
    except ValueError as error:
        raise Refused("EXTENSION_INVALID", str(error)) from error
    return action.model_copy(update={"declaration": declaration})


def _plan(present: Present, action: Extend, frame: Frame) -> Planned:
    kind, name, declaration = action.kind, action.name, action.declaration
    _refuse_taken(present, kind, name)
    module = declaration.get("module")
    if module is not None and not _is_module(present, module):
        raise Refused("MODULE_UNKNOWN", f"there is no module {module!r}")
    if kind == Module.KIND:
        added, data = MODULE_REGISTERED, declaration
        present.write(f"module:{name}", True)
    else:
        added, data = EXTENSION_ADDED, {"kind": kind, "declaration": declaration}
        present.write("extensions", {*_added(present), name})
    data = {**data, "proposal": frame.proposal}
    entry = Entry(added, frame.at, frame.proposer, name, data)
    after = {"kind": kind, **declaration}
    return Planned(_target(action), None, after, (entry,), {"name": name})


def _refuse_taken(present: Present, kind: str, name: str) -> None:
    if kind == Module.KIND:  # they have names of their own
        taken = _is_module(present, name)
    else:
        taken = name in _added(present) or DECLARATIONS[kind].is_taken(present.catalogue, name)
    if taken:
        raise Refused("EXTENSION_EXISTS", f"{name!r} is registered already")


def _is_module(present: Present, name: str) -> bool:
    return present.read(f"module:{name}", lambda session: find_module(session, name) is not None)


def _added(present: Present) -> set[str]:
    """The names of all extensions but modules."""
    return present.read("extensions", lambda session: {one.name for one in extensions(session)})


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    """Taken out again, unless something came to depend on it: EXTENSION_IN_USE."""
    kind, name = effect.after["kind"], effect.way_back["name"]
    if kind == Module.KIND:
        present.require_latest(effect, named("module", name, "version"))
        module = find_module(present.session, name)
        version = None if module is None else module.version
        require_still(f"module {name!r}", expected=effect.after["version"], present=version)
    else:
        present.require_latest(effect)
    # What the same rollback has taken out before depends on nothing any more.
    users = set(DECLARATIONS[kind].users(present.session, name)) - _removed(present)
    if users:
        raise Refused("EXTENSION_IN_USE", f"{name!r} is in use; undo what uses it first")
    register = Module.KIND if kind == Module.KIND else "extension"  # names are their own in each
    present.write("removed", {*_removed(present), named(register, name)})
    removed = MODULE_REMOVED if kind == Module.KIND else EXTENSION_REMOVED
    entry = Entry(removed, frame.at, frame.proposer, name, {"proposal": frame.proposal})
    return Planned(effect.target, effect.after, None, (entry,))


def _removed(present: Present) -> set[str]:
    nothing: set[str] = set()
    return present.read("removed", lambda _: nothing)


def _target(action: Extend) -> str:
    return DECLARATIONS[action.kind].target(action.name)


KIND = ActionKind(
    name="registry_extension",
    trust=TrustLevel.CORE,
    model=Extend,
    touches=lambda *_: CapabilityClass.RULE,
    target=_target,
    plan=_plan,
    undo=_undo,
    check=_check,
)
