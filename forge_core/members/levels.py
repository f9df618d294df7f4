"""Trust levels, what each may reach, and the roles a member can hold.

Scores and default weights are the Forge seed's.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from forge_core.errors import Refused
from forge_core.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping


class TrustLevel(StrEnum):
    """A member's standing. ``<`` and ``>`` compare trust, not spelling."""

    CORE = "CORE"
    TRUSTED = "TRUSTED"
    STANDARD = "STANDARD"
    SANDBOX = "SANDBOX"
    QUARANTINE = "QUARANTINE"

    @property
    def score(self) -> int:
        """The seed's number, 0 to 100."""
        return _SCORES[self.value]

    def __lt__(self, other: str) -> bool:
        return self.score < _score(other)

    def __le__(self, other: str) -> bool:
        return self.score <= _score(other)

    def __gt__(self, other: str) -> bool:
        return self.score > _score(other)

    def __ge__(self, other: str) -> bool:
        return self.score >= _score(other)


_SCORES: Final = {"CORE": 100, "TRUSTED": 80, "STANDARD": 60, "SANDBOX": 40, "QUARANTINE": 0}

DEFAULT_WEIGHTS: Final[Mapping[TrustLevel, str]] = MappingProxyType(
    {
        TrustLevel.CORE: "5",
        TrustLevel.TRUSTED: "3",
        TrustLevel.STANDARD: "1",
        TrustLevel.SANDBOX: "0.5",
        TrustLevel.QUARANTINE: "0",
    }
)
"""Ballot weight of each level when a ledger begins, as decimal text."""


class Role(StrEnum):
    """A duty beside the trust level; a member may hold several."""

    ADMIN = "admin"
    GUARDIAN = "guardian"
    REVIEWER = "reviewer"
    OPERATOR = "operator"


def can_access(level: TrustLevel, needed: TrustLevel) -> bool:
    """Whether ``level`` is at least ``needed``."""
    return level >= needed


def parse_level(name: str, value: object) -> TrustLevel:
    """Return the level spelt exactly so. Raises ``Refused`` TRUST_LEVEL_UNKNOWN."""
    if isinstance(value, str) and value in _SCORES:
        return TrustLevel(value)
    raise Refused(
        "TRUST_LEVEL_UNKNOWN",
        f"{name} is {shown(value)}; the trust levels are {', '.join(TrustLevel)}",
    )


def parse_role(name: str, value: object) -> Role:
    """Return the role spelt exactly so. Raises ``Refused`` ROLE_UNKNOWN."""
    for role in Role:
        if value == role:
            return role
    raise Refused("ROLE_UNKNOWN", f"{name} is {shown(value)}; the roles are {', '.join(Role)}")


def _score(other: str) -> int:
    if isinstance(other, TrustLevel):
        return other.score
    message = f"a TrustLevel is ordered only against a TrustLevel, not {type(other).__name__}"
    raise TypeError(message)
