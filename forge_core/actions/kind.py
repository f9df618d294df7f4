"""The kind of an action: what it carries, what it touches, what it does and how it is undone.

A plan reads the present state and says what would change, with the ledger entries that change it.
Preview, simulation, execution and rollback all use the same plan, so that what was shown is what
happens; execution alone appends the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel

if TYPE_CHECKING:
    from forge_core.actions.catalogue import Catalogue
    from forge_core.actions.present import Present


A = TypeVar("A", bound="Action")


class Action(BaseModel):
    """What a proposal carries for one change.

    ``TEXTS`` are the free texts: the ledger has their commitments in their place.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    TEXTS: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Frame:
    """For whom and when something is planned. ``title`` and ``description`` are commitments."""

    proposal: str
    proposer: str
    at: datetime
    title: str
    description: str
    index: int = 0


@dataclass(frozen=True)
class Effect:
    """What an action of an executed proposal changed, as it was recorded."""

    proposal: str
    index: int
    type: str
    target: str
    before: Any
    after: Any
    way_back: Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """One change: of ``target`` from ``before`` to ``after`` (JSON), by ``entries``.

    ``way_back`` is what undoing it needs beside the value before. ``capability`` is the
    declaration whose hooks run with it.
    """

    target: str
    before: Any
    after: Any
    entries: tuple[Entry, ...]
    way_back: Mapping[str, Any] = field(default_factory=dict)
    capability: Capability | None = None


@dataclass(frozen=True)
class ActionKind(Generic[A]):
    """A type of proposal.

    ``trust`` is needed to propose it. ``check`` makes an action canonical against what is
    registered, or refuses it; ``complete`` fills in, at creation, what the proposer left to the
    present state. ``target`` names what an action changes: proposals of one target are rivals, and
    it is locked while they execute. ``census``: it may change who can govern, so the electorate is
    locked before. ``paused``: whether a pause stops it. ``repeats``: whether several actions of
    one proposal may change the same target. ``single``: a proposal carries exactly one.
    ``rolls``: whether its proposer may choose another electorate than all members by trust.
    """

    name: str
    trust: TrustLevel
    model: type[A]
    touches: Callable[[Catalogue, A], CapabilityClass]
    target: Callable[[A], str | None]
    plan: Callable[[Present, A, Frame], Planned]
    undo: Callable[[Present, Effect, Frame], Planned]
    check: Callable[[Catalogue, A], A] = lambda _, action: action
    complete: Callable[[Present, A], A] = lambda _, action: action
    census: bool = False
    paused: bool = True
    repeats: bool = False
    single: bool = False
    rolls: bool = False
