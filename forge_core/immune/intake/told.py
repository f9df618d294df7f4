"""An event as it is kept: about whom it is, and what it says of them."""

from __future__ import annotations

from typing import NamedTuple, Self

from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.overlay_calls import Fault, Limits
from forge_core.immune.intake.events import AuthAttempted, OverlayInvoked, RuntimeEvent
from forge_core.immune.intake.windows import Outcome


class Told(NamedTuple):
    """``success`` is None where an event says nothing about how its subject is doing."""

    event: RuntimeEvent
    subject: Subject
    success: bool | None = None
    slow: bool = False
    exhausted: bool = False

    @classmethod
    def of(cls, event: RuntimeEvent) -> Self:
        """Of an event that is measured by nothing else."""
        success = event.data.success if isinstance(event, AuthAttempted) else None
        return cls(event, event.subject, success)

    @classmethod
    def of_call(cls, event: OverlayInvoked, limits: Limits) -> Self:
        """Of a call; one that failed by another's fault says nothing, however long it took."""
        call = event.data
        if not call.success and call.fault is not Fault.OVERLAY:
            return cls(event, event.subject)
        return cls(
            event,
            event.subject,
            call.success,
            limits.is_slow(call.execution_ms),
            limits.is_near(call.execution_ms, call.fuel, call.memory),
        )

    @property
    def name(self) -> str:
        """What distinguishes it among its subject's; neither half has a space."""
        return f"{self.event.source} {self.event.id}"

    @property
    def outcome(self) -> Outcome | None:
        """As windows count it."""
        if self.success is None:
            return None
        return Outcome(self.event.time, self.name, self.success)
