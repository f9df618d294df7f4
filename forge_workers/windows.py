"""Windows in Valkey: what spares the rows most questions, and is never missed when it is gone.

A window holds outcomes by their own times, so that it is the same whatever order they arrive in;
only how long it lives is the server's to measure. Valkey may evict it, restart empty or be away.

Never fewer failures than the rows hold, for these reasons:

- A window that is missing is opened, and counts for nothing until it is complete. From then on it
  keeps what every flush tells it. Whoever told nobody, because there was no window yet, had
  inserted rows before, and so belongs to a transaction older than the number that is noted in the
  window after it was opened. Once all of those have ended, what they left is loaded: nothing can
  be missing.
- A flush that may not have got through raises the generation, a number in the database that is in
  the name of every window, before its transaction can end: all windows there are begin anew.
- What is not certain from the window, because it keeps too few or an outcome came late, is counted
  in the rows.

It relies on outcomes that were rolled back being told again, as the port has it. What a server
loses otherwise, a replica that takes over for one, ends with the lives of its windows.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar

import redis
from redis.commands.core import Script
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.errors import Unavailable
from forge_core.immune.detectors import attempts, overlay_calls
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.usage import HOUR
from forge_core.immune.intake.windows import (
    LOOKED_AT_MOST,
    Failures,
    Items,
    Outcome,
    Outcomes,
    RowWindows,
)
from forge_workers.counters import Counters

K = TypeVar("K")
G = TypeVar("G")
V = TypeVar("V")
_Argument = str | int
_Call = tuple[Sequence[str], Sequence[_Argument]]

LIVES: Final = timedelta(minutes=5)
ITEMS_LIVE: Final = HOUR
KEPT: Final = 100
"""Outcomes in a window; a set of up to 128 takes Valkey little room."""
TOLD_AT_ONCE: Final = 100
"""Windows that are told by one script: few enough for Valkey to serve others in between."""
FAILURES_BEFORE: Final = 64
"""An address that failed more often within an hour counts as failing without end."""

_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_BEGAN: Final = datetime(1970, 1, 1, tzinfo=UTC)

_GENERATION = text("SELECT coalesce(pg_sequence_last_value('immune_windows'), 0)")
_NEXT_GENERATION = text("SELECT nextval('immune_windows')")

# Every transaction below this has ended, and what it left is seen by later statements.
_ENDED = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")

# Every transaction that has written so far is below this. Not the xmax of a snapshot, which tells
# of those that have ended: who is at work holds a lock on its own number.
_BEGUN = text("""
    SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) + 1
        - coalesce(min(age(transactionid)), 0)
    FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock'
""")

# ``looked``: how many rows were looked at, the earliest of them at ``back``.
_NEWEST = text("""
    SELECT asked.kind, asked.subject, count(near.at) AS looked, min(near.at) AS back,
        json_agg(json_build_array(near.at, near.id, near.success) ORDER BY near.at DESC)
            FILTER (WHERE asked.kind = 'overlay' AND near.success IS NOT NULL OR NOT near.success)
        AS outcomes
    FROM json_to_recordset(CAST(:rows AS json)) AS asked (
        kind text, subject text, floor timestamptz, most integer
    ) LEFT JOIN LATERAL (
        SELECT at, source || ' ' || id AS id, success
        FROM runtime_events AS event
        WHERE event.subject = asked.subject AND event.subject_kind = asked.kind
            AND at > asked.floor AND success IS NOT NULL
        ORDER BY at DESC
        LIMIT asked.most
    ) AS near ON true
    GROUP BY asked.kind, asked.subject
""")

_ITEMS = text("""
    SELECT subject, array_agg(DISTINCT item) AS items
    FROM runtime_events, jsonb_array_elements_text(data -> 'items') AS item
    WHERE subject = ANY(:members) AND subject_kind = 'member' AND type = 'data.downloaded'
        AND at > clock_timestamp() - :age
    GROUP BY subject
""")


class ValkeyWindows:
    """The port ``Windows`` of ``forge_core.immune.intake``. For one thread: a process has one."""

    def __init__(self, url: str) -> None:
        self._counters = Counters(url)
        self._failures = _FailureWindows(self._counters)
        self._items = _ItemWindows(self._counters)

    def close(self) -> None:
        """Close the connections."""
        self._counters.close()

    def failures(self, session: Session, given: Outcomes) -> Mapping[Subject, Failures]:
        """As the port says."""
        return self._failures.tell(session, {one: told for one, told in given.items() if told})

    def different_items(self, session: Session, given: Items) -> Mapping[str, int]:
        """As the port says, over an hour and what was told since the window was opened."""
        return self._items.tell(session, given)


class _Windows(ABC, Generic[K, G, V]):
    """Windows of one sort: one each for a ``K``, told a ``G``, answering with a ``V``."""

    script: str
    lives: timedelta

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._script: Script = counters.script(self.script)

    def tell(self, session: Session, given: Mapping[K, G]) -> dict[K, V]:
        """Tell each window what is given to it; the rows answer for those that cannot."""
        generation = session.execute(_GENERATION).scalar_one()
        keys = {one: self._keys(generation, one) for one in given}
        try:
            answers = self._take(keys, given)
        except Unavailable:
            session.execute(_NEXT_GENERATION)
            return dict(self._count_rows(session, given))
        counted: dict[K, V] = {}
        states: dict[K, str] = {}
        for one, answer in zip(given, answers, strict=True):
            if isinstance(answer[0], int):
                counted[one] = self._read(answer)
            else:
                states[one] = answer[0].partition(":")[0]
        if states:
            counted |= self._count_rows(session, {one: given[one] for one in states})
            self._complete(session, keys, given, states)
        return counted

    def _complete(
        self,
        session: Session,
        keys: Mapping[K, Sequence[str]],
        given: Mapping[K, G],
        states: Mapping[K, str],
    ) -> None:
        """Note in those just opened what they wait for, and load those that have waited enough."""
        ended = session.execute(_ENDED).scalar_one()
        ripe = {
            one: given[one]
            for one, state in states.items()
            if state.startswith("?") and state != "?" and int(state[1:]) <= ended
        }
        calls: list[_Call] = []
        if opened := [one for one, state in states.items() if state == "?"]:
            begun = session.execute(_BEGUN).scalar_one()
            calls += [(keys[one], ("mark", begun)) for one in opened]
        for one, rows in self._rows_for(session, ripe) if ripe else ():
            calls.append((keys[one], ("load", states[one][1:], rows)))
        with suppress(Unavailable):  # they stay open, and have been told everything
            self._run(calls)

    def _take(self, keys: Mapping[K, Sequence[str]], given: Mapping[K, G]) -> list[Any]:
        windows, lives = list(given), self.lives // _MILLISECOND
        calls: list[_Call] = []
        for first in range(0, len(windows), TOLD_AT_ONCE):
            some = windows[first : first + TOLD_AT_ONCE]
            told = (self._taken(one, given[one]) for one in some)
            calls.append(([key for one in some for key in keys[one]], ("take", lives, *told)))
        return [answer for answers in self._run(calls) for answer in answers]

    def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """All of them in one round trip."""

        def running(client: redis.Redis) -> list[Any]:
            with client.pipeline(transaction=False) as pipe:
                for keys, arguments in calls:
                    self._script(keys, arguments, client=pipe)
                return pipe.execute()

        return self._counters.ask(running) if calls else []

    @abstractmethod
    def _keys(self, generation: int, one: K) -> Sequence[str]: ...

    @abstractmethod
    def _taken(self, one: K, told: G) -> str:
        """What is told, in the script's words."""

    @abstractmethod
    def _read(self, answer: Sequence[int]) -> V: ...

    @abstractmethod
    def _count_rows(self, session: Session, given: Mapping[K, G]) -> Mapping[K, V]: ...

    @abstractmethod
    def _rows_for(self, session: Session, given: Mapping[K, G]) -> Iterator[tuple[K, str]]:
        """What the rows hold, in the script's words."""


class _Reach(NamedTuple):
    """How far back windows go: by time, when recent, and by number; ``many`` is what is more."""

    age: timedelta
    recent: timedelta
    before: int
    many: int


_REACHES: Final = {
    "overlay": _Reach(overlay_calls.AGE, overlay_calls.AGE, overlay_calls.LAST, 0),
    "address": _Reach(attempts.LONG_AGE, attempts.AGE, FAILURES_BEFORE, LOOKED_AT_MOST),
}


class _FailureWindows(_Windows[Subject, Sequence[Outcome], Failures]):
    """Of an overlay its calls, of an address its failures."""

    script = "window"
    lives = LIVES

    def _keys(self, generation: int, one: Subject) -> Sequence[str]:
        return (f"forge:window:{generation}:{one.kind}:{one.id}",)

    def _taken(self, one: Subject, told: Sequence[Outcome]) -> str:
        reach, since = _REACHES[one.kind], _micros(min(told).at)
        return _words(
            KEPT,
            since - reach.age // _MICROSECOND,
            since - reach.recent // _MICROSECOND,
            since,
            reach.before,
            reach.many,
            *_members(one, told),
        )

    def _read(self, answer: Sequence[int]) -> Failures:
        return Failures(*answer)

    def _count_rows(
        self, session: Session, given: Mapping[Subject, Sequence[Outcome]]
    ) -> Mapping[Subject, Failures]:
        return RowWindows().failures(session, given)

    def _rows_for(
        self, session: Session, given: Mapping[Subject, Sequence[Outcome]]
    ) -> Iterator[tuple[Subject, str]]:
        """Twice as far back as is needed now, so that what comes a little late is certain too."""
        floors = {one: min(told).at - 2 * _REACHES[one.kind].age for one, told in given.items()}
        most = {one: KEPT if one.kind == "overlay" else LOOKED_AT_MOST for one in given}
        asked = [
            {"kind": one.kind, "subject": one.id, "floor": floor.isoformat(), "most": most[one]}
            for one, floor in floors.items()
        ]
        for row in run(session, _NEWEST, rows=as_json(asked)):
            one = Subject(row.kind, row.subject)
            found = [
                Outcome(datetime.fromisoformat(at), id_, success)
                for at, id_, success in row.outcomes or ()
            ]
            known = row.back if row.looked == most[one] else floors[one]
            if len(found) > KEPT:
                known = found[KEPT].at
            yield one, _words(KEPT, _micros(known), *_members(one, found[:KEPT]))


class _ItemWindows(_Windows[str, Collection[str], int]):
    """How many different items a member downloaded."""

    script = "items"
    lives = ITEMS_LIVE

    def _keys(self, generation: int, one: str) -> Sequence[str]:
        name = f"forge:items:{generation}:{one}"
        return name, f"{name}:seen"

    def _taken(self, one: str, told: Collection[str]) -> str:  # noqa: ARG002
        return _words(*told)

    def _read(self, answer: Sequence[int]) -> int:
        return answer[0]

    def _count_rows(
        self, session: Session, given: Mapping[str, Collection[str]]
    ) -> Mapping[str, int]:
        return RowWindows().different_items(session, given)

    def _rows_for(
        self, session: Session, given: Mapping[str, Collection[str]]
    ) -> Iterator[tuple[str, str]]:
        found = {
            row.subject: row.items for row in run(session, _ITEMS, members=sorted(given), age=HOUR)
        }
        for member in given:
            yield member, _words(*found.get(member, ()))


def _words(*words: _Argument) -> str:
    """One argument of a script: a client packs it faster than many. No word has a space in it."""
    return " ".join(map(str, words))


def _members(one: Subject, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Scores and members. The id as a digest: what is longer than 64 bytes takes much room.

    The time is in it too, for two events of one id and different times are two.
    """
    successes = one.kind == "overlay"
    for at, id_, success in outcomes:
        if success and not successes:
            continue
        score = _micros(at)
        digest = hashlib.blake2b(f"{score} {id_}".encode(), digest_size=16).hexdigest()
        yield f"{score} {'+' if success else '-'}{digest}"


def _micros(at: datetime) -> int:
    return (at - _BEGAN) // _MICROSECOND
