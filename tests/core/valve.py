"""A platform's own capability with every hook of a declaration, and a house that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from forge_core.capabilities.declaration import Capability, CapabilityClass, Change, Delivery
from forge_core.database import transaction
from forge_core.jobs.kinds import JobKind
from forge_core.jobs.perform import Performed, perform
from forge_core.jobs.sweep import derive, take_back_expired
from forge_core.wiring import CATALOGUE, DERIVATIONS
from tests.core.commonwealth import JAM
from tests.core.factories import KINDS, House


class Outside:
    """What lies behind the valve: it honours the key of an effect."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As it was before anything was delivered."""
        self.value: object = 0
        self.received: dict[str, Delivery] = {}
        self.repeated = 0
        self.wrong: list[Delivery] = []

    def receive(self, delivery: Delivery) -> None:
        known = self.received.setdefault(delivery.effect, delivery)
        if known is not delivery:
            self.repeated += 1
            self.wrong += [delivery] if delivery != known else []
            return
        self.wrong += [delivery] if delivery.before != self.value else []
        self.value = delivery.after


OUTSIDE = Outside()


def turn(change: Change) -> None:
    """A handler that fails at one value, when the change is written already."""
    if change.after == JAM:
        raise ValueError("the valve jams")


VALVE = Capability(
    key="valve",
    klass=CapabilityClass.ORDINARY,
    description="how far the valve is open",
    type="integer",
    default=0,
    least=0,
    most=100,
    apply=turn,
    deliver=OUTSIDE.receive,
)
PLATFORM = CATALOGUE.with_extensions((VALVE,), ())


def on_platform(kind: JobKind) -> JobKind:
    """The kind as the processes of that platform know it."""
    step = kind.step
    if isinstance(step, partial) and "catalogue" in step.keywords:
        return replace(kind, step=partial(step.func, catalogue=PLATFORM))
    return kind


PLATFORM_KINDS: Mapping[str, JobKind] = {name: on_platform(kind) for name, kind in KINDS.items()}


class Platform(House):
    """A house whose processes declare the valve, and which sweeps in one transaction."""

    def perform(self, kind: str) -> Performed:
        if kind in PLATFORM_KINDS:
            return perform(self.app, PLATFORM_KINDS[kind])
        return super().perform(kind)

    def sweep(self) -> int:
        with transaction(self.app) as session:
            take_back_expired(session, PLATFORM_KINDS)
            return sum(derive(session, derivation) for derivation in DERIVATIONS)
