"""What attempts to log in say of an address: guessing, spraying, and a guess that was right."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from forge_core.immune.detectors.finding import (
    SAMPLES_MOST,
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
    failures = _Failures()
    for attempt in sorted(attempts):
        for rule, seen in failures.after(attempt, judged=attempt.id in new):
            finding = rule.find(subject, seen, terms) if rule.name not in found else None
            if finding is not None:
                found[rule.name] = finding
    return list(found.values())


class _Failures:
    """The failures that count at one attempt after the other: a flood is judged in one pass."""

    def __init__(self) -> None:
        self._hour: deque[Attempt] = deque()
        self._recent: deque[Attempt] = deque()
        self._members: Counter[str] = Counter()
        self._of: dict[str, deque[Attempt]] = defaultdict(deque)

    def after(self, attempt: Attempt, *, judged: bool) -> Iterator[tuple[Rule, Seen]]:
        """What there is to judge at this one; it counts from then on."""
        self._forget(attempt.at)
        of_member = self._of[attempt.member]
        while of_member and attempt.at - of_member[0].at > LONG_AGE:
            of_member.popleft()
        if attempt.success:
            if judged:
                yield RIGHT_GUESS, _seen(of_member, attempt, failed_before=len(of_member))
            of_member.clear()
            self._recent.clear()
            return
        for kept in (self._hour, self._recent, of_member):
            kept.append(attempt)
        self._members[attempt.member] += 1
        if judged:
            members = len(self._members)
            yield SPRAYING, _seen(self._hour, attempt, members=members, failed=len(self._hour))
            yield GUESSING, _seen(self._recent, attempt, failed=len(self._recent))

    def _forget(self, now: datetime) -> None:
        while self._recent and now - self._recent[0].at > AGE:
            self._recent.popleft()
        while self._hour and now - self._hour[0].at > LONG_AGE:
            member = self._hour.popleft().member
            self._members[member] -= 1
            if not self._members[member]:
                del self._members[member]


def _seen(failures: deque[Attempt], last: Attempt, **measures: int) -> Seen:
    first = failures[0] if failures else last
    newest = [failures[n].id for n in range(-min(SAMPLES_MOST, len(failures)), 0)]
    return Seen(measures, first.at, last.at, newest)
