"""``feature.<name>``: what the platform has switched on, with the seed's defaults.

``fiat_unlock`` has a calendar of its own, in ``fiat_unlock.*``: from when on it may be proposed,
what a vote for it needs at least, and the date on which it unlocks without one.
"""

from __future__ import annotations

from typing import Final

from forge_core.capabilities.declaration import Capability, CapabilityClass

PREFIX: Final = "feature."
FIAT_UNLOCK: Final = "feature.fiat_unlock"

_SEED: Final[dict[str, tuple[bool, str]]] = {
    "airdrops": (True, "coins are given to active members from time to time"),
    "treasure_hunts": (True, "members may hide coins for others to find"),
    "time_capsules": (True, "coins may be locked until a date"),
    "mining_bonuses": (True, "miners are rewarded beyond the block"),
    "social_bonuses": (True, "bringing in others is rewarded"),
    "fee_refunds": (True, "fees are given back when the network is idle"),
    "ai_development_pool": (True, "donated AI time is spent on the platform"),
    "exchange": (True, "coins may be traded on the platform"),
    "social_recovery": (True, "friends may help to recover an account"),
    "token_burning": (True, "coins spent on services are destroyed"),
    "smart_contracts": (False, "members may run contracts"),
    "fiat_unlock": (False, "coins may be exchanged for state money"),
}

_SWITCHES: Final = tuple(
    Capability(
        key=PREFIX + name,
        klass=CapabilityClass.FEATURE,
        description=description,
        type="boolean",
        default=on,
    )
    for name, (on, description) in _SEED.items()
)

CAPABILITIES: Final = (
    *_SWITCHES,
    Capability(
        key="fiat_unlock.opens_at",
        klass=CapabilityClass.RULE,
        description="from when on fiat_unlock may be proposed",
        type="time",
        default="2026-03-12T00:00:00Z",
        least="2024-01-01T00:00:00Z",
        most="2100-01-01T00:00:00Z",
    ),
    Capability(
        key="fiat_unlock.automatic_at",
        klass=CapabilityClass.RULE,
        description="when fiat_unlock unlocks by itself",
        type="time",
        default="2026-11-01T00:00:00Z",
        least="2024-01-01T00:00:00Z",
        most="2100-01-01T00:00:00Z",
    ),
    Capability(
        key="fiat_unlock.min_yes_voters",
        klass=CapabilityClass.RULE,
        description="fewest distinct members whose votes unlock fiat_unlock",
        type="integer",
        default=5,
        least=1,
        most=1_000,
    ),
    Capability(
        key="fiat_unlock.approval",
        klass=CapabilityClass.RULE,
        description="least share of the decided weight that unlocks fiat_unlock",
        type="decimal",
        default="0.66",
        least="0.5",
        most="1",
    ),
)
