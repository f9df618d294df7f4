"""Everything that governance may change: the capabilities, and the types of proposal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from forge_core.actions.kind import ActionKind
from forge_core.capabilities.declaration import Capability, Order
from forge_core.capabilities.registry import Registry
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel, can_access
from forge_core.text import shown


class Catalogue(Registry):
    """The registry of capabilities together with the kinds of action, by type of proposal."""

    __slots__ = ("_kinds",)

    def __init__(
        self,
        capabilities: Iterable[Capability],
        kinds: Iterable[ActionKind[Any]],
        orders: Iterable[Order] = (),
    ) -> None:
        """Raise ``ValueError`` when a key or a type is declared twice."""
        super().__init__(capabilities, orders)
        by_name: dict[str, ActionKind[Any]] = {}
        for kind in kinds:
            if kind.name in by_name:
                raise ValueError(f"the type {kind.name} is declared twice")
            by_name[kind.name] = kind
        self._kinds: Mapping[str, ActionKind[Any]] = MappingProxyType(by_name)

    def with_extensions(
        self, capabilities: Iterable[Capability], kinds: Iterable[ActionKind[Any]]
    ) -> Catalogue:
        """This catalogue and what governance has added to it."""
        return Catalogue((*self, *capabilities), (*self._kinds.values(), *kinds), self.orders)

    @property
    def types(self) -> tuple[str, ...]:
        """The types that a proposal may have."""
        return tuple(self._kinds)

    def kind(self, type_: object) -> ActionKind[Any]:
        """The kind of that name. Raises ``Refused`` UNKNOWN_PROPOSAL_TYPE."""
        found = self._kinds.get(type_) if isinstance(type_, str) else None
        if found is None:
            raise Refused(
                "UNKNOWN_PROPOSAL_TYPE",
                f"proposal type {shown(type_)} has no registered capability; "
                f"registered are {', '.join(self._kinds)}",
            )
        return found


def check_may_propose(level: TrustLevel, kind: ActionKind[Any]) -> None:
    """Raise ``Refused`` TRUST_TOO_LOW unless ``level`` may propose this kind."""
    if not can_access(level, kind.trust):
        raise Refused(
            "TRUST_TOO_LOW",
            f"proposing {kind.name} needs trust {kind.trust} or more; the proposer is {level}",
        )
