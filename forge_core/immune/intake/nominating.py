"""Which events are worth a check: those after which a rule might find something, and no others.

It may nominate too many and never too few; only a check, which looks at the rows, convicts anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, inf

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.exact import to_decimal_string
from forge_core.immune.detectors.attempts import GUESSING, RIGHT_GUESS, SPRAYING
from forge_core.immune.detectors.finding import RuleTerms, Subject
from forge_core.immune.detectors.hosts import judge_sample
from forge_core.immune.detectors.overlay_calls import FAILURE_RATE, FAILURES_IN_A_ROW
from forge_core.immune.detectors.usage import HOARDING, RATE_ABUSE, may_be_hoarding
from forge_core.immune.intake.events import ApiRequestWindow, DataDownloaded, ResourceSampled
from forge_core.immune.intake.told import Told
from forge_core.immune.intake.windows import Failures, Outcome, Windows

_FULL = text("""
    SELECT DISTINCT summary.member
    FROM json_to_recordset(CAST(:rows AS json)) AS asked (member text, minute timestamptz)
    JOIN member_minutes AS summary
        ON summary.member = asked.member
        AND summary.minute = date_trunc('minute', asked.minute, 'UTC')
    WHERE used + refused >= CAST(:share AS numeric) * allowed
""")


class Nominations:
    """By the terms in force and what the windows hold."""

    def __init__(self, terms: RuleTerms, windows: Windows) -> None:
        self._terms = terms
        self._windows = windows

    def among(self, session: Session, new: Sequence[Told]) -> Iterator[Told]:
        """The events to check, of those that have just been inserted."""
        failures = self._failures(session, new)
        full = self._full(session, new)
        hoards = self._may_hoard(session, new)
        for told in new:
            match told.event:
                case ApiRequestWindow(data=window):
                    worth = window.member in full
                case DataDownloaded(data=download):
                    worth = download.member in hoards
                case ResourceSampled(data=sample):
                    at = told.event.time
                    args = (sample.host, sample.memory, sample.disk, at, self._terms)
                    worth = judge_sample(*args) is not None
                case _:
                    worth = self._speaks(told, failures.get(told.subject))
            if worth:
                yield told

    def _failures(self, session: Session, new: Sequence[Told]) -> Mapping[Subject, Failures]:
        given: dict[Subject, list[Outcome]] = defaultdict(list)
        for told in new:
            if (outcome := told.outcome) is not None:
                given[told.subject].append(outcome)
        return self._windows.failures(session, given) if given else {}

    def _may_hoard(self, session: Session, new: Sequence[Told]) -> set[str]:
        terms = self._terms.get(HOARDING.name)
        if terms is None:
            return set()
        given: dict[str, set[str]] = defaultdict(set)
        for told in new:
            if isinstance(told.event, DataDownloaded):
                given[told.event.data.member].update(told.event.data.items)
        estimates = self._windows.different_items(session, given) if given else {}
        # More than nothing may be usual for the member, which only raises the bound.
        return {m for m, items in estimates.items() if may_be_hoarding(items, 0, terms)}

    def _full(self, session: Session, new: Sequence[Told]) -> set[str]:
        """Members with a minute of which a limit is used up, by all gateways together."""
        terms = self._terms.get(RATE_ABUSE.name)
        asked = [
            {"member": told.subject.id, "minute": told.event.time.isoformat()}
            for told in new
            if isinstance(told.event, ApiRequestWindow)
        ]
        if terms is None or not asked:
            return set()
        share = to_decimal_string(terms["full"])
        return {row.member for row in run(session, _FULL, rows=as_json(asked), share=share)}

    def _speaks(self, told: Told, failures: Failures | None) -> bool:
        if told.slow or told.exhausted:
            return True
        if failures is None or told.success is None:
            return False
        if told.subject.kind == "overlay":
            return not told.success and failures.recent >= self._fewest_failed_calls()
        if told.success:
            return failures.hour >= self._term(RIGHT_GUESS.name, "failures_before")
        return failures.recent >= self._term(
            GUESSING.name, "failures"
        ) or failures.hour >= self._term(SPRAYING.name, "members")

    def _fewest_failed_calls(self) -> float:
        """Fewer failures than this within fifty calls are below every threshold."""
        rate = self._terms.get(FAILURE_RATE.name)
        more_than = inf if rate is None else Fraction(rate["rate"] * rate["least_calls"])
        by_rate = inf if rate is None else int(more_than) + 1
        return min(by_rate, self._term(FAILURES_IN_A_ROW.name, "in_a_row"))

    def _term(self, rule: str, term: str) -> float:
        """Infinite where the rule is switched off."""
        terms = self._terms.get(rule)
        return inf if terms is None else ceil(terms[term])
