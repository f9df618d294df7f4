"""Witnesses: somebody elsewhere who checks that each checkpoint extends the last one, and says so.

The request has the form of C2SP tlog-witness: the old size, the consistency proof, an empty line,
and the checkpoint's note.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Inconsistent, Refused
from forge_core.ledger.checkpoints import alone, newest_checkpoint, remember, remembered
from forge_core.ledger.keys import WITNESS, known_keys
from forge_core.ledger.merkle import consistency_proof, verify_consistency
from forge_core.ledger.notes import (
    Note,
    NoteInvalid,
    Signature,
    SigningKey,
    VerifierKey,
    from_base64,
)
from forge_core.ledger.statements import Checkpoint, open_checkpoint
from forge_core.ledger.tree import stored_nodes

MOST_CHECKPOINTS = 10_000  # a day of them

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_NEWEST = text("SELECT size, note FROM ledger_checkpoints ORDER BY size DESC LIMIT :most")
_KEEP = text("""
    INSERT INTO ledger_cosignatures (size, witness, line) VALUES (:size, :witness, :line)
    ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True)
class Request:
    """A checkpoint to cosign, and the proof that it extends the tree of ``since`` entries."""

    since: int
    proof: tuple[bytes, ...]
    note: str

    def to_text(self) -> str:
        lines = [f"old {self.since}", *(base64.b64encode(node).decode() for node in self.proof)]
        return "\n".join(lines) + f"\n\n{self.note}"

    @classmethod
    def parse(cls, given: str) -> Request:
        """``NoteInvalid`` for what has not this form."""
        head, _, note = given.partition("\n\n")
        first, *nodes = head.split("\n")
        old, _, since = first.partition(" ")
        if old != "old" or not _SIZE.fullmatch(since):
            raise NoteInvalid("a request begins with a line 'old SIZE'")
        return cls(int(since), tuple(from_base64("a node of the proof", n) for n in nodes), note)


def request(session: Session, since: int) -> Request:
    """For the newest checkpoint. ``NOT_SIGNED``; ``SIZE_UNKNOWN`` when it is smaller."""
    note = newest_checkpoint(session)
    if note is None:
        raise Refused("NOT_SIGNED", "no checkpoint was signed yet")
    size = Checkpoint.parse(Note.parse(note).text).size
    if not 0 <= since <= size:
        raise Refused("SIZE_UNKNOWN", f"the newest checkpoint covers {size} entries")
    proof = consistency_proof(since, size, stored_nodes(session)) if since else []
    return Request(since, tuple(proof), note)


@dataclass(frozen=True)
class Witness:
    """A witness's key and its memory: the file beside it with the checkpoint it saw last."""

    key: SigningKey
    memory: Path

    @classmethod
    def beside(cls, path: Path, key: SigningKey) -> Witness:
        return cls(key, path.with_name(f"{path.name}.last"))

    def cosign(self, given: Request, log: VerifierKey, *, at: int) -> str:
        """The cosignature line, ``at`` in Unix seconds; what was seen is remembered first.

        ``NoteInvalid`` when the log did not sign it. ``SIZE_OTHER`` when the proof is not from
        what was seen last; ``Inconsistent`` when it does not extend that: keep both as evidence.
        """
        with alone(self.memory):
            checkpoint = open_checkpoint(given.note, log)
            last = remembered(self.memory)
            seen = None if last is None else Checkpoint.parse(last.text)
            if given.since != (0 if seen is None else seen.size):
                size = 0 if seen is None else seen.size
                raise Refused("SIZE_OTHER", f"this witness saw {size} entries last; ask since then")
            if seen is not None and not verify_consistency(
                seen.size, seen.root, checkpoint.size, checkpoint.root, list(given.proof)
            ):
                raise Inconsistent(
                    f"the checkpoint over {checkpoint.size} entries does not extend the one over "
                    f"{seen.size} that was seen before; keep both"
                )
            note = Note.parse(given.note)
            line = self.key.cosign(note.text, at)
            remember(self.memory, note)
        return line


def keep_cosignature(session: Session, line: str) -> int:
    """Keep a witness's line for the checkpoint that it cosigns; returns that one's size.

    Others may have been signed while it travelled, so it is sought among the newest.
    ``WITNESS_UNKNOWN`` when no announced witness made it, ``COSIGNATURE_INVALID`` when it is no
    line or cosigns none of those.
    """
    try:
        signature = Signature.parse(line)
    except NoteInvalid as error:
        raise Refused("COSIGNATURE_INVALID", str(error)) from error
    key = next((key for key in known_keys(session, WITNESS) if signature.is_by(key)), None)
    if key is None:
        raise Refused("WITNESS_UNKNOWN", "no known witness made this line")
    for row in run(session, _NEWEST, most=MOST_CHECKPOINTS):
        with suppress(NoteInvalid):
            key.verify(Note.parse(row.note).text, signature.raw)
            given = {"size": row.size, "witness": key.to_text(), "line": line}
            session.execute(_KEEP, given)
            return int(row.size)
    raise Refused(
        "COSIGNATURE_INVALID", f"it cosigns none of the {MOST_CHECKPOINTS:,} newest checkpoints"
    )
