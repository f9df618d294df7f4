"""What a proposal is about, as an adviser sees it: plain data, read once, judged by pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from forge_core.advisory.analysis import Precedent, Signal, Where
from forge_core.advisory.injection import signals
from forge_core.errors import Refused
from forge_core.exact import parse_decimal


@dataclass(frozen=True)
class Bounds:
    """What a registered number may be."""

    least: Fraction
    most: Fraction


@dataclass(frozen=True)
class Change:
    """One change that the proposal would make: of ``target``, between two JSON values.

    ``key`` is the registered capability of a setting. ``lowest`` and ``highest`` are what it was
    ever set to, by executed proposals or by default.
    """

    target: str
    before: Any
    after: Any
    key: str | None = None
    klass: str | None = None
    default: Any = None
    bounds: Bounds | None = None
    lowest: Fraction | None = None
    highest: Fraction | None = None

    @property
    def numbers(self) -> tuple[Fraction, Fraction] | None:
        """Before and after, where both are numbers."""
        before, after = number_of(self.before), number_of(self.after)
        return None if before is None or after is None else (before, after)


@dataclass(frozen=True)
class Record:
    """What became of its proposer's earlier proposals."""

    executed: int = 0
    rolled_back: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """How many there were; one that was rolled back had been executed."""
        return self.executed + self.rolled_back + self.rejected + self.failed


@dataclass(frozen=True)
class Rival:
    """A live proposal that changes the same, or reads like this one."""

    proposal: str
    status: str
    likeness: float
    same_target: bool


@dataclass(frozen=True)
class Matter:
    """A proposal and what it would meet.

    ``actions`` is the payload as proposed; ``changes`` what it would do now, none where it could
    not be executed (``problem`` says why). ``treasury`` is the balance. ``providers`` has, by
    capability, the overlays that provide it, ``holders``, by role, the members who hold it.
    ``keys`` are all registered keys.
    """

    id: str
    type: str
    track: str
    classes: frozenset[str]
    proposer: str
    title: str
    description: str
    reason: str
    actions: tuple[Mapping[str, Any], ...]
    changes: tuple[Change, ...] = ()
    problem: str | None = None
    record: Record = field(default_factory=Record)
    rivals: tuple[Rival, ...] = ()
    precedents: tuple[Precedent, ...] = ()
    treasury: Fraction = Fraction(0)
    providers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    holders: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()

    @property
    def texts(self) -> Mapping[Where, str]:
        """The free texts, by where they stand; those of the payload together."""
        found: dict[Where, str] = {
            "title": self.title,
            "description": self.description,
            "reason": self.reason,
        }
        inside = [
            str(action[name])
            for action in self.actions
            for name in ("text", "purpose", "name", "description")
            if isinstance(action.get(name), str)
        ]
        if inside:
            found["payload"] = "\n".join(inside)
        return found

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """What stands in its texts and should not."""
        return tuple(signals(self.texts))

    @property
    def prose(self) -> str:
        """What the proposer says about it."""
        return f"{self.title}\n{self.description}\n{self.reason}"


def number_of(value: object) -> Fraction | None:
    """The number that a JSON value is, or that a text in it spells."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return parse_decimal(value)
    except Refused:
        return None
