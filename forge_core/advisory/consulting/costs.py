"""What asking models took: calls, tokens, money, time and failures, by day and model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.advisory.consulting.turns import OUTAGES, latest, paused, state
from forge_core.advisory.terms import Terms
from forge_core.database import run
from forge_core.exact import parse_decimal

_WRITTEN: Final = Fraction(5, 4)
_READ: Final = Fraction(1, 10)
"""The service's factors on the price of input: writing a cache, and reading from one."""

_DAYS = text("""
    SELECT CAST(started_at AT TIME ZONE 'UTC' AS date) AS day, model,
        count(*) FILTER (WHERE ended_at IS NOT NULL) AS consultations,
        count(*) FILTER (WHERE failure IS NOT NULL) AS failed,
        coalesce(sum(calls), 0) AS calls, coalesce(sum(tokens), 0) AS tokens,
        coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output,
        coalesce(sum(cache_read_tokens), 0) AS read,
        coalesce(sum(cache_written_tokens), 0) AS written,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY latency_ms) AS half_ms,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY latency_ms) AS slowest_ms
    FROM consultations
    WHERE started_at >= date_trunc('day', clock_timestamp(), 'UTC') - CAST(:days AS interval)
    GROUP BY 1, 2 ORDER BY 1 DESC, 2
""")
_FAILURES = text("""
    SELECT failure, count(*) AS times FROM consultations
    WHERE failure IS NOT NULL
        AND started_at >= date_trunc('day', clock_timestamp(), 'UTC') - CAST(:days AS interval)
    GROUP BY 1 ORDER BY 2 DESC, 1
""")


@dataclass(frozen=True)
class Day:
    """Of one day (UTC) and model; ``cost`` by the prices in force, None without any."""

    day: date
    model: str
    consultations: int
    failed: int
    calls: int
    tokens: int
    cache_read_tokens: int
    half_ms: int | None
    slowest_ms: int | None
    cost: Fraction | None


@dataclass(frozen=True)
class Standing:
    """How asking stands now."""

    under_way: int
    spent: int
    paused_seconds: int | None


def standing(session: Session) -> Standing:
    """Turns under way, the tokens of today, and whether the breaker is open."""
    now = state(session)
    pause = paused(latest(session, OUTAGES), now.now, now.under_way)
    return Standing(
        now.under_way, int(now.spent), None if pause is None else int(pause.total_seconds()) + 1
    )


def days(session: Session, terms: Terms, last: int) -> list[Day]:
    """The last so many days before today, and today; newest first."""
    return [
        Day(
            row.day,
            row.model,
            row.consultations,
            row.failed,
            int(row.calls),
            int(row.tokens),
            int(row.read),
            row.half_ms,
            row.slowest_ms,
            cost(terms, int(row.input), int(row.output), int(row.read), int(row.written)),
        )
        for row in run(session, _DAYS, days=timedelta(days=last))
    ]


def failures(session: Session, last: int) -> Counter[str]:
    """How often which reason ended a consultation."""
    rows = run(session, _FAILURES, days=timedelta(days=last))
    return Counter({row.failure: row.times for row in rows})


def cost(terms: Terms, input_: int, output: int, read: int, written: int) -> Fraction | None:
    """By the prices of a million tokens; None where none is set."""
    for_input, for_output = parse_decimal(terms.input_price), parse_decimal(terms.output_price)
    if not for_input and not for_output:
        return None
    weighed = input_ + read * _READ + written * _WRITTEN
    return (weighed * for_input + output * for_output) / 1_000_000
