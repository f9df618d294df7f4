"""Extensions of the registry: what one proposal adds, the next may change, use or name.

A parameter or feature becomes a key of the registry; a proposal type becomes a kind whose required
fields are checked and whose execution is recorded; a source may report who holds what; a module
joins the register of upgrade targets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions import setting
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import (
    NAME_MOST,
    TEXT_MOST,
    decimal_field,
    id_field,
    level_field,
    one_of_field,
    switch_field,
    text_field,
    version_field,
    whole_field,
)
from forge_core.actions.json_guard import MOST_INTEGER
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present
from forge_core.actions.targets import Target, named
from forge_core.capabilities.declaration import Capability, CapabilityClass, ValueType
from forge_core.capabilities.extensions import (
    EXTENSION_ADDED,
    EXTENSION_REMOVED,
    Extension,
    extensions,
)
from forge_core.capabilities.features import PREFIX
from forge_core.capabilities.modules import MODULE_REGISTERED, MODULE_REMOVED, find_module
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind
from forge_core.members.levels import TrustLevel
from forge_core.text import shown

KINDS: Final = ("parameter", "feature", "proposal_type", "source", "module")
FIELDS_MOST: Final = 20
# A threshold that a track does not have is no key. A new key of that name would give it one, past
# the self-brick guard and the bounds of the others.
TERMS: Final = "track."
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

DECISION_RECORDED = EntryKind.of("decision.recorded")
DECISION_WITHDRAWN = EntryKind.of("decision.withdrawn")

_USED = text("""
    SELECT
        EXISTS (SELECT FROM setting_values WHERE key = :key) AS changed,
        EXISTS (
            SELECT FROM proposals WHERE type = :name
                AND status IN ('draft', 'active', 'approved', 'queued', 'failed', 'executed')
        ) AS proposed,
        EXISTS (SELECT FROM holdings_reports WHERE source = :name) AS reported,
        array(SELECT name FROM extensions WHERE declaration ->> 'module' = :name) AS parts
""")


class _Declaration(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Parameter(_Declaration):
    """A new key; ``module``, when given, is the registered one that it belongs to."""

    klass: Annotated[
        str, one_of_field("declaration.klass", "ordinary", "protocol", "treasury", "rule")
    ]
    type: Annotated[str, one_of_field("declaration.type", "integer", "decimal", "boolean", "time")]
    description: Annotated[str, text_field("declaration.description", 1_000)]
    default: Any
    least: Any = None
    most: Any = None
    module: Annotated[str | None, id_field("declaration.module")] = None


class Feature(_Declaration):
    """A new switch."""

    description: Annotated[str, text_field("declaration.description", 1_000)]
    default: Annotated[bool, switch_field("declaration.default")] = False


class ProposalTypeDeclaration(_Declaration):
    """A new type of proposal: who may propose it, which class it has, what it has to carry."""

    trust: Annotated[TrustLevel, level_field("declaration.trust")]
    klass: Annotated[
        str, one_of_field("declaration.klass", "ordinary", "protocol", "treasury", "rule")
    ]
    description: Annotated[str, text_field("declaration.description", 1_000)]
    fields: dict[str, Literal["text", "id", "integer", "decimal", "boolean"]]


class Source(_Declaration):
    """Who may say what members hold, and admit them at STANDARD."""

    description: Annotated[str, text_field("declaration.description", 1_000)]


class ModuleDeclaration(_Declaration):
    """A target of upgrades: what governance controls of it, and how it is rolled back."""

    version: Annotated[str, version_field("declaration.version")]
    owner: Annotated[str, id_field("declaration.owner")]
    governs: Annotated[str, text_field("declaration.governs", 1_000)]
    rollback: Annotated[str, text_field("declaration.rollback", 1_000)]


_DECLARATIONS: Final[Mapping[str, type[_Declaration]]] = {
    "parameter": Parameter,
    "feature": Feature,
    "proposal_type": ProposalTypeDeclaration,
    "source": Source,
    "module": ModuleDeclaration,
}


class Extend(Action):
    """Add something of one of the five kinds to the registry."""

    kind: Annotated[str, one_of_field("kind", *KINDS)]
    name: Annotated[str, id_field("name")]
    declaration: dict[str, Any]


def with_extensions(session: Session, catalogue: Catalogue) -> Catalogue:
    """The catalogue as governance has extended it until now."""
    added = extensions(session)
    keys = [capability(one) for one in added if one.kind in ("parameter", "feature")]
    kinds = [recorded_kind(one) for one in added if one.kind == "proposal_type"]
    if not keys and not kinds:
        return catalogue
    # What the code has come to declare since stands; the addition of the same name is hidden by it.
    return catalogue.with_extensions(
        [key for key in keys if key.key not in catalogue],
        [kind for kind in kinds if kind.name not in catalogue.types],
    )


def capability(extension: Extension) -> Capability:
    """A parameter or feature as the declaration of a key. Raises ``ValueError``."""
    given = extension.declaration
    if extension.kind == "feature":
        return Capability(
            key=PREFIX + extension.name,
            klass=CapabilityClass.FEATURE,
            description=given["description"],
            type="boolean",
            default=given["default"],
        )
    return Capability(
        key=extension.name,
        klass=CapabilityClass(given["klass"]),
        description=given["description"],
        type=cast("ValueType", given["type"]),
        default=given["default"],
        least=given.get("least"),
        most=given.get("most"),
    )


def recorded_kind(extension: Extension) -> ActionKind[Any]:
    """A type of proposal whose execution is a record: the platform reads it from the ledger."""
    given = extension.declaration
    fields: dict[str, Any] = {k: (_FIELD_TYPES[t](k), ...) for k, t in given["fields"].items()}
    model: type[Action] = create_model(extension.name, __base__=Action, **fields)
    model.TEXTS = tuple(key for key, type_ in given["fields"].items() if type_ == "text")
    return ActionKind(
        name=extension.name,
        trust=TrustLevel(given["trust"]),
        model=model,
        touches=lambda *_: CapabilityClass(given["klass"]),
        target=lambda _: None,
        plan=_plan_record,
        undo=_undo_record,
        rolls=True,
    )


_FIELD_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": lambda key: Annotated[str, text_field(key, TEXT_MOST)],
    "id": lambda key: Annotated[str, id_field(key)],
    "integer": lambda key: Annotated[int, whole_field(key, -MOST_INTEGER, MOST_INTEGER)],
    "decimal": lambda key: Annotated[str, decimal_field(key)],
    "boolean": lambda key: Annotated[bool, switch_field(key)],
}


def _plan_record(_present: Present, action: Action, frame: Frame) -> Planned:
    after = action.model_dump(mode="json", exclude_none=True)
    data = {"fields": after, "action": frame.index}
    entry = Entry(DECISION_RECORDED, frame.at, frame.proposer, frame.proposal, data)
    return Planned(f"decision:{frame.proposal}:{frame.index}", None, after, (entry,))


def _undo_record(present: Present, effect: Effect, frame: Frame) -> Planned:
    present.require_latest(effect)
    data = {"action": effect.index, "proposal": frame.proposal}
    entry = Entry(DECISION_WITHDRAWN, frame.at, frame.proposer, effect.proposal, data)
    return Planned(effect.target, effect.after, None, (entry,))


def _check(_catalogue: Catalogue, action: Extend) -> Extend:
    """Refuse a declaration that contradicts itself: EXTENSION_INVALID says how."""
    try:
        given = _DECLARATIONS[action.kind].model_validate(action.declaration)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(["payload.declaration", *(shown(part) for part in problem["loc"])])
        raise Refused("EXTENSION_INVALID", f"{path}: {problem['msg']}") from error
    declaration = given.model_dump(mode="json", exclude_none=True)
    if action.kind == "parameter" and action.name.startswith(TERMS):
        raise Refused("EXTENSION_INVALID", f"{TERMS}* are the terms of the tracks, and complete")
    if action.kind in ("parameter", "feature"):
        declared = Extension(action.name, action.kind, declaration)
        try:
            declaration["default"] = capability(declared).default
        except ValueError as error:
            raise Refused("EXTENSION_INVALID", str(error)) from error
    if action.kind == "proposal_type":
        _check_type(action.name, declaration["fields"])
    return Extend(kind=action.kind, name=action.name, declaration=declaration)


def _check_type(name: str, fields: Mapping[str, str]) -> None:
    if not _NAME.fullmatch(name) or len(name) > NAME_MOST:
        raise Refused("EXTENSION_INVALID", f"{shown(name)} is no name of a type, like grant_award")
    if not 1 <= len(fields) <= FIELDS_MOST:
        raise Refused("EXTENSION_INVALID", f"a type has 1 to {FIELDS_MOST} required fields")
    for field in fields:
        # "type" and "actions" mean something in any payload; the others belong to pydantic.
        if not _NAME.fullmatch(field) or field in {"type", "actions"} or hasattr(Action, field):
            raise Refused("EXTENSION_INVALID", f"{shown(field)} is no name of a field")


def _plan(present: Present, action: Extend, frame: Frame) -> Planned:
    _refuse_taken(present, action)
    module = action.declaration.get("module")
    if action.kind == "parameter" and module and not _is_module(present, module):
        raise Refused("MODULE_UNKNOWN", f"there is no module {module!r}")
    if action.kind == "module":
        data = {**action.declaration, "proposal": frame.proposal}
        entry = Entry(MODULE_REGISTERED, frame.at, frame.proposer, action.name, data)
    else:
        data = {
            "kind": action.kind,
            "declaration": action.declaration,
            "proposal": frame.proposal,
        }
        entry = Entry(EXTENSION_ADDED, frame.at, frame.proposer, action.name, data)
    after = {"kind": action.kind, **action.declaration}
    kept = "module" if action.kind == "module" else "extension"
    present.write(f"{kept}:{action.name}", True)
    return Planned(_target(action), None, after, (entry,), {"name": action.name})


def _refuse_taken(present: Present, action: Extend) -> None:
    if action.kind == "module":
        taken = _is_module(present, action.name)
    else:
        names = {
            "parameter": action.name in present.catalogue,
            "feature": PREFIX + action.name in present.catalogue,
            "proposal_type": action.name in present.catalogue.types,
            "source": False,
        }
        known = {one.name for one in extensions(present.session)}
        planned = present.read(f"extension:{action.name}", lambda _: False)
        taken = names[action.kind] or action.name in known or planned
    if taken:
        raise Refused("EXTENSION_EXISTS", f"{action.name!r} is registered already")


def _is_module(present: Present, name: str) -> bool:
    return present.read(f"module:{name}", lambda session: find_module(session, name) is not None)


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    """Taken out again, unless something came to depend on it: EXTENSION_IN_USE."""
    version = [named("module", Target.parse(effect.target).id, "version")]
    present.require_latest(effect, *(version if effect.after["kind"] == "module" else ()))
    kind, name = effect.after["kind"], effect.way_back["name"]
    key = PREFIX + name if kind == "feature" else name
    used = present.session.execute(_USED, {"key": key, "name": name}).one()
    if (
        (kind in ("parameter", "feature") and used.changed)
        or (kind == "proposal_type" and used.proposed)
        or (kind == "source" and used.reported)
        or (kind == "module" and not all(_is_removed(present, part) for part in used.parts))
    ):
        raise Refused("EXTENSION_IN_USE", f"{name!r} is in use; undo what uses it first")
    if kind == "module" and require_version(present, name) != effect.after["version"]:
        raise Refused("STALE_VALUE", f"module {name!r} is at another version now")
    present.write(f"removed:{name}", True)
    removed = MODULE_REMOVED if kind == "module" else EXTENSION_REMOVED
    entry = Entry(removed, frame.at, frame.proposer, name, {"proposal": frame.proposal})
    return Planned(effect.target, effect.after, None, (entry,))


def _is_removed(present: Present, name: str) -> bool:
    return present.read(f"removed:{name}", lambda _: False)


def require_version(present: Present, name: str) -> str | None:
    """The module's version now; None when it is gone."""
    module = find_module(present.session, name)
    return None if module is None else module.version


def _target(action: Extend) -> str:
    """What it adds: a feature and a parameter may come to one key under two names."""
    if action.kind in ("parameter", "feature"):
        return setting.target(PREFIX + action.name if action.kind == "feature" else action.name)
    return named("type" if action.kind == "proposal_type" else action.kind, action.name)


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
