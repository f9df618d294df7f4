"""What a ballot weighs: ``trust.weight.<LEVEL>`` by trust (seed: 5, 3, 1, 0.5, 0) or balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge_core.capabilities.declaration import Capability, CapabilityClass, Value
from forge_core.exact import parse_decimal
from forge_core.members.levels import DEFAULT_WEIGHTS, TrustLevel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction


def _declare(level: TrustLevel) -> Capability:
    # A quarantined member is in no roll (INV-20), so no vote can give that level a weight.
    most = 0 if level is TrustLevel.QUARANTINE else 1_000
    return Capability(
        key=f"trust.weight.{level}",
        klass=CapabilityClass.RULE,
        description=f"weight of a ballot cast by a member of level {level}",
        type="decimal",
        default=DEFAULT_WEIGHTS[level],
        least=0,
        most=most,
    )


COIN_SHARE: Final = "balance.coin_share"

ELECTORATES: Final = (
    "configuration",
    "trust_adjustment",
    "overlay_registration",
    "overlay_update",
    "feature_activation",
    "treasury_allocation",
    "governance_rule",
    "role_change",
    "registry_extension",
    "emergency",
)
"""Types whose proposers may be allowed to name another electorate than all members by trust."""

CAPABILITIES: Final = (
    *(
        Capability(
            key=f"electorate.{name}",
            klass=CapabilityClass.RULE,
            description=f"whether a {name} may name an imported or balance electorate",
            type="boolean",
            default=False,
        )
        for name in ELECTORATES
    ),
    *(_declare(level) for level in TrustLevel),
    Capability(
        key=COIN_SHARE,
        klass=CapabilityClass.RULE,
        description="weight by balance: share of the coins; the rest is of what was donated",
        type="decimal",
        default="0.7",
        least=0,
        most=1,
    ),
)


def weight_table(values: Mapping[str, Value]) -> dict[TrustLevel, Fraction]:
    """The exact weight of each level, from present values that name all five keys."""
    return {level: parse_decimal(values[f"trust.weight.{level}"]) for level in TrustLevel}
