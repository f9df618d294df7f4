"""``emergency.*``: how far an emergency proposal may go."""

from __future__ import annotations

from typing import Final

from forge_core.capabilities.declaration import Capability, CapabilityClass

ADJUSTMENT: Final = "emergency.adjustment"
PAUSE_HOURS: Final = "emergency.pause_hours"

CAPABILITIES: Final = (
    Capability(
        key=ADJUSTMENT,
        klass=CapabilityClass.RULE,
        description="largest change of a parameter by an emergency, as a share of its value",
        type="decimal",
        default="0.5",
        least=0,
        most=1,
    ),
    Capability(
        key=PAUSE_HOURS,
        klass=CapabilityClass.RULE,
        description="longest pause of execution, in hours; renewable",
        type="integer",
        default=168,
        least=1,
        most=168,
    ),
)
