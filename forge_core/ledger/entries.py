"""Entries and folds: every state change is an entry, and the entry makes the change.

A use case decides and drafts entries; ``append`` stores their canonical bytes and runs the fold of
each kind, in the caller's transaction. The database hashes the bytes, and notes that the entry
waits for the sealer. A fold is SQL over the stored bytes
(``forge_entries(:ids)``) and nothing else, so that live and in replay it writes the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import as_json, run
from forge_core.ledger.canonical import canonical_bytes, commit, new_salt


@dataclass(frozen=True)
class EntryKind:
    """A kind of entry and the statements that fold entries of it into derived rows.

    Each statement reads ``forge_entries(:ids)``: id, at, actor, subject, data (jsonb), command; of
    older versions as ``forge_upcast`` makes them. ``formerly`` are names that it upcasts to this
    one. ``texts`` names the keys of ``data`` that hold commitments (one, a list, or null), by the
    version from which they do. ``together``: its folds
    may be given several entries on one subject at once.
    """

    name: str
    folds: tuple[TextClause, ...]
    version: int = 1
    formerly: tuple[str, ...] = ()
    texts: Mapping[str, int] = field(default_factory=dict)
    together: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        *folds: str,
        version: int = 1,
        formerly: tuple[str, ...] = (),
        texts: Mapping[str, int] | tuple[str, ...] = (),
        together: bool = False,
    ) -> EntryKind:
        since = dict(texts) if isinstance(texts, Mapping) else dict.fromkeys(texts, 1)
        return cls(name, tuple(text(f) for f in folds), version, formerly, since, together)

    def commitments(self, document: Mapping[str, Any]) -> list[str]:
        """The commitments to texts that the body of an entry of this kind carries."""
        found: list[str] = []
        for key, since in self.texts.items():
            value = document["data"].get(key) if document["v"] >= since else None
            found += value if isinstance(value, list) else [] if value is None else [value]
        return found


@dataclass(frozen=True)
class Entry:
    """One thing that happened. ``data`` is JSON with decimals, big integers, times as strings."""

    kind: EntryKind
    at: datetime
    actor: str
    subject: str
    data: Mapping[str, Any]
    command: str | None = None

    def body(self) -> bytes:
        """The bytes that are hashed; all that matters is inside them."""
        document = {
            "v": self.kind.version,
            "kind": self.kind.name,
            "at": rfc3339(self.at),
            "actor": self.actor,
            "subject": self.subject,
            "data": self.data,
        }
        if self.command is not None:
            document["command"] = self.command
        return canonical_bytes(document)


_INSERT = text("""
    INSERT INTO ledger_entries (kind, subject, body)
    SELECT kind, subject, convert_to(body, 'UTF8')
    FROM ROWS FROM (
        json_to_recordset(CAST(:rows AS json)) AS (kind text, subject text, body text)
    ) WITH ORDINALITY AS given (kind, subject, body, position)
    ORDER BY position
    RETURNING id
""")

_KEEP_TEXTS = text("""
    INSERT INTO texts (commitment, salt, body)
    SELECT commitment, decode(salt, 'hex'), body
    FROM json_to_recordset(CAST(:rows AS json)) AS given (commitment text, salt text, body text)
""")


def append(session: Session, entries: Sequence[Entry]) -> list[int]:
    """Store entries in order and fold them; returns their identity numbers.

    Called after the step's last lock, so that the identity order of conflicting steps is their
    commit order. Runs inside the caller's transaction: with a rollback nothing happened.
    """
    if not entries:
        return []
    rows = [
        {"kind": entry.kind.name, "subject": entry.subject, "body": entry.body().decode()}
        for entry in entries
    ]
    ids = [row.id for row in run(session, _INSERT, rows=as_json(rows))]
    for kind, members in groupby(zip(entries, ids, strict=True), key=lambda pair: pair[0].kind):
        fold(session, kind, [id_ for _, id_ in members])
    return ids


def fold(session: Session, kind: EntryKind, ids: Sequence[int]) -> None:
    """Write the derived rows of stored entries of one kind, in identity order."""
    for statement in kind.folds:
        session.execute(statement, {"ids": list(ids)})


def keep_texts(session: Session, *texts: str) -> list[str]:
    """Store free texts with fresh salts; returns the commitments that entries carry."""
    salts = [new_salt() for _ in texts]
    commitments = [commit(body, salt) for body, salt in zip(texts, salts, strict=True)]
    rows = [
        {"commitment": commitment, "salt": salt.hex(), "body": body}
        for commitment, salt, body in zip(commitments, salts, texts, strict=True)
    ]
    session.execute(_KEEP_TEXTS, {"rows": as_json(rows)})
    return commitments
