"""What governance may add to the registry: five declarations, and the catalogue with them.

A parameter or feature becomes a key of the registry; a proposal type becomes a kind whose required
fields are checked and whose execution is recorded; a source may report who holds what; a module
joins the register of upgrade targets.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, create_model
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
from forge_core.actions.targets import named
from forge_core.capabilities.declaration import Capability, CapabilityClass, ValueType
from forge_core.capabilities.extensions import Extension, extensions
from forge_core.capabilities.features import PREFIX
from forge_core.database import run
from forge_core.ledger.entries import Entry, EntryKind
from forge_core.members.levels import TrustLevel
from forge_core.text import shown

FIELDS_MOST: Final = 20
# A threshold that a track does not have is no key. A new key of that name would give it one, past
# the self-brick guard and the bounds of the others.
TERMS: Final = "track."
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

DECISION_RECORDED = EntryKind.of("decision.recorded")
DECISION_WITHDRAWN = EntryKind.of("decision.withdrawn")

_KEY_USERS = text("SELECT key AS id FROM setting_values WHERE key = :name")
_TYPE_USERS = text("""
    SELECT id FROM proposals WHERE type = :name
        AND status IN ('draft', 'active', 'approved', 'queued', 'failed', 'executed')
    ORDER BY created_at LIMIT 1
""")
_SOURCE_USERS = text("SELECT source AS id FROM holdings_reports WHERE source = :name LIMIT 1")
_MODULE_USERS = text("SELECT name AS id FROM extensions WHERE declaration ->> 'module' = :name")

_Class = Annotated[
    str, one_of_field("declaration.klass", "ordinary", "protocol", "treasury", "rule")
]
_Description = Annotated[str, text_field("declaration.description", 1_000)]


class Declaration(BaseModel):
    """What a ``registry_extension`` declares of one kind of thing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    KIND: ClassVar[str]

    @classmethod
    def target(cls, name: str) -> str:
        """What adding it changes: two of one target are rivals."""
        return named(cls.KIND, name)

    @classmethod
    def is_taken(cls, catalogue: Catalogue, name: str) -> bool:
        """Whether the catalogue has one of that name already."""
        del catalogue, name
        return False

    @classmethod
    @abstractmethod
    def users(cls, session: Session, name: str) -> Sequence[str]:
        """The targets of what has come to depend on it: a value, proposals, reports, extensions."""

    def checked(self, name: str) -> dict[str, Any]:
        """The declaration as it is stored. Raises ``ValueError`` when it contradicts itself."""
        del name
        return self.model_dump(mode="json", exclude_none=True)


class _Key(Declaration):
    """What has a value."""

    @classmethod
    def key(cls, name: str) -> str:
        """What the value is kept under."""
        return name

    @classmethod
    def target(cls, name: str) -> str:
        return setting.target(cls.key(name))

    @classmethod
    def is_taken(cls, catalogue: Catalogue, name: str) -> bool:
        return cls.key(name) in catalogue

    @classmethod
    def users(cls, session: Session, name: str) -> Sequence[str]:
        return [setting.target(row.id) for row in run(session, _KEY_USERS, name=cls.key(name))]

    def checked(self, name: str) -> dict[str, Any]:
        """With the default in its one spelling."""
        declaration = super().checked(name)
        return {
            **declaration,
            "default": capability(Extension(name, self.KIND, declaration)).default,
        }


class Parameter(_Key):
    """A new key; ``module``, when given, is the registered one that it belongs to."""

    KIND = "parameter"

    klass: _Class
    type: Annotated[str, one_of_field("declaration.type", "integer", "decimal", "boolean", "time")]
    description: _Description
    default: Any
    least: Any = None
    most: Any = None
    module: Annotated[str | None, id_field("declaration.module")] = None

    def checked(self, name: str) -> dict[str, Any]:
        if name.startswith(TERMS):
            raise ValueError(f"{TERMS}* are the terms of the tracks, and complete")
        return super().checked(name)


class Feature(_Key):
    """A new switch."""

    KIND = "feature"

    description: _Description
    default: Annotated[bool, switch_field("declaration.default")] = False

    @classmethod
    def key(cls, name: str) -> str:
        return PREFIX + name


class ProposalType(Declaration):
    """A new type of proposal: who may propose it, which class it has, what it has to carry."""

    KIND = "proposal_type"

    trust: Annotated[TrustLevel, level_field("declaration.trust")]
    klass: _Class
    description: _Description
    fields: dict[str, Literal["text", "id", "integer", "decimal", "boolean"]]

    @classmethod
    def target(cls, name: str) -> str:
        return named("type", name)

    @classmethod
    def is_taken(cls, catalogue: Catalogue, name: str) -> bool:
        return name in catalogue.types

    @classmethod
    def users(cls, session: Session, name: str) -> Sequence[str]:
        return [named("proposal", row.id) for row in run(session, _TYPE_USERS, name=name)]

    def checked(self, name: str) -> dict[str, Any]:
        if not _NAME.fullmatch(name) or len(name) > NAME_MOST:
            raise ValueError(f"{shown(name)} is no name of a type, like grant_award")
        if not 1 <= len(self.fields) <= FIELDS_MOST:
            raise ValueError(f"a type has 1 to {FIELDS_MOST} required fields")
        for field in self.fields:
            # "type" and "actions" mean something in any payload; the others belong to pydantic.
            if not _NAME.fullmatch(field) or field in {"type", "actions"} or hasattr(Action, field):
                raise ValueError(f"{shown(field)} is no name of a field")
        return super().checked(name)


class Source(Declaration):
    """Who may say what members hold, and admit them at STANDARD."""

    KIND = "source"

    description: _Description

    @classmethod
    def users(cls, session: Session, name: str) -> Sequence[str]:
        return [named("holdings", row.id) for row in run(session, _SOURCE_USERS, name=name)]


class Module(Declaration):
    """A target of upgrades: what governance controls of it, and how it is rolled back."""

    KIND = "module"

    version: Annotated[str, version_field("declaration.version")]
    owner: Annotated[str, id_field("declaration.owner")]
    governs: Annotated[str, text_field("declaration.governs", 1_000)]
    rollback: Annotated[str, text_field("declaration.rollback", 1_000)]

    @classmethod
    def users(cls, session: Session, name: str) -> Sequence[str]:
        return [named("extension", row.id) for row in run(session, _MODULE_USERS, name=name)]


DECLARATIONS: Final[Mapping[str, type[Declaration]]] = {
    declared.KIND: declared for declared in (Parameter, Feature, ProposalType, Source, Module)
}


def with_extensions(session: Session, catalogue: Catalogue) -> Catalogue:
    """The catalogue as governance has extended it until now."""
    added = extensions(session)
    keys = [capability(one) for one in added if one.kind in (Parameter.KIND, Feature.KIND)]
    kinds = [recorded_kind(one) for one in added if one.kind == ProposalType.KIND]
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
    if extension.kind == Feature.KIND:
        return Capability(
            key=Feature.key(extension.name),
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
