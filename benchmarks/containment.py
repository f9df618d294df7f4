"""Simulated overlays, seeded: how soon an outage is noticed, and how often nothing was one.

The same traffic goes through every breaker of `benchmarks.breakers`: about one call a second, and
whether each would fail is drawn before anybody decides about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from statistics import median

from benchmarks.breakers import BREAKERS, Breaker
from benchmarks.figure import TIMES, Figure

GOOD_CALLS = 200
"""Before an outage: no window looks back further."""
CALLS = 1_000
DAY = 86_400


def measure(*, overlays: int, day: int = DAY) -> list[Figure]:
    """What others do is beside what ours does."""
    return [_unjust(overlays), *(_noticed(overlays, rate) for rate in (1.0, 0.8)), _broken(day)]


def _traffic(random: Random, calls: int, failing: float) -> Iterator[tuple[float, bool]]:
    """Seconds since the call before, and whether it goes well."""
    for _ in range(calls):
        yield random.expovariate(1), random.random() >= failing


def _unjust(overlays: int) -> Figure:
    """Overlays that fail now and then, as all do, over a thousand calls each."""
    shares: dict[str, list[float]] = {}
    rates = (0.05, 0.1, 0.2)
    for failing in rates:
        for name, kind in BREAKERS.items():
            aside = sum(
                _until_opened(kind(), Random(seed), CALLS, failing) is not None
                for seed in range(overlays)
            )
            shares.setdefault(name, []).append(aside / overlays)
    parts = {
        name: ", ".join(
            f"{share:.1%} of those failing {rate:.0%}"
            for share, rate in zip(found, rates, strict=True)
        )
        for name, found in shares.items()
    }
    return Figure(
        f"{overlays:,} overlays failing 10 % of 1,000 calls: set aside",
        100 * shares["ours"][1],
        "%",
        "<=",
        1,
        parts,
    )


def _noticed(overlays: int, failing: float) -> Figure:
    """How many calls go into an outage before it is contained."""
    noticed = {
        name: sorted(_noticed_after(kind(), Random(seed), failing) for seed in range(overlays))
        for name, kind in BREAKERS.items()
    }
    middle = {name: median(calls) for name, calls in noticed.items()}
    return Figure(
        f"calls into an outage ({failing:.0%} fail) until it is contained, to resilience4j's",
        middle["ours"] / middle["resilience4j"],
        TIMES,
        "<=",
        1,
        {
            name: f"{middle[name]:,.0f} calls, at most {calls[-1]:,} of {overlays:,} overlays"
            for name, calls in noticed.items()
        },
    )


def _broken(day: int) -> Figure:
    """What users of an overlay that fails always have to bear in a day."""
    failed = {name: _failed_calls(kind(), day) for name, kind in BREAKERS.items()}
    return Figure(
        f"failed calls in {day:,} s of an overlay that is broken for good",
        failed["ours"],
        "calls",
        "<=",
        100,
        {name: f"{calls:,} calls reached it" for name, calls in failed.items()},
    )


def _until_opened(breaker: Breaker, random: Random, calls: int, failing: float) -> int | None:
    """The number of the call at which it was set aside for the first time, from 1."""
    now = 0.0
    for number, (pause, success) in enumerate(_traffic(random, calls, failing), start=1):
        now += pause
        if breaker.admits(now):
            breaker.called(now, success=success)
        if breaker.opened:
            return number
    return None


def _noticed_after(breaker: Breaker, random: Random, failing: float) -> int:
    """Calls into an outage, after many that went well, until it is contained."""
    now = 0.0
    for pause, _ in _traffic(random, GOOD_CALLS, 0):
        now += pause
        breaker.admits(now)
        breaker.called(now, success=True)
    number = 0
    while not breaker.opened:
        number += 1
        pause, success = next(_traffic(random, 1, failing))
        now += pause
        breaker.admits(now)
        breaker.called(now, success=success)
    return number


def _failed_calls(breaker: Breaker, day: int) -> int:
    """One call a second, each of which fails."""
    reached = 0
    for second in range(day):
        if breaker.admits(float(second)):
            breaker.called(float(second), success=False)
            reached += 1
    return reached
