"""Receipts: at once a signed promise that an entry will be sealed, later the proof that it is.

A promise that is not kept is evidence against whoever signed it; a proof needs nobody's word but
the checkpoint's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry
from forge_core.ledger.merkle import inclusion_proof, leaf_hash
from forge_core.ledger.notes import Note, NoteInvalid, SigningKey
from forge_core.ledger.statements import Checkpoint, Promise, promise_key_name, sign_promise
from forge_core.ledger.tree import stored_nodes

FORMAT = "forge-receipt/1"
SEALED_WITHIN = timedelta(seconds=10)

_FIND = text("""
    SELECT
        (SELECT position FROM ledger_order WHERE leaf_hash = :leaf ORDER BY position LIMIT 1)
            AS position,
        (SELECT note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1) AS note
""")
_WAITS = text("""
    SELECT EXISTS (
        SELECT FROM ledger_unsealed JOIN ledger_entries ON id = entry_id WHERE leaf_hash = :leaf
    )
""")
# Both read the ledger once: whoever kept a receipt does not need them.
_OF_COMMAND = text("""
    SELECT body FROM ledger_entries
    WHERE kind <> 'ballot.cast'
        AND convert_from(body, 'UTF8')::jsonb ->> 'command' = :command
    ORDER BY id LIMIT 1
""")
_OF_BALLOT = text("""
    SELECT entry.body FROM ballots JOIN ledger_entries AS entry
        ON entry.kind = 'ballot.cast' AND entry.subject = ballots.proposal_id
        AND position(convert_to('"ballot":"' || ballot_id || '"', 'UTF8') IN entry.body) > 0
    WHERE ballots.issuer = :issuer AND ballots.command_id::text = :id
    LIMIT 1
""")


@dataclass(frozen=True)
class Proof:
    """That a leaf stands at ``position`` of the tree that ``checkpoint`` (a note) signs."""

    position: int
    size: int
    path: tuple[bytes, ...]
    checkpoint: str

    def to_json(self) -> dict[str, Any]:
        path = [node.hex() for node in self.path]
        return {"position": self.position, "size": self.size, "path": path,
                "checkpoint": self.checkpoint}  # fmt: skip


@dataclass(frozen=True)
class Receipt:
    """An entry's bytes as text, with what has been given for it so far."""

    entry: str
    promise: str | None = None
    proof: Proof | None = None

    @property
    def leaf(self) -> bytes:
        return leaf_hash(self.entry.encode())

    def to_text(self) -> str:
        """The file that a voter keeps."""
        proof = None if self.proof is None else self.proof.to_json()
        document = {"format": FORMAT, "entry": self.entry, "promise": self.promise, "proof": proof}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, given: str) -> Receipt:
        """From such a file; only entry and promise are taken. ``RECEIPT_INVALID``."""
        try:
            document = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise Refused("RECEIPT_INVALID", "a receipt is a JSON document") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise Refused("RECEIPT_INVALID", f"a receipt says that its format is {FORMAT!r}")
        entry, promise = document.get("entry"), document.get("promise")
        if not isinstance(entry, str) or not isinstance(promise, str | None):
            raise Refused("RECEIPT_INVALID", "a receipt has an entry and a promise, both text")
        try:
            entry.encode()
        except UnicodeEncodeError as error:
            raise Refused("RECEIPT_INVALID", "the entry has a lone surrogate") from error
        return cls(entry, promise)


def promise(entry: Entry, key: SigningKey, *, command: str, accepted_at: datetime) -> Receipt:
    """A promise that this entry will be sealed within ten seconds of its acceptance.

    To be given only after the transaction that accepted it is committed.
    """
    body = entry.body()
    origin = key.name.removesuffix(promise_key_name(""))
    made = Promise(
        origin=origin,
        leaf=leaf_hash(body),
        command=command,
        accepted_at=rfc3339(accepted_at),
        sealed_by=rfc3339(accepted_at + SEALED_WITHIN),
    )
    return Receipt(body.decode(), sign_promise(made, key).to_text())


def prove(session: Session, receipt: Receipt) -> Receipt:
    """The receipt with a proof under the newest checkpoint.

    Refused: ``NOT_SEALED`` and ``NOT_SIGNED`` (both mean: soon), ``NOT_IN_LEDGER`` when there is
    no such entry; with a promise whose time is over, that is evidence.
    """
    position, note = session.execute(_FIND, {"leaf": receipt.leaf}).one()
    if position is None and session.execute(_WAITS, {"leaf": receipt.leaf}).scalar_one():
        raise Refused("NOT_SEALED", "the entry waits for the sealer; ask again in a second")
    if position is None:
        raise Refused("NOT_IN_LEDGER", "no entry of this ledger has these bytes")
    size = 0 if note is None else _size(note)
    if note is None or position >= size:
        raise Refused("NOT_SIGNED", "no checkpoint covers the entry yet; ask again in ten seconds")
    path = inclusion_proof(position, size, stored_nodes(session, position, size - 1))
    return replace(receipt, proof=Proof(position, size, tuple(path), note))


def receipt_of_command(session: Session, command: str) -> Receipt:
    """A receipt without a promise, for the first entry that a command led to.

    ``command`` is issuer/id. ``COMMAND_UNKNOWN`` when no entry names it (yet).
    """
    issuer, _, id_ = command.rpartition("/")
    entry = session.execute(_OF_COMMAND, {"command": command}).scalar_one_or_none()
    if entry is None:
        entry = session.execute(_OF_BALLOT, {"issuer": issuer, "id": id_}).scalar_one_or_none()
    if entry is None:
        raise Refused(
            "COMMAND_UNKNOWN",
            f"{command[:200]!r} is no file, and no entry is of such a command (ISSUER/COMMAND-ID)",
        )
    return Receipt(bytes(entry).decode())


def _size(note: str) -> int:
    try:
        return Checkpoint.parse(Note.parse(note).text).size
    except NoteInvalid as error:
        raise Refused("CHECKPOINT_INVALID", f"the newest checkpoint is damaged: {error}") from error
