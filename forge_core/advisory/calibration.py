"""How earlier advice compares with what came of the proposals: a table, and Brier scores.

Of each source the last advice on a proposal counts. What it foretells of the vote is read from
recommendation and confidence: ``support`` with confidence 1 says that it will be approved for
certain, ``oppose`` that it will not, and everything else lies between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.advisory.analysis import Recommendation
from forge_core.database import run
from forge_core.exact import parse_decimal

_OUTCOMES = text("""
    SELECT source, recommendation, confidence::text AS confidence,
        decision ->> 'outcome' = 'approved' AS approved,
        status IN ('executed', 'rolled_back') AS executed, status = 'rolled_back' AS rolled_back,
        count(*) AS times
    FROM (
        SELECT DISTINCT ON (proposal_id, source) proposal_id, source, recommendation, confidence
        FROM advice ORDER BY proposal_id, source, number DESC
    ) AS said
    JOIN proposals ON id = proposal_id
    WHERE decision IS NOT NULL AND proposal_id IS DISTINCT FROM :besides
    GROUP BY 1, 2, 3, 4, 5, 6
""")

_HALF: Final = Fraction(1, 2)


class Told(NamedTuple):
    """Advice of one sort with what came of its proposals, and how often that was."""

    source: str
    recommendation: Recommendation
    confidence: Fraction
    approved: bool
    executed: bool
    rolled_back: bool
    times: int = 1


@dataclass(frozen=True)
class Row:
    """Of one source and recommendation: how often it was given, and what followed."""

    source: str
    recommendation: Recommendation
    given: int
    approved: int
    executed: int
    rolled_back: int


def outcomes(session: Session, *, besides: str | None = None) -> list[Told]:
    """Everything that was advised on proposals that are decided, ``besides`` one of them."""
    return [
        Told(
            row.source,
            Recommendation(row.recommendation),
            parse_decimal(row.confidence),
            row.approved,
            row.executed,
            row.rolled_back,
            row.times,
        )
        for row in run(session, _OUTCOMES, besides=besides)
    ]


def table(told: Sequence[Told]) -> list[Row]:
    """By source, and from support to oppose."""
    by_advice: dict[tuple[str, Recommendation], list[Told]] = defaultdict(list)
    for one in told:
        by_advice[one.source, one.recommendation].append(one)
    return [
        Row(
            source,
            recommendation,
            given=sum(one.times for one in own),
            approved=sum(one.times for one in own if one.approved),
            executed=sum(one.times for one in own if one.executed),
            rolled_back=sum(one.times for one in own if one.rolled_back),
        )
        for (source, recommendation), own in sorted(by_advice.items(), key=_place)
    ]


def _place(item: tuple[tuple[str, Recommendation], object]) -> tuple[str, int]:
    source, recommendation = item[0]
    return source, list(Recommendation).index(recommendation)


def brier(told: Sequence[Told]) -> dict[str, Fraction]:
    """By source: the mean square of what was foretold less what came; 0 is always right.

    Who says "half" of everything has 1/4.
    """
    scores = {}
    for source in sorted({one.source for one in told}):
        own = [one for one in told if one.source == source]
        wrong = sum((one.times * (foretold(one) - one.approved) ** 2 for one in own), Fraction(0))
        scores[source] = wrong / sum(one.times for one in own)
    return scores


def foretold(one: Told) -> Fraction:
    """How likely its approval is by the advice."""
    if one.recommendation is Recommendation.SUPPORT:
        return _HALF + one.confidence / 2
    if one.recommendation is Recommendation.OPPOSE:
        return _HALF - one.confidence / 2
    return _HALF
