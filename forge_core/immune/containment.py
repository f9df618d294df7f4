"""What an overlay goes through: active, quarantined, on probation, held for people. Pure.

A state is a value; each function gives the next one. Times are real time: a clock that goes
backwards frees nobody early, since every end is a moment and not a remaining time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from forge_core.immune.ladder import (
    CANARIES_MOST,
    Canaries,
    Probation,
    doublings_left,
    is_held,
    probation_of,
    quarantine_lasts,
)


class Stage(StrEnum):
    """Whether its calls are let through."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    PROBATION = "probation"
    HELD = "held"


@dataclass(frozen=True)
class Containment:
    """Where an overlay stands since ``since``.

    ``until``: when a quarantine ends. ``doublings`` and ``failed_probations`` are its past, which
    health since the last release makes forgotten step by step. ``response``: what brought it there.
    """

    stage: Stage
    since: datetime
    until: datetime | None = None
    doublings: int = 0
    failed_probations: int = 0
    canaries: Canaries | None = None
    response: str = ""

    def admits(self) -> bool:
        """Whether one more call is let through now: of a probation, the canaries only."""
        if self.stage is Stage.PROBATION and self.canaries is not None:
            return self.canaries.calls < CANARIES_MOST
        return self.stage is Stage.ACTIVE


def contained(state: Containment, response: str, now: datetime) -> Containment:
    """Quarantined by the response of that id; who is contained already stays as it is."""
    if state.stage is not Stage.ACTIVE:
        return state
    doublings = doublings_left(state.doublings, now - state.since)
    failed = state.failed_probations if doublings else 0
    return _quarantined(replace(state, failed_probations=failed), doublings, response, now)


def elapsed(state: Containment, threshold: Fraction, response: str, now: datetime) -> Containment:
    """What time alone does: a quarantine ends in a probation, and a probation in a verdict."""
    if state.stage is Stage.QUARANTINED and state.until is not None and now >= state.until:
        return replace(
            state, stage=Stage.PROBATION, since=now, until=None, canaries=Canaries(now, 0, 0)
        )
    if state.stage is Stage.PROBATION and state.canaries is not None:
        return _judged(state, state.canaries, threshold, response, now)
    return state


def called(
    state: Containment, threshold: Fraction, response: str, now: datetime, *, success: bool
) -> Containment:
    """What the outcome of a call that counts does: only canaries change anything."""
    if state.stage is not Stage.PROBATION or state.canaries is None:
        return state
    canaries = replace(
        state.canaries,
        calls=state.canaries.calls + 1,
        failed=state.canaries.failed + (not success),
    )
    return _judged(state, canaries, threshold, response, now)


def released(state: Containment, now: datetime) -> Containment:
    """By a person: active again, with nothing held against it."""
    if state.stage is Stage.ACTIVE:
        return state
    return Containment(Stage.ACTIVE, now, response=state.response)


def held(state: Containment, now: datetime) -> Containment:
    """By a person, or for people: until somebody releases it."""
    if state.stage is Stage.HELD:
        return state
    return replace(state, stage=Stage.HELD, since=now, until=None, canaries=None)


def _judged(
    state: Containment, canaries: Canaries, threshold: Fraction, response: str, now: datetime
) -> Containment:
    verdict = probation_of(canaries, threshold, now)
    if verdict is Probation.GOES_ON:
        return replace(state, canaries=canaries)
    if verdict is Probation.PASSED:
        return replace(state, stage=Stage.ACTIVE, since=now, canaries=None)
    failed = state.failed_probations + 1
    state = replace(state, failed_probations=failed, canaries=None)
    if is_held(failed):
        return held(state, now)
    return _quarantined(state, state.doublings, response, now)


def _quarantined(state: Containment, doublings: int, response: str, now: datetime) -> Containment:
    lasts = quarantine_lasts(doublings, f"{response}/{state.failed_probations}")
    return replace(
        state,
        stage=Stage.QUARANTINED,
        since=now,
        until=now + lasts,
        doublings=doublings + 1,
        canaries=None,
    )
