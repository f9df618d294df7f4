"""Dead letters: messages that could not be processed, kept so that nothing vanishes unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json
from forge_core.jobs.prune import bound_dead_letters

MOST_CHARACTERS = 4_000

_INSERT = text("""
    INSERT INTO dead_letters (queue, reason, headers, body)
    SELECT queue, reason, headers, body
    FROM json_to_recordset(CAST(:rows AS json))
        AS given (queue text, reason text, headers text, body text)
""")


@dataclass(frozen=True)
class Letter:
    """A bad message as text: where it came from, why it was not processed, what it held."""

    queue: str
    reason: str
    headers: str
    body: str

    @classmethod
    def of(cls, *, queue: object, reason: object, headers: object, body: object) -> Letter:
        """Bounded, printable text of whatever arrived."""
        return cls(*(_readable(part) for part in (queue, reason, headers, body)))


def _readable(part: object) -> str:
    """At most 4,000 characters, without the NULs and lone surrogates PostgreSQL refuses."""
    if isinstance(part, bytes | bytearray | memoryview):
        part = bytes(part[: MOST_CHARACTERS * 4]).decode("utf-8", "backslashreplace")
    # repr() of a hostile object may be of any size: only text and plain containers come here.
    shown = part if isinstance(part, str) else repr(part)
    shown = shown[:MOST_CHARACTERS].replace("\x00", "\\x00")
    return shown.encode("utf-8", "backslashreplace").decode()


def keep(session: Session, letters: Sequence[Letter]) -> None:
    """Store letters and drop the oldest beyond the bound."""
    session.execute(_INSERT, {"rows": as_json([asdict(letter) for letter in letters])})
    bound_dead_letters(session)
