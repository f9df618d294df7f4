"""What an overlay's calls say of it: failing, failing in a row, slow, exhausted.

Only what the overlay is to blame for counts: a call that failed by its caller's fault, or by the
platform's, is in no window. Calls are in the order of their times, those of one moment in the
order of their ids, so that it makes no difference in which order they arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from forge_core.immune.detectors.finding import (
    Finding,
    Measures,
    Rule,
    RuleTerms,
    Seen,
    Severity,
    Subject,
    Terms,
    Verdict,
    percent,
)
from forge_core.immune.detectors.wilson import Wilson

LAST: Final = 50
AGE: Final = timedelta(hours=1)


class Fault(StrEnum):
    """Who is to blame for a call that failed."""

    OVERLAY = "overlay"
    CALLER = "caller"
    PLATFORM = "platform"


@dataclass(frozen=True, order=True)
class Call:
    """One invocation. ``exhausted``: it took 90 % or more of a limit of its manifest."""

    at: datetime
    id: str
    success: bool
    fault: Fault | None = None
    slow: bool = False
    exhausted: bool = False

    @property
    def counts(self) -> bool:
        """Whether it says anything about the overlay."""
        return self.success or self.fault is Fault.OVERLAY


NEAR: Final = Fraction(9, 10)
"""From this share of a limit on a call counts as exhausting it."""
TIMES_USUAL: Final = 3
SLOWER_LEAST_MS: Final = 100


@dataclass(frozen=True)
class Limits:
    """What an overlay's manifest allows one call, and how long its calls usually take."""

    execution_ms: int | None = None
    fuel: int | None = None
    memory: int | None = None
    usual_ms: int | None = None

    def is_slow(self, execution_ms: int) -> bool:
        """Longer than the manifest allows, or than three times as long as usual."""
        if self.execution_ms is not None and execution_ms > self.execution_ms:
            return True
        usual = self.usual_ms
        if usual is None:
            return False
        return execution_ms > max(TIMES_USUAL * usual, usual + SLOWER_LEAST_MS)

    def is_near(self, execution_ms: int, fuel: int, memory: int) -> bool:
        """Whether a call came near a limit of the manifest; one beyond its time is slow instead."""
        return (
            (
                self.execution_ms is not None
                and NEAR * self.execution_ms <= execution_ms <= self.execution_ms
            )
            or (self.fuel is not None and fuel >= NEAR * self.fuel)
            or (self.memory is not None and memory >= NEAR * self.memory)
        )


def _failure_rate(measures: Measures, terms: Terms) -> Verdict | None:
    calls, failed = measures["calls"], measures["failed"]
    if calls < terms["least_calls"] or failed <= terms["rate"] * calls:
        return None
    sure = Wilson(failed, calls).is_above(terms["rate"])
    low, high = Wilson(failed, calls).shown()
    return Verdict(
        Severity.CRITICAL if sure else Severity.WARNING,
        f"{percent(failed, calls)} of the last {calls} calls failed (95 %: {low} to {high})",
    )


def _failures_in_a_row(measures: Measures, terms: Terms) -> Verdict | None:
    in_a_row = measures["in_a_row"]
    if in_a_row < terms["in_a_row"]:
        return None
    return Verdict(Severity.CRITICAL, f"the last {in_a_row} calls failed, one after the other")


def _slow_calls(measures: Measures, terms: Terms) -> Verdict | None:
    calls, slow = measures["calls"], measures["slow"]
    if calls < terms["least_calls"] or slow <= terms["slow_rate"] * calls:
        return None
    return Verdict(Severity.WARNING, f"{percent(slow, calls)} of the last {calls} calls were slow")


def _exhaustion(measures: Measures, terms: Terms) -> Verdict | None:
    calls, exhausted = measures["calls"], measures["exhausted"]
    if calls < terms["least_calls"] or exhausted <= terms["exhausted_rate"] * calls:
        return None
    return Verdict(
        Severity.WARNING,
        f"{percent(exhausted, calls)} of the last {calls} calls came near a limit of the manifest",
    )


FAILURE_RATE = Rule("overlay.failure_rate", 1, _failure_rate)
FAILURES_IN_A_ROW = Rule("overlay.failures_in_a_row", 1, _failures_in_a_row)
SLOW_CALLS = Rule("overlay.slow_calls", 1, _slow_calls)
EXHAUSTION = Rule("overlay.exhaustion", 1, _exhaustion)


def judge_calls(
    overlay: str, calls: Sequence[Call], new: Collection[str], terms: RuleTerms
) -> list[Finding]:
    """What the ``new`` calls give rise to: of each rule the first finding.

    ``calls``: the new ones (by id) and the `LAST` before them that count, in any order. Each new
    call is judged as if it were the last: so it makes no difference how calls were batched, and a
    call that went well in every way gives rise to nothing.
    """
    subject = Subject("overlay", overlay)
    found: dict[str, Finding] = {}
    for window in _windows(calls, new):
        seen = _measured(window)
        for rule in _rules_of(window[-1]):
            finding = rule.find(subject, seen, terms) if rule.name not in found else None
            if finding is not None:
                found[rule.name] = finding
    return list(found.values())


def _rules_of(call: Call) -> Iterator[Rule]:
    """Those that this call may give rise to."""
    if not call.success:
        yield from (FAILURES_IN_A_ROW, FAILURE_RATE)
    if call.slow:
        yield SLOW_CALLS
    if call.exhausted:
        yield EXHAUSTION


def _windows(calls: Sequence[Call], new: Collection[str]) -> Iterator[Sequence[Call]]:
    """For each new call that counts: the last calls up to it, no older than an hour."""
    counting = sorted(call for call in calls if call.counts)
    for end, call in enumerate(counting, start=1):
        if call.id in new:
            last = counting[max(end - LAST, 0) : end]
            yield [one for one in last if call.at - one.at <= AGE]


def _measured(window: Sequence[Call]) -> Seen:
    failed = [call.id for call in window if not call.success]
    in_a_row = next((n for n, call in enumerate(reversed(window)) if call.success), len(window))
    return Seen(
        measures={
            "calls": len(window),
            "failed": len(failed),
            "in_a_row": in_a_row,
            "slow": sum(call.slow for call in window),
            "exhausted": sum(call.exhausted for call in window),
        },
        since=window[0].at,
        until=window[-1].at,
        samples=failed,
    )
