"""How far a response goes, how long it lasts, and when it ends: numbers and nothing else.

The rungs are observe, warn, throttle, quarantine and hold. Everything here is a function of what
is stored, so that whoever reads a response can say why it lasts as long as it does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from forge_core.immune.detectors.wilson import Wilson

QUARANTINE: Final = timedelta(seconds=60)
QUARANTINE_MOST: Final = timedelta(hours=1)
JITTER_MOST: Final = Fraction(1, 5)
HEALTHY: Final = timedelta(hours=1)
"""So long without a finding takes back one doubling."""

CANARIES_MOST: Final = 10
FAILURES_MOST: Final = 3
PROBATION_MOST: Final = timedelta(minutes=10)
PROBATIONS_MOST: Final = 3

BLOCK: Final = timedelta(seconds=3_600)
BLOCK_MOST: Final = timedelta(hours=24)

BLAST: Final = Fraction(1, 5)


class Probation(StrEnum):
    """What a probation has come to."""

    GOES_ON = "goes on"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Canaries:
    """The calls that were let through in a probation which began at ``began_at``."""

    began_at: datetime
    calls: int
    failed: int


def quarantine_lasts(doublings: int, response: str) -> timedelta:
    """60 s, doubled as often, up to an hour; up to a fifth longer, by the response's id.

    The same response lasts as long whoever asks; those that began together do not end together.
    """
    lasts = _doubled(QUARANTINE, doublings, QUARANTINE_MOST)
    drawn = Fraction(int.from_bytes(hashlib.sha256(response.encode()).digest()[:4]), 2**32)
    seconds = lasts.total_seconds() * float(1 + JITTER_MOST * drawn)
    return min(timedelta(seconds=round(seconds)), QUARANTINE_MOST)


def doublings_left(doublings: int, healthy: timedelta) -> int:
    """One less for every hour of health, so that an old outage is forgotten step by step."""
    return max(doublings - max(healthy, timedelta(0)) // HEALTHY, 0)


def probation_of(canaries: Canaries, threshold: Fraction, now: datetime) -> Probation:
    """Passed once it is proven, at 95 %, that fewer than ``threshold`` of the calls fail.

    It ends in any case: at the third failure, after ten calls, or after ten minutes, when only
    who has not failed once has passed. So no probation waits for calls that never come.
    """
    if canaries.failed >= FAILURES_MOST:
        return Probation.FAILED
    if Wilson(canaries.failed, canaries.calls).is_below(threshold):
        return Probation.PASSED
    if canaries.calls >= CANARIES_MOST:
        # Ten calls prove at best that fewer than 28 % fail; nobody can do better than all of them.
        return Probation.FAILED if canaries.failed else Probation.PASSED
    if now - canaries.began_at >= PROBATION_MOST:
        return Probation.FAILED if canaries.failed else Probation.PASSED
    return Probation.GOES_ON


def is_held(failed_probations: int) -> bool:
    """Whether it is for people to decide from now on."""
    return failed_probations >= PROBATIONS_MOST


def block_until(now: datetime, blocks_before: int, present: datetime | None) -> datetime:
    """An hour, doubled for every earlier block, up to a day; never earlier than ``present``."""
    until = now + _doubled(BLOCK, blocks_before, BLOCK_MOST)
    return until if present is None else max(until, present)


def within_blast_radius(active: int, contained: int, share: Fraction = BLAST) -> bool:
    """Whether one more of the ``active`` overlays may be contained automatically.

    A fifth of them, and at least one: what fails beyond that is no fault of single overlays.
    """
    return contained + 1 <= max(1, int(active * share))


def _doubled(base: timedelta, times: int, most: timedelta) -> timedelta:
    longest = (most // base).bit_length()
    factor: int = 2 ** min(times, longest)
    return min(base * factor, most)
