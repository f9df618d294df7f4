"""Whose turn it is to ask a model: so many at once, so many tokens a day, nobody in an outage.

A turn is a row: taken before the first call with what it may cost, settled with what it did cost.
One whose worker was lost is over after a while, and counts with all it might have cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.advisory.analysis import Usage
from forge_core.advisory.consulting.reply import NoAnswer
from forge_core.advisory.terms import Terms
from forge_core.database import run
from forge_core.locks import lock_name

LOCK: Final = "advisory.turns"
OUTAGES: Final = 5
"""So many failures of the service in a row open the breaker."""
PAUSE: Final = timedelta(seconds=30)
"""So long it stays open; then one turn tries."""
FORGOTTEN_AT_ONCE: Final = 1_000
LASTS: Final = timedelta(seconds=180)
BATCH_LASTS: Final = timedelta(hours=25)
"""The service ends a batch after a day."""

_STATE = text("""
    SELECT clock_timestamp() AS now,
        count(*) FILTER (
            WHERE ended_at IS NULL AND until > clock_timestamp() AND batch IS NULL
        ) AS under_way,
        coalesce(sum(tokens) FILTER (
            WHERE started_at >= date_trunc('day', clock_timestamp(), 'UTC')
        ), 0) AS spent,
        coalesce(sum(tokens) FILTER (
            WHERE started_at >= date_trunc('day', clock_timestamp(), 'UTC')
                AND ended_at IS NULL AND until > clock_timestamp() AND batch IS NULL
        ), 0) AS held
    FROM consultations
    WHERE started_at >= least(
        date_trunc('day', clock_timestamp(), 'UTC'), clock_timestamp() - INTERVAL '1 hour'
    )
""")
_LAST = text("""
    SELECT ended_at, outage FROM consultations
    WHERE ended_at <= clock_timestamp() AND batch IS NULL
    ORDER BY ended_at DESC LIMIT :most
""")
_TAKE = text("""
    INSERT INTO consultations (proposal_id, model, started_at, until, tokens, batch, input)
    VALUES (:proposal, :model, clock_timestamp(), clock_timestamp() + :lasts, :tokens, :batch,
        :input)
    RETURNING id
""")
_SETTLE = text("""
    UPDATE consultations
    SET ended_at = clock_timestamp(), tokens = :tokens, calls = :calls, latency_ms = :latency_ms,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        cache_read_tokens = :cache_read_tokens, cache_written_tokens = :cache_written_tokens,
        failure = :failure, outage = :outage
    WHERE id = :id AND ended_at IS NULL
""")
_FORGET = text("""
    DELETE FROM consultations WHERE id IN (
        SELECT id FROM consultations WHERE started_at < clock_timestamp() - INTERVAL '90 days'
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id
""")


class Full(NamedTuple):
    """No turn yet: try again after a while."""

    after: timedelta
    code: str
    message: str
    outage: bool = False


def take_turn(session: Session, proposal: str, terms: Terms, tokens: int) -> int | Full | NoAnswer:
    """The id of a turn that may cost so many tokens; ``NoAnswer`` when the day's are used up."""
    lock_name(session, LOCK)
    now = state(session)
    pause = paused(latest(session, OUTAGES), now.now, now.under_way)
    if pause is not None:
        # One that waits for another's trial has not been refused yet.
        message = f"the service failed {OUTAGES} times in a row"
        return Full(pause, "CIRCUIT_OPEN", message, outage=not now.under_way)
    if now.under_way >= terms.at_once:
        return Full(timedelta(seconds=2), "NO_TURN", f"{terms.at_once} are asked at once")
    left = terms.tokens_a_day - now.spent
    if left < tokens <= left + now.held:
        return Full(timedelta(seconds=2), "NO_TURN", "others hold the last of today's tokens")
    if tokens > left:
        return NoAnswer(
            "BUDGET_USED_UP",
            f"{terms.tokens_a_day:,} tokens a day are allowed, {now.spent:,} are used, and this "
            f"may take {tokens:,}",
        )
    return _take(session, proposal, terms, tokens, LASTS, (None, None))


def take_turn_in_batch(
    session: Session, proposal: str, terms: Terms, tokens: int, batch: int, input_: str
) -> int | None:
    """The same in a batch, which is one request however many are in it; None without a budget."""
    lock_name(session, LOCK)
    if tokens > terms.tokens_a_day - state(session).spent:
        return None
    return _take(session, proposal, terms, tokens, BATCH_LASTS, (batch, input_))


def _take(
    session: Session,
    proposal: str,
    terms: Terms,
    tokens: int,
    lasts: timedelta,
    of: tuple[int, str] | tuple[None, None],
) -> int:
    given = {
        "proposal": proposal,
        "model": terms.model,
        "lasts": lasts,
        "tokens": tokens,
        "batch": of[0],
        "input": of[1],
    }
    return int(session.execute(_TAKE, given).scalar_one())


def state(session: Session) -> Row[Any]:
    """``now``, how many are ``under_way``, and the tokens ``spent`` of today.

    ``held`` are those of them that single turns may give back soon.
    """
    return session.execute(_STATE).one()


def latest(session: Session, most: int) -> list[tuple[datetime, bool]]:
    """When the latest turns ended, newest first, and whether the service was at fault."""
    return [(row.ended_at, row.outage) for row in run(session, _LAST, most=most)]


def paused(
    last: Sequence[tuple[datetime, bool]], now: datetime, under_way: int
) -> timedelta | None:
    """How long nobody is asked. ``last`` are the latest ends, newest first, and what failed."""
    if len(last) < OUTAGES or not all(outage for _, outage in last[:OUTAGES]):
        return None
    left = min(last[0][0] + PAUSE - now, PAUSE)  # a clock may have been set back
    if left > timedelta(0):
        return left
    return PAUSE / 10 if under_way else None


def settle(
    session: Session, turn: int, usage: Usage, tokens: int, failure: NoAnswer | None
) -> None:
    """End a turn with what it has cost. Doing it twice changes nothing."""
    session.execute(
        _SETTLE,
        {
            **usage.model_dump(),
            "id": turn,
            "tokens": tokens,
            "failure": None if failure is None else failure.code,
            "outage": failure is not None and failure.outage,
        },
    )


def forget(session: Session) -> bool:
    """The step of the chore ``advisory.tidy``: turns of long ago leave. Safe to run twice."""
    return len(run(session, _FORGET, limit=FORGOTTEN_AT_ONCE)) == FORGOTTEN_AT_ONCE
