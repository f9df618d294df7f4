"""What attempts to log in say of an address: guessing, spraying, and a guess that was right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from forge_core.immune.finding import (
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

AGE: Final = timedelta(minutes=5)
LONG_AGE: Final = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Attempt:
    """One attempt from one address; ``member`` is who it was said to be."""

    at: datetime
    id: str
    success: bool
    member: str = ""


def _guessing(measures: Measures, terms: Terms) -> Verdict | None:
    failed = measures["failed"]
    if failed < terms["failures"]:
        return None
    return Verdict(Severity.CRITICAL, f"{failed} attempts failed within 5 minutes")


def _spraying(measures: Measures, terms: Terms) -> Verdict | None:
    members = measures["members"]
    if members < terms["members"]:
        return None
    return Verdict(
        Severity.CRITICAL, f"attempts failed for {members} different members within an hour"
    )


def _right_guess(measures: Measures, terms: Terms) -> Verdict | None:
    failed = measures["failed_before"]
    if failed < terms["failures_before"]:
        return None
    return Verdict(
        Severity.WARNING, f"an attempt succeeded after {failed} had failed for the same member"
    )


GUESSING = Rule("auth.guessing", 1, _guessing)
SPRAYING = Rule("auth.spraying", 1, _spraying)
RIGHT_GUESS = Rule("auth.right_guess", 1, _right_guess)


def judge_attempts(
    address: str, attempts: Sequence[Attempt], new: Collection[str], terms: RuleTerms
) -> list[Finding]:
    """What the ``new`` attempts from one address give rise to: of each rule the first finding.

    ``attempts``: the new ones (by id) and those of the hour before them, in any order; each new
    one is judged as if it were the last. A success clears the failures before it, except those of
    spraying: one guess that was right excuses nothing.
    """
    subject = Subject("address", address)
    found: dict[str, Finding] = {}
    ordered = sorted(attempts)
    for end, attempt in enumerate(ordered, start=1):
        if attempt.id in new:
            for rule, seen in _seen_at(ordered[:end]):
                finding = rule.find(subject, seen, terms) if rule.name not in found else None
                if finding is not None:
                    found[rule.name] = finding
    return list(found.values())


def _seen_at(attempts: Sequence[Attempt]) -> Iterator[tuple[Rule, Seen]]:
    """What there is to judge at the last one of these."""
    last = attempts[-1]
    hour = [one for one in attempts if last.at - one.at <= LONG_AGE]
    if last.success:
        before = _since_success([one for one in hour[:-1] if one.member == last.member])
        yield RIGHT_GUESS, _counted(before, last, {"failed_before": len(before)})
        return
    failures = [one for one in hour if not one.success]
    members = len({one.member for one in failures})
    yield SPRAYING, _counted(failures, last, {"members": members, "failed": len(failures)})
    recent = _since_success([one for one in hour if last.at - one.at <= AGE])
    yield GUESSING, _counted(recent, last, {"failed": len(recent)})


def _since_success(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """The failures after the last success."""
    for start in range(len(attempts), 0, -1):
        if attempts[start - 1].success:
            return attempts[start:]
    return attempts


def _counted(failures: Sequence[Attempt], last: Attempt, measures: Measures) -> Seen:
    first = failures[0] if failures else last
    return Seen(measures, first.at, last.at, [one.id for one in failures])
