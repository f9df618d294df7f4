"""What was signed: announced keys and checkpoints, each as far as it can be believed.

A key is believed for the one before it, or because the verifier knew it; a checkpoint for its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.checkpoints import CheckpointSink
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.keys import KEY_ANNOUNCED, LOG, WITNESS, is_endorsed
from forge_core.ledger.notes import Note, NoteInvalid, VerifierKey
from forge_core.ledger.statements import Checkpoint, open_checkpoint

# What reading a rewritten body as an entry can raise: it may hold anything.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

_CHECKPOINTS = text("SELECT size, note FROM ledger_checkpoints ORDER BY size")
_COSIGNATURES = text("SELECT size, witness, line FROM ledger_cosignatures ORDER BY size, witness")
_ANNOUNCED = text("""
    SELECT position, body FROM ledger_entries LEFT JOIN ledger_order ON entry_id = id
    WHERE subject = 'ledger' AND kind = :kind ORDER BY position, id
""")


@dataclass
class Keys:
    """The keys that entries announce, as far as each was introduced the way it has to be.

    The first of a role needs no introduction; every other is endorsed by the one before it.
    """

    log: list[VerifierKey]
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    problems: list[Discrepancy] = field(default_factory=list)

    @classmethod
    def read(cls, session: Session, pinned: Sequence[VerifierKey]) -> Keys:
        found = cls(list(pinned))
        newest: dict[str, str] = {}
        for row in run(session, _ANNOUNCED, kind=KEY_ANNOUNCED.name):
            try:
                found._introduce(newest, **_data_of(row.body))
            except MALFORMED as error:
                why = error if isinstance(error, NoteInvalid) else "there is none"
                meaning = f"a key that cannot be believed: {why}"
                found.problems.append(Discrepancy("ledger_entries", row.position, meaning))
        return found

    def _introduce(
        self, newest: dict[str, str], *, vkey: str, role: str, replaces: str | None,
        endorsement: str | None,
    ) -> None:  # fmt: skip
        key = VerifierKey.parse(vkey)
        if role == WITNESS:
            self.witnesses[vkey] = key
            return
        if replaces != newest.get(role):
            raise NoteInvalid("it does not follow the one before it")
        if replaces is not None and not is_endorsed(vkey, role, replaces, endorsement or ""):
            raise NoteInvalid("the one before it did not endorse it")
        newest[role] = vkey
        trusted = {known.to_text() for known in self.log}
        if role == LOG and (replaces in trusted or not trusted):
            self.log.append(key)


@dataclass
class Notes:
    """Every checkpoint there is, as far as it can be believed."""

    keys: Keys
    problems: list[Discrepancy] = field(default_factory=list)
    checkpoints: list[tuple[str, Checkpoint]] = field(default_factory=list)

    @classmethod
    def read(
        cls,
        session: Session,
        keys: Keys,
        sinks: Sequence[CheckpointSink],
        kept: Sequence[tuple[str, str]],
    ) -> Notes:
        found = cls(keys)
        stored: dict[str, int] = {}
        for row in run(session, _CHECKPOINTS):
            found._stored(row.size, row.note or "", stored)
        found._cosignatures(session, {size: _text_of(note) for note, size in stored.items()})
        for sink in sinks:
            found._outside(sink.where, dict.fromkeys(sink.notes()), stored)
        for where, note in kept:
            found._open(where, note)
        return found

    def _stored(self, size: int, note: str, stored: dict[str, int]) -> None:
        checkpoint = self._open("ledger_checkpoints", note)
        if note in stored:
            self._say("ledger_checkpoints", size, "it is there twice")
        stored[note] = size
        if checkpoint is not None and checkpoint.size != size:
            self._say("ledger_checkpoints", size, f"it is about {checkpoint.size} entries")
        if checkpoint is not None and len(Note.parse(note).signatures) != 1:
            self._say("ledger_checkpoints", size, "it has signatures besides the log's")

    def _outside(self, where: str, notes: Mapping[str, None], stored: Mapping[str, int]) -> None:
        texts = {_text_of(note) for note in stored}
        for note in notes:
            checkpoint = self._open(where, note)
            if checkpoint is not None and _text_of(note) not in texts:
                self._say(
                    "ledger_checkpoints",
                    checkpoint.size,
                    f"the one over {checkpoint.size} entries that is kept in {where} is gone",
                )
        for note, size in stored.items():
            if note not in notes:  # to the byte: it was written outside first
                self._say(where, size, f"the checkpoint over {size} entries is not there")

    def _cosignatures(self, session: Session, texts: Mapping[int, str]) -> None:
        before = None
        for row in run(session, _COSIGNATURES):
            key, text_ = self.keys.witnesses.get(row.witness), texts.get(row.size)
            if (row.size, row.witness) == before:
                self._say("ledger_cosignatures", row.size, "its witness is there twice")
            elif key is None:
                self._say("ledger_cosignatures", row.size, "its witness is not known")
            elif text_ is None:
                self._say("ledger_cosignatures", row.size, "there is no such checkpoint")
            else:
                try:
                    note = Note.parse(f"{text_}\n{row.line}\n")
                    if len(note.signatures) != 1 or note.cosigned_at(key) is None:
                        raise NoteInvalid("it is not this witness's")  # noqa: TRY301
                except NoteInvalid as error:
                    self._say("ledger_cosignatures", row.size, str(error))
            before = row.size, row.witness

    def _open(self, where: str, note: str) -> Checkpoint | None:
        try:
            checkpoint = open_checkpoint(note, *self.keys.log)
        except NoteInvalid as error:
            self._say(where, _claimed_size(note), f"a checkpoint that proves nothing: {error}")
            return None
        self.checkpoints.append((where, checkpoint))
        return checkpoint

    def _say(self, where: str, position: int | None, meaning: str) -> None:
        self.problems.append(Discrepancy(where, position, meaning))


def _text_of(note: str) -> str:
    """What is signed in a note; the note itself where it is none."""
    try:
        return Note.parse(note).text
    except NoteInvalid:
        return note


def _claimed_size(note: str) -> int | None:
    try:
        return Checkpoint.parse(Note.parse(note).text).size
    except NoteInvalid:
        return None


def _data_of(body: bytes | None) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(bytes(body or b""))["data"]
    return data
