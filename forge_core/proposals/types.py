"""The types of proposal that exist: who may propose one and which classes it may touch.

Trust needed is the seed's (design section 8). A type is listed once its capability exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from forge_core.capabilities.declaration import CapabilityClass
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel, can_access
from forge_core.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProposalType(StrEnum):
    """What a proposal sets out to change."""

    CONFIGURATION = "configuration"
    POLICY = "policy"
    TRUST_ADJUSTMENT = "trust_adjustment"
    OVERLAY_REGISTRATION = "overlay_registration"
    OVERLAY_UPDATE = "overlay_update"


@dataclass(frozen=True, slots=True)
class TypeRule:
    """``classes`` are those of the registered keys that a proposal of this type may name."""

    type: ProposalType
    trust: TrustLevel
    classes: frozenset[CapabilityClass] = frozenset()


RULES: Final[Mapping[ProposalType, TypeRule]] = MappingProxyType(
    {
        rule.type: rule
        for rule in (
            TypeRule(
                ProposalType.CONFIGURATION,
                TrustLevel.TRUSTED,
                frozenset({CapabilityClass.ORDINARY, CapabilityClass.PROTOCOL}),
            ),
            TypeRule(ProposalType.POLICY, TrustLevel.TRUSTED),
            TypeRule(ProposalType.TRUST_ADJUSTMENT, TrustLevel.TRUSTED),
            TypeRule(ProposalType.OVERLAY_REGISTRATION, TrustLevel.STANDARD),
            TypeRule(ProposalType.OVERLAY_UPDATE, TrustLevel.STANDARD),
        )
    }
)


def parse_type(value: object) -> ProposalType:
    """Return the type of that name. Raises ``Refused`` UNKNOWN_PROPOSAL_TYPE."""
    for known in ProposalType:
        if value == known:
            return known
    raise Refused(
        "UNKNOWN_PROPOSAL_TYPE",
        f"proposal type {shown(value)} has no registered capability; "
        f"registered are {', '.join(ProposalType)}",
    )


def check_may_propose(level: TrustLevel, proposal_type: ProposalType) -> None:
    """Raise ``Refused`` TRUST_TOO_LOW unless ``level`` may propose this type."""
    needed = RULES[proposal_type].trust
    if not can_access(level, needed):
        raise Refused(
            "TRUST_TOO_LOW",
            f"proposing {proposal_type} needs trust {needed} or more; the proposer is {level}",
        )
