"""Simulated overlays, seeded: how soon an outage is noticed, and how often nothing was one.

The same traffic goes through every breaker of `benchmarks.breakers`: calls with exponential pauses,
and whether each would fail is drawn before anybody decides about it. `docs/containment.py` makes
the published page of it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, takewhile
from random import Random
from typing import Final, NamedTuple

from benchmarks.breakers import BREAKERS, NEVER, Breaker
from benchmarks.figure import TIMES, Figure

GOOD_CALLS: Final = 200
"""Before an outage: no window looks back further."""
CALLS: Final = 1_000
DAY: Final = 86_400
CALM: Final = 1_800
"""So long after an outage it is watched whether calls are let through again."""


class Calls(NamedTuple):
    """When each call is made, and whether it would go well."""

    at: Sequence[float]
    well: Sequence[bool]


@dataclass(frozen=True)
class Spread:
    """The middle of what was measured on each overlay, its 95th percentile, and its most."""

    median: float
    p95: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """By nearest rank, so that a `NEVER` is averaged with nothing."""
        ordered = sorted(values)
        return cls(*(ordered[math.ceil(part * len(ordered)) - 1] for part in (0.5, 0.95, 1)))


@dataclass(frozen=True)
class Noticed:
    """Calls, and seconds, into an outage until it was contained; ``missed``: the share never."""

    calls: Spread
    seconds: Spread
    missed: float


@dataclass(frozen=True)
class Recovered:
    """Failed calls that got through; seconds from the outage's end until none is refused any more.

    ``never``: the share that is refused to the end, or until people say otherwise.
    """

    failed: Spread
    seconds: Spread
    never: float


def set_aside(overlays: int, failing: float, calls: int = CALLS) -> Mapping[str, float]:
    """Which share of overlays that fail by chance was ever set aside."""
    count = dict.fromkeys(BREAKERS, 0)
    for seed in range(overlays):
        random = Random(f"set aside/{failing}/{seed}")
        traffic = _joined(random, [(calls, failing)])
        for name, kind in BREAKERS.items():
            count[name] += _opened_at(kind(), traffic) is not None
    return {name: found / overlays for name, found in count.items()}


def noticed(
    overlays: int, failing: float, good: int = GOOD_CALLS, calls: int = CALLS
) -> Mapping[str, Noticed]:
    """How long an outage goes on, after so many good calls, until it is contained."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in BREAKERS}
    for seed in range(overlays):
        random = Random(f"noticed/{failing}/{good}/{seed}")
        traffic = _joined(random, [(good, 0), (calls, failing)])
        began = traffic.at[good - 1]
        for name, kind in BREAKERS.items():
            at = _opened_at(kind(), traffic)
            found[name].append(
                (NEVER, NEVER) if at is None else (at + 1 - good, traffic.at[at] - began)
            )
    return {
        name: Noticed(
            Spread.of(calls for calls, _ in each),
            Spread.of(seconds for _, seconds in each),
            sum(calls == NEVER for calls, _ in each) / overlays,
        )
        for name, each in found.items()
    }


def recovered(overlays: int, outage: float) -> Mapping[str, Recovered]:
    """What an outage of so many seconds costs, and how long after it calls are still refused."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in BREAKERS}
    for seed in range(overlays):
        random = Random(f"recovered/{outage}/{seed}")
        began = GOOD_CALLS + random.uniform(0, GOOD_CALLS)
        at = _times(random, began + outage + CALM)
        traffic = Calls(at, [not began <= now < began + outage for now in at])
        for name, kind in BREAKERS.items():
            found[name].append(_through(kind(), traffic, began + outage))
    return {
        name: Recovered(
            Spread.of(failed for failed, _ in each),
            Spread.of(seconds for _, seconds in each),
            sum(seconds == NEVER for _, seconds in each) / overlays,
        )
        for name, each in found.items()
    }


def broken(overlays: int, pause: float, day: float = DAY) -> Mapping[str, Spread]:
    """How many calls of a day, one every ``pause`` seconds, reach what is broken for good."""
    found: dict[str, list[int]] = {name: [] for name in BREAKERS}
    for seed in range(overlays):
        at = _times(Random(f"broken/{pause}/{seed}"), day, pause)
        for name, kind in BREAKERS.items():
            found[name].append(_reached(kind(), at))
    return {name: Spread.of(each) for name, each in found.items()}


def measure(*, overlays: int, day: int = DAY) -> list[Figure]:
    """What others do is beside what ours does."""
    return [
        _unjust(overlays),
        *(_noticed_figure(overlays, failing) for failing in (1.0, 0.8)),
        _broken_figure(overlays, day),
    ]


def _unjust(overlays: int) -> Figure:
    rates = (0.05, 0.1, 0.2)
    shares = {failing: set_aside(overlays, failing) for failing in rates}
    return Figure(
        f"{overlays:,} overlays failing 10 % of {CALLS:,} calls: set aside",
        100 * shares[0.1]["ours"],
        "%",
        "<=",
        1,
        {
            name: ", ".join(
                f"{shares[rate][name]:.1%} of those failing {rate:.0%}" for rate in rates
            )
            for name in BREAKERS
        },
    )


def _noticed_figure(overlays: int, failing: float) -> Figure:
    found = noticed(overlays, failing)
    return Figure(
        f"calls into an outage ({failing:.0%} fail) until it is contained, to resilience4j's",
        found["ours"].calls.median / found["resilience4j"].calls.median,
        TIMES,
        "<=",
        1,
        {
            name: f"{one.calls.median:,.0f} calls, at most {one.calls.most:,.0f} "
            f"of {overlays:,} overlays"
            for name, one in found.items()
        },
    )


def _broken_figure(overlays: int, day: int) -> Figure:
    """The goal holds for every overlay, so the value is the worst."""
    found = broken(overlays, 1, day)
    return Figure(
        f"failed calls in {day:,} s of an overlay that is broken for good, one a second",
        found["ours"].most,
        "calls",
        "<=",
        100,
        {
            name: f"{one.median:,.0f} calls reached it, at most {one.most:,.0f} "
            f"of {overlays:,} overlays"
            for name, one in found.items()
        },
    )


def _pauses(random: Random, pause: float) -> Iterator[float]:
    """Exponential ones, without end."""
    draw, log = random.random, math.log
    while True:
        yield -pause * log(1.0 - draw())


def _times(random: Random, until: float, pause: float = 1.0) -> Sequence[float]:
    """Calls up to a moment."""
    return list(takewhile(lambda now: now < until, accumulate(_pauses(random, pause))))


def _joined(random: Random, stretches: Iterable[tuple[int, float]]) -> Calls:
    """So many calls one after the other, about one a second, of which such a share fails."""
    rates = [failing for calls, failing in stretches for _ in range(calls)]
    at = list(accumulate(islice(_pauses(random, 1.0), len(rates))))
    return Calls(at, [random.random() >= failing for failing in rates])


def _let_through(breaker: Breaker, traffic: Calls) -> Iterator[int]:
    """The calls that get through, each after the breaker was told how it went."""
    at, well = traffic
    number, calls = 0, len(at)
    while number < calls:
        now = at[number]
        if breaker.admits(now):
            breaker.called(now, success=well[number])
            yield number
            number += 1
        else:
            number = bisect_left(at, breaker.shut_until, number + 1)


def _opened_at(breaker: Breaker, traffic: Calls) -> int | None:
    """The call at which it was set aside for the first time."""
    return next((number for number in _let_through(breaker, traffic) if breaker.opened), None)


def _through(breaker: Breaker, traffic: Calls, ended: float) -> tuple[int, float]:
    """Failed calls that got through, and how long after the end calls were refused."""
    failed, before, again = 0, -1, ended
    for number in _let_through(breaker, traffic):
        failed += not traffic.well[number]
        if number > before + 1:
            again = max(traffic.at[number], ended)
        before = number
    return failed, again - ended if before + 1 == len(traffic.at) else NEVER


def _reached(breaker: Breaker, at: Sequence[float]) -> int:
    """How many calls get through where each of them fails."""
    return sum(1 for _ in _let_through(breaker, Calls(at, [False] * len(at))))
