"""What other thresholds would have done: a rule over the summaries of the last days.

Summaries know minutes, not calls, so a window is made of whole ones: the last minutes that hold
fifty calls or more. What hangs on the order of single events cannot be replayed, and is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from statistics import median
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.immune.detectors.attempts import AGE as ATTEMPTS_AGE
from forge_core.immune.detectors.attempts import GUESSING
from forge_core.immune.detectors.finding import Finding, Rule, RuleTerms, Seen, Subject
from forge_core.immune.detectors.hosts import RUNNING_OUT
from forge_core.immune.detectors.overlay_calls import (
    AGE,
    EXHAUSTION,
    FAILURE_RATE,
    LAST,
    SLOW_CALLS,
)
from forge_core.immune.detectors.usage import (
    HOARDING,
    HOUR,
    MINUTE,
    RATE_ABUSE,
    Minute,
    judge_downloads,
    judge_minutes,
)
from forge_core.immune.detectors.usage import LAST as LAST_MINUTES
from forge_core.immune.rulebook import GOVERNED
from forge_core.text import shown

DAYS: Final = timedelta(days=7)
REST: Final = timedelta(hours=1)
"""A subject that was found is not found again so soon: something would have been done."""

Rows = Iterable[Row[Any]]


@dataclass(frozen=True)
class _Replay:
    query: Any
    find: Callable[[str, list[Row[Any]], RuleTerms], Iterator[Finding]]


def replay(session: Session, rule: str, terms: RuleTerms, since: datetime) -> list[Finding]:
    """What the rule would have found since then, by time. Reads; changes nothing.

    ``RULE_UNKNOWN``; ``RULE_NOT_REPLAYED`` for one that looks at what summaries do not keep.
    """
    if rule not in GOVERNED:
        raise Refused("RULE_UNKNOWN", f"{shown(rule)} is none of {', '.join(GOVERNED)}")
    if rule not in _REPLAYS:
        raise Refused(
            "RULE_NOT_REPLAYED",
            f"{rule} looks at single events, of which there are no summaries; "
            f"these can be replayed: {', '.join(_REPLAYS)}",
        )
    kind = _REPLAYS[rule]
    streamed = {"stream_results": True, "yield_per": 10_000}
    rows = session.execute(kind.query, {"since": since}, execution_options=streamed)
    found = [
        finding
        for subject, of in groupby(rows, key=lambda row: str(row.subject))
        for finding in _rested(kind.find(subject, list(of), terms))
    ]
    return sorted(found, key=lambda finding: (finding.until, finding.subject.id))


def _rested(found: Iterable[Finding]) -> Iterator[Finding]:
    free_at: datetime | None = None
    for finding in found:
        if free_at is None or finding.until >= free_at:
            free_at = finding.until + REST
            yield finding


def _calls(rule: Rule) -> _Replay:
    measure = {"overlay.failure_rate": "failed", "overlay.slow_calls": "slow"}.get(
        rule.name, "exhausted"
    )

    def find(overlay: str, rows: list[Row[Any]], terms: RuleTerms) -> Iterator[Finding]:
        window: deque[Row[Any]] = deque()
        calls = measured = 0
        for row in rows:
            window.append(row)
            calls, measured = calls + row.calls, measured + getattr(row, measure)
            # The last minutes that hold fifty calls, none of them from before the last hour.
            while window[0].minute <= row.minute - AGE or calls - window[0].calls >= LAST:
                first = window.popleft()
                calls, measured = calls - first.calls, measured - getattr(first, measure)
            if getattr(row, measure):
                measures = {"calls": calls, measure: measured}
                seen = Seen(measures, window[0].minute, row.minute + MINUTE)
                finding = rule.find(Subject("overlay", overlay), seen, terms)
                if finding is not None:
                    window.clear()
                    calls = measured = 0
                    yield finding

    return _Replay(_OVERLAYS, find)


def _guesses(address: str, rows: list[Row[Any]], terms: RuleTerms) -> Iterator[Finding]:
    for end, row in enumerate(rows, start=1):
        recent = [
            one for one in rows[max(end - 6, 0) : end] if row.minute - one.minute < ATTEMPTS_AGE
        ]
        seen = Seen(
            {"failed": sum(one.failed for one in recent)}, recent[0].minute, row.minute + MINUTE
        )
        finding = GUESSING.find(Subject("address", address), seen, terms) if row.failed else None
        if finding is not None:
            yield finding


def _abuse(member: str, rows: list[Row[Any]], terms: RuleTerms) -> Iterator[Finding]:
    minutes = [Minute(row.minute, row.allowed, row.used, row.refused) for row in rows]
    for end in range(1, len(minutes) + 1):
        finding = judge_minutes(member, minutes[max(end - LAST_MINUTES, 0) : end], terms)
        if finding is not None:
            yield finding


def _hoards(member: str, rows: list[Row[Any]], terms: RuleTerms) -> Iterator[Finding]:
    for end, row in enumerate(rows):
        usual = round(median(one.items for one in rows[:end])) if end else 0
        finding = judge_downloads(member, row.items, usual, row.hour + HOUR, terms)
        if finding is not None:
            yield finding


def _hosts(host: str, rows: list[Row[Any]], terms: RuleTerms) -> Iterator[Finding]:
    for row in rows:
        measures = {"memory": row.memory, "disk": row.disk}
        seen = Seen(measures, row.minute, row.minute)
        finding = RUNNING_OUT.find(Subject("host", host), seen, terms)
        if finding is not None:
            yield finding


_OVERLAYS = text("""
    SELECT overlay AS subject, minute, calls, failed, slow, exhausted
    FROM overlay_minutes JOIN overlays ON overlays.id = overlay
    WHERE minute >= :since AND calls > 0 ORDER BY overlay, minute
""")

_REPLAYS: Final[Mapping[str, _Replay]] = {
    **{rule.name: _calls(rule) for rule in (FAILURE_RATE, SLOW_CALLS, EXHAUSTION)},
    GUESSING.name: _Replay(
        text("""
            SELECT address AS subject, minute, failed FROM address_minutes
            WHERE minute >= :since ORDER BY address, minute
        """),
        _guesses,
    ),
    RATE_ABUSE.name: _Replay(
        text("""
            SELECT member AS subject, minute, allowed, used, refused FROM member_minutes
            WHERE minute >= :since ORDER BY member, minute
        """),
        _abuse,
    ),
    HOARDING.name: _Replay(
        text("""
            SELECT member AS subject, hour, items FROM download_hours
            WHERE hour >= :since ORDER BY member, hour
        """),
        _hoards,
    ),
    RUNNING_OUT.name: _Replay(
        text("""
            SELECT host AS subject, minute, memory, disk FROM host_minutes
            WHERE minute >= :since ORDER BY host, minute
        """),
        _hosts,
    ),
}
