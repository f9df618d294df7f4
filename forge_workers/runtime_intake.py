"""From messages to rows: everything that can be recorded is, and the rest is kept as dead letters.

One transaction holds the events of a flush and the letters of what was refused in it: when it is
committed, its messages may be forgotten.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog
from pydantic_core import from_json
from redis import RedisError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from forge_core.database import describe, transaction
from forge_core.errors import Refused, Unavailable
from forge_core.failpoints import reach
from forge_core.immune.intake.events import MESSAGE_MOST, RuntimeEvent, read_event, read_message
from forge_core.immune.intake.recording import Recorded, record
from forge_core.immune.intake.windows import Windows
from forge_core.jobs.dead_letters import Letter, keep
from forge_core.jobs.record import woken
from forge_workers.runtime_events import BATCH_TYPE, EVENT_TYPE
from forge_workers.runtime_queue import QUEUE

log = structlog.get_logger(__name__)

LETTERS_MOST: Final = 100
"""Letters kept of one transaction: a flood of bad events is no reason to write a row for each."""

BLAMED_MOST: Final = 3
"""So many events in a row may be blamed before any other of the flush has passed."""

_ENVELOPE_MOST: Final = MESSAGE_MOST * 4 // 3 + 10_000
_NOW = text("SELECT clock_timestamp()")
# Data exceptions, violated constraints, limits exceeded. Any other says that the house is not
# in order, as a missing table or privilege does: the events can wait for that.
_OWN_FAULT = ("22", "23", "54")
_NOT_THEIRS = (Unavailable, RedisError, OSError, PoolTimeout)


class Ingested(NamedTuple):
    """Events of a flush: rows that are new, that were there, and what became no row."""

    new: int = 0
    duplicates: int = 0
    refused: int = 0

    def plus(self, other: Ingested) -> Ingested:
        return Ingested(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


class Intake:
    """Records messages. ``wake`` is told, after each commit, which kinds of jobs have work."""

    def __init__(
        self, engine: Engine, windows: Windows, wake: Callable[[Iterable[str]], None]
    ) -> None:
        self._engine = engine
        self._windows = windows
        self._wake = wake

    def flush(self, messages: Sequence[Message]) -> Ingested:
        """Record what these messages hold.

        Doing it again is safe: what is recorded counts as a duplicate. What it raises concerns
        no single event, and nothing is lost by trying again later.
        """
        events = [event for message in messages for event in message.events]
        letters = [message.letter for message in messages if message.letter is not None]
        return self._record(events, letters, _Blame())

    def _record(self, given: Sequence[Any], letters: Sequence[Letter], blame: _Blame) -> Ingested:
        """In halves, and halves of halves, when one of the events cannot be recorded."""
        try:
            ingested = self._transact(given, letters)
        except Exception as error:
            if not given or not _is_own_fault(error):
                raise
            if len(given) == 1:
                log.warning("runtime.not_recorded", error=type(error).__name__)
                if blame.is_on_the_house():
                    raise
                letter = _letter(f"cannot be recorded: {describe(error)}", given[0])
                return self._transact([], [*letters, letter])
        else:
            blame.others_pass = True
            return ingested
        half = len(given) // 2
        first = self._record(given[:half], letters, blame)
        return first.plus(self._record(given[half:], [], blame))

    def _transact(self, given: Sequence[Any], letters: Sequence[Letter]) -> Ingested:
        with transaction(self._engine) as session:
            # Read anew at each try: what is too old meanwhile has no partition any more.
            now = session.execute(_NOW).scalar_one()
            events: list[RuntimeEvent] = []
            bad = list(letters)
            for raw in given:
                try:
                    events.append(read_event(raw, now))
                except Refused as refusal:
                    bad.append(_letter(str(refusal), raw) if len(bad) < LETTERS_MOST else _UNKEPT)
            recorded = record(session, events, self._windows) if events else Recorded(0, 0)
            if bad:
                keep(session, bad[:LETTERS_MOST])
            reach("runtime.recorded")
        reach("runtime.committed")
        if len(bad) > LETTERS_MOST:
            log.warning("runtime.flood", refused=len(bad), kept=LETTERS_MOST)
        self._wake(sorted(woken(session)))
        return Ingested(recorded.new, recorded.duplicates, len(bad))


@dataclass
class _Blame:
    """Whether events are to blame for what goes wrong in a flush, or the house itself.

    Where one after the other fails and none passes, a letter for each would empty the queue into
    a table that keeps a thousand.
    """

    others_pass: bool = False
    blamed: int = 0

    def is_on_the_house(self) -> bool:
        self.blamed += 1
        return not self.others_pass and self.blamed > BLAMED_MOST


class Message(NamedTuple):
    """Events of one message, each still to be read; or a letter, when it is none."""

    events: Sequence[Any]
    letter: Letter | None


def read(message: bytes) -> Message:
    """What is in an element of the queue, whatever somebody has put there."""
    try:
        return Message(read_message(_body(message)), None)
    except Refused as refusal:
        return Message((), _letter(str(refusal), message))


def _body(message: bytes) -> bytes:
    """The body in kombu's envelope. ``Refused`` MESSAGE_TOO_LARGE, MESSAGE_UNREADABLE."""
    if len(message) > _ENVELOPE_MOST:
        raise Refused("MESSAGE_TOO_LARGE", f"a message has at most {MESSAGE_MOST:,} bytes")
    try:
        envelope = from_json(message)
        body, properties = envelope["body"], envelope["properties"]
        type_, headers = envelope["content-type"], envelope.get("headers") or {}
        encoded = properties.get("body_encoding") == "base64"
        plain = b64decode(body, validate=True) if encoded else bytes(body.encode())
        compressed = headers.get("compression") is not None
    except Exception as error:
        raise Refused("MESSAGE_UNREADABLE", f"no message: {type(error).__name__}") from error
    if compressed or type_ not in {EVENT_TYPE, BATCH_TYPE}:
        raise Refused(
            "MESSAGE_UNREADABLE",
            f"a message is {EVENT_TYPE} or {BATCH_TYPE}, and not compressed",
        )
    return plain


def _letter(reason: str, body: Any) -> Letter:
    if not isinstance(body, bytes):
        try:
            body = json.dumps(body)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits cannot be written
            body = f"cannot be shown: {type(error).__name__}"
    return Letter.of(queue=QUEUE, reason=reason, headers={}, body=body)


_UNKEPT: Final = _letter("", b"")


def _is_own_fault(error: Exception) -> bool:
    """Whether an event has provoked it, so that all others can be recorded without that one."""
    if isinstance(error, DBAPIError):
        return str(getattr(error.orig, "pgcode", None)).startswith(_OWN_FAULT)
    return not isinstance(error, _NOT_THEIRS)
