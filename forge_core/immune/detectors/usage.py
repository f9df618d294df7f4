"""What a member's use of the platform says: limits that are always used up, and hoarding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from statistics import median
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
)

LAST: Final = 5
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
# HyperLogLog as Redis has it: a standard error of 0.81 %; three of them are almost never passed.
HYPERLOGLOG_ERROR: Final = 3 * Fraction(81, 10_000)


@dataclass(frozen=True, order=True)
class Minute:
    """How much of a limit was used in one minute; ``refused`` came on top of it."""

    at: datetime
    limit: int
    used: int
    refused: int = 0


def _rate_abuse(measures: Measures, terms: Terms) -> Verdict | None:
    full = measures["full"]
    if full < terms["full_minutes"]:
        return None
    return Verdict(
        Severity.WARNING,
        f"the limit was used up in {full} of {measures['minutes']} minutes"
        f" ({measures['refused']} requests were refused)",
    )


def _hoarding(measures: Measures, terms: Terms) -> Verdict | None:
    items, bound = measures["items"], hoarding_bound(measures["usual"], terms)
    if items <= bound:
        return None
    return Verdict(
        Severity.WARNING,
        f"{items} different items within an hour, where {measures['usual']} are usual",
    )


RATE_ABUSE = Rule("usage.rate_abuse", 1, _rate_abuse)
HOARDING = Rule("usage.hoarding", 1, _hoarding)


def judge_minutes(member: str, minutes: Sequence[Minute], terms: RuleTerms) -> Finding | None:
    """Whether the last five minutes, gaps among them, are used up to the limit too often."""
    own = terms.get(RATE_ABUSE.name)
    if not minutes or own is None:
        return None
    until = max(minutes).at
    recent = [one for one in sorted(minutes) if until - one.at < LAST * MINUTE]
    full = [one for one in recent if one.used + one.refused >= own["full"] * one.limit]
    seen = Seen(
        measures={
            "minutes": LAST,
            "full": len(full),
            "used": sum(one.used for one in recent),
            "refused": sum(one.refused for one in recent),
        },
        since=until - (LAST - 1) * MINUTE,
        until=until + MINUTE,
    )
    return RATE_ABUSE.find(Subject("member", member), seen, terms)


def hoarding_bound(usual: int, terms: Terms) -> Fraction:
    """More different items in an hour than this are too many."""
    return max(terms["floor"], terms["times_usual"] * usual)


def usual_items(past: Sequence[int]) -> int:
    """What is usual, from the hours of the last days in which anything was downloaded."""
    return round(median(past)) if past else 0


def may_be_hoarding(estimate: int, usual: int, terms: Terms) -> bool:
    """Whether an estimate is worth an exact count; alone it convicts nobody."""
    return estimate + 1 > (1 - HYPERLOGLOG_ERROR) * hoarding_bound(usual, terms)


def judge_downloads(
    member: str, items: int, usual: int, until: datetime, terms: RuleTerms
) -> Finding | None:
    """``items``: an exact count of different ones in the hour before ``until``."""
    seen = Seen({"items": items, "usual": usual}, until - HOUR, until)
    return HOARDING.find(Subject("member", member), seen, terms)
