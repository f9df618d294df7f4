"""Checkpoints: the tree's root, signed, and copied to where the database's keepers cannot reach.

The signer remembers what it signed last, beside its key, and signs nothing that does not extend
it. It writes that down before the note goes anywhere, so that whatever is killed afterwards, the
next run takes the same note to the places that lack it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from forge_core.database import run, transaction
from forge_core.errors import Inconsistent
from forge_core.failpoints import reach
from forge_core.ledger.keys import LOG, ensure_announced, known_keys
from forge_core.ledger.merkle import consistency_proof, root, verify_consistency
from forge_core.ledger.notes import Note, NoteInvalid, SigningKey
from forge_core.ledger.statements import Checkpoint, open_checkpoint, sign_checkpoint
from forge_core.ledger.tree import sealed_size, stored_nodes

_MOST_LINE = 65_536

_STORED = text("SELECT size, note FROM ledger_checkpoints ORDER BY size")
_NEWEST = text("SELECT note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1")
_AT = text("SELECT note FROM ledger_checkpoints WHERE size = :size")
_STORE = text("""
    INSERT INTO ledger_checkpoints (size, note) VALUES (:size, :note) ON CONFLICT DO NOTHING
""")


class CheckpointSink(Protocol):
    """A place outside the database; what is there once, stays."""

    @property
    def where(self) -> str:
        """Its name in messages."""

    def append(self, note: str) -> None:
        """Keep a note for good: on return it survives a crash."""

    def notes(self) -> Iterator[str]:
        """Everything kept, oldest first; what is unreadable comes as it is."""

    def newest(self) -> str | None:
        """The last one kept."""


@dataclass(frozen=True)
class CheckpointFile:
    """A file that is only ever appended to: one note a line, as a JSON string."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def append(self, note: str) -> None:
        """Flushed to the disk. What a crash, or a full disk, tore off before is completed.

        The note that was torn is the one that comes next: the signer remembers it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            line = f"{json.dumps(note)}\n".encode()
            size = os.fstat(descriptor).st_size
            begun = min(size, len(line))
            torn = os.pread(descriptor, begun, size - begun).rpartition(b"\n")[2]
            rest = line[len(torn) :] if line.startswith(torn) else b"\n" + line
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not size:
            _keep_name(self.path)

    def notes(self) -> Iterator[str]:
        try:
            kept = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return
        for line in kept.removesuffix("\n").split("\n") if kept else ():
            yield _note_of(line)

    def newest(self) -> str | None:
        try:
            with self.path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _MOST_LINE, 0))
                end = file.read().decode(errors="replace")
        except FileNotFoundError:
            return None
        return _note_of(end.removesuffix("\n").rpartition("\n")[2]) if end else None


def _note_of(line: str) -> str:
    """The note in a line; the line itself where there is none."""
    try:
        note = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return note if isinstance(note, str) else line


@dataclass(frozen=True)
class Draft:
    """A root to sign, and the proof that it extends what was signed last."""

    size: int
    root: bytes
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Signer:
    """The log's key and its memory: the file beside it with the note that it signed last."""

    key: SigningKey
    memory: Path

    @classmethod
    def beside(cls, path: Path, key: SigningKey) -> Signer:
        """The signer whose memory lies beside its key file."""
        return cls(key, path.with_name(f"{path.name}.last"))

    def last(self) -> Note | None:
        """What was signed last."""
        return remembered(self.memory)

    def sign(self, draft: Draft) -> Note:
        """Sign what extends the last checkpoint, and remember it first.

        To be called ``alone`` with the memory, where the draft was made. Signing the same twice
        gives the same note. ``Inconsistent`` for anything that does not extend it: entries were
        lost, changed or removed, and no signature shall cover that up.
        """
        last = self.last()
        if last is not None:
            self._require_extension(Checkpoint.parse(last.text), draft)
        note = sign_checkpoint(Checkpoint(self.key.name, draft.size, draft.root), self.key)
        if last is None or last.text != note.text:
            remember(self.memory, note)
        return note

    @staticmethod
    def _require_extension(last: Checkpoint, draft: Draft) -> None:
        if draft.size < last.size:
            raise Inconsistent(
                f"a checkpoint over {last.size} entries was signed, and now there are "
                f"{draft.size}: entries are missing; nothing is signed until they are back"
            )
        proof = list(draft.proof)
        if not verify_consistency(last.size, last.root, draft.size, draft.root, proof):
            raise Inconsistent(
                f"the tree over {draft.size} entries does not extend the one over {last.size} "
                "that was signed; run `forge ledger verify`"
            )


def remembered(memory: Path) -> Note | None:
    """The note that was signed or seen last; None before the first."""
    try:
        return Note.parse(memory.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def remember(memory: Path, note: Note) -> None:
    """Replace the memory, whole; on return it survives a crash."""
    draft = memory.with_name(f"{memory.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(note.to_text())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(memory)
    _keep_name(memory)


def _keep_name(path: Path) -> None:
    """Flush the folder: a file's new name is not safe with its content."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(memory: Path) -> Iterator[None]:
    """Two processes with one memory go one after the other."""
    with memory.with_name(f"{memory.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def checkpoint(
    engine: Engine, signer: Signer, sinks: Sequence[CheckpointSink]
) -> Checkpoint | None:
    """Sign the sealed tree if it has grown, and take the note everywhere; returns the newest.

    None while nothing is sealed: a ledger begins with its founders, not with a key.

    No transaction is open while it signs and writes. Safe to repeat and to kill anywhere: the
    signer's memory comes first, and what lacks its note is given it by the next run. Of two at once
    the second waits, for its draft has to extend what the first signs.
    """
    with transaction(engine) as session:
        if not sealed_size(session):
            return None
        ensure_announced(session, signer.key.verifier, LOG)
    with alone(signer.memory):
        last = signer.last() or _recalled(engine, signer, sinks)
        if last is not None:
            _publish(engine, last, sinks)
        with transaction(engine) as session:
            draft = _draft(session, None if last is None else Checkpoint.parse(last.text))
        note = signer.sign(draft)
        reach("checkpoint.signed")
        if last is None or note.text != last.text:
            _publish(engine, note, sinks)
    return Checkpoint.parse(note.text)


def _recalled(engine: Engine, signer: Signer, sinks: Sequence[CheckpointSink]) -> Note | None:
    """A signer that lost its memory takes up where the largest checkpoint it can find ends."""
    with transaction(engine) as session:
        keys = known_keys(session, LOG)
        notes = [newest_checkpoint(session), *(sink.newest() for sink in sinks)]
    found: dict[int, Note] = {}
    for note in filter(None, notes):
        with suppress(NoteInvalid):  # what no key of ours signed is nothing to go on from
            found[open_checkpoint(note, *keys).size] = Note.parse(note)
    if not found:
        return None
    remember(signer.memory, found[max(found)])
    return signer.last()


def _draft(session: Session, last: Checkpoint | None) -> Draft:
    size = sealed_size(session)
    node = stored_nodes(session)
    since = 0 if last is None else last.size
    proof = consistency_proof(since, size, node) if 0 < since <= size else []
    return Draft(size, root(size, node), tuple(proof))


def _publish(engine: Engine, note: Note, sinks: Sequence[CheckpointSink]) -> None:
    text_ = note.to_text()
    for sink in sinks:
        if sink.newest() != text_:
            sink.append(text_)
    reach("checkpoint.written")
    with transaction(engine) as session:
        store(session, note)
    reach("checkpoint.stored")


def store(session: Session, note: Note) -> None:
    """Keep a checkpoint; the same one again changes nothing. ``Inconsistent`` for another one."""
    size = Checkpoint.parse(note.text).size
    session.execute(_STORE, {"size": size, "note": note.to_text()})
    kept = session.execute(_AT, {"size": size}).scalar_one()
    if Note.parse(kept).text != note.text:
        raise Inconsistent(f"another checkpoint over {size} entries is stored already")


def stored_checkpoints(session: Session) -> dict[int, str]:
    """Every stored note, by the size it is stored under."""
    return {row.size: row.note for row in run(session, _STORED)}


def newest_checkpoint(session: Session) -> str | None:
    """The newest stored note."""
    note: str | None = session.execute(_NEWEST).scalar_one_or_none()
    return note
