"""``rate_limit.<LEVEL>``: how many requests a minute a member of each level may make (seed)."""

from __future__ import annotations

from typing import Final

from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.members.levels import TrustLevel

_A_MINUTE: Final = {
    TrustLevel.CORE: 10_000,
    TrustLevel.TRUSTED: 2_000,
    TrustLevel.STANDARD: 1_000,
    TrustLevel.SANDBOX: 100,
    TrustLevel.QUARANTINE: 10,
}

CAPABILITIES: Final = tuple(
    Capability(
        key=f"rate_limit.{level}",
        klass=CapabilityClass.ORDINARY,
        description=f"requests a minute for a member of level {level}",
        type="integer",
        default=default,
        least=1,
        most=1_000_000,
    )
    for level, default in _A_MINUTE.items()
)
