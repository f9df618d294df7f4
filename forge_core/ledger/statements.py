"""What the ledger's keys state: how far the log reaches (checkpoint), what will be in it (promise).

Both are the texts of signed notes. A checkpoint (c2sp.org/tlog-checkpoint) is signed under the
log's own name, its origin; a promise is signed under ``<origin>/promises``, so that neither key can
be used for the other's statements. Whatever is wrong raises ``NoteInvalid``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from forge_core.errors import Refused
from forge_core.ledger.notes import (
    KeyKind,
    Note,
    NoteInvalid,
    SigningKey,
    VerifierKey,
    as_text,
    from_base64,
    require_name,
    sign_note,
)
from forge_core.text import require_id, shown

HASH_BYTES = 32
MOST_LEAVES = 2**63 - 1
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_PROMISE = re.compile(
    r"forge-promise/v1\n(.+)\nleaf ([0-9a-f]{64})\ncommand (.+)\naccepted (.+)\nsealed-by (.+)\n"
)


@dataclass(frozen=True)
class Checkpoint:
    """The log named ``origin`` has ``size`` leaves, and this RFC 9162 root hash."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        require_name("the origin", self.origin)
        if not 0 <= self.size <= MOST_LEAVES:
            raise NoteInvalid(f"the size is {shown(self.size)}; it is a whole number below 2^63")
        _require_hash("the root hash", self.root)

    @classmethod
    def parse(cls, given: str | bytes) -> Checkpoint:
        match as_text("the checkpoint", given).split("\n"):
            case [origin, size, root, ""]:
                pass
            case _:
                raise NoteInvalid(
                    "a checkpoint is exactly three lines, origin, size and root hash;"
                    " extension lines are refused"
                )
        if not _WHOLE_NUMBER.fullmatch(size):
            raise NoteInvalid(
                f"the size is {shown(size)}; it is a whole number without leading zeros"
            )
        return cls(origin, int(size), from_base64("the root hash", root))

    def to_text(self) -> str:
        return f"{self.origin}\n{self.size:d}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class Promise:
    """An entry with this leaf hash, accepted for a command, will be sealed by a certain time.

    ``command`` is ``<issuer>/<uuid>``; the times are RFC 3339 in UTC with six digits of fraction.
    """

    origin: str
    leaf: bytes
    command: str
    accepted_at: str
    sealed_by: str

    def __post_init__(self) -> None:
        require_name("the origin", self.origin)
        _require_hash("the leaf hash", self.leaf)
        _require_command(self.command)
        _require_time("the time of acceptance", self.accepted_at)
        _require_time("the time to seal by", self.sealed_by)
        if self.sealed_by < self.accepted_at:
            raise NoteInvalid("the promise is to be sealed before it was accepted")

    @classmethod
    def parse(cls, given: str | bytes) -> Promise:
        match = _PROMISE.fullmatch(as_text("the promise", given))
        if match is None:
            raise NoteInvalid(
                "a promise is exactly six lines: forge-promise/v1, the origin,"
                " leaf, command, accepted and sealed-by"
            )
        origin, leaf, command, accepted_at, sealed_by = match.groups()
        return cls(origin, bytes.fromhex(leaf), command, accepted_at, sealed_by)

    def to_text(self) -> str:
        return (
            f"forge-promise/v1\n{self.origin}\nleaf {self.leaf.hex()}\ncommand {self.command}\n"
            f"accepted {self.accepted_at}\nsealed-by {self.sealed_by}\n"
        )


def sign_checkpoint(checkpoint: Checkpoint, *keys: SigningKey) -> Note:
    """The checkpoint as a note. That it extends every earlier one is for the caller to know."""
    for key in keys:
        _require_signer({key.name}, checkpoint.origin)
    return sign_note(checkpoint.to_text(), *keys)


def open_checkpoint(given: str | bytes, *keys: VerifierKey) -> Checkpoint:
    """The checkpoint, when at least one of the keys signed it under the name of its origin."""
    text, names = _open(given, keys)
    checkpoint = Checkpoint.parse(text)
    _require_signer(names, checkpoint.origin)
    return checkpoint


def cosign(note: Note, key: SigningKey, at: int) -> Note:
    """The checkpoint's note with a witness's line. To have checked the log is the witness's duty.

    ``at`` is in Unix seconds.
    """
    Checkpoint.parse(note.text)
    return note.with_line(key.cosign(note.text, at))


def promise_key_name(origin: str) -> str:
    return f"{origin}/promises"


def sign_promise(promise: Promise, key: SigningKey) -> Note:
    _require_signer({key.name}, promise_key_name(promise.origin))
    return sign_note(promise.to_text(), key)


def open_promise(given: str | bytes, *keys: VerifierKey) -> Promise:
    """The promise, when at least one of the keys signed it as its origin's key for promises."""
    text, names = _open(given, keys)
    promise = Promise.parse(text)
    _require_signer(names, promise_key_name(promise.origin))
    return promise


def _open(given: str | bytes, keys: tuple[VerifierKey, ...]) -> tuple[str, set[str]]:
    """The text and who signed it. Every key is tried: one that fails rejects the note."""
    note = Note.parse(given)
    for key in keys:
        if key.kind is not KeyKind.NOTE:
            raise NoteInvalid(f"{shown(key.name)} is a witness's key, which cannot sign for a log")
    names = {key.name for key in keys if note.signed_by(key)}
    if not names:
        raise NoteInvalid("none of the known keys signed the note")
    return note.text, names


def _require_signer(names: set[str], needed: str) -> None:
    if needed not in names:
        found = ", ".join(map(shown, sorted(names)))
        raise NoteInvalid(f"this is for {shown(needed)} to sign, not for {found}")


def _require_hash(what: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise NoteInvalid(f"{what} has {len(value):,} bytes instead of {HASH_BYTES}")


def _require_command(command: str) -> None:
    issuer, _, id_ = command.rpartition("/")
    with suppress(Refused, ValueError):
        require_id("the issuer", issuer)
        if str(UUID(id_)) == id_:
            return
    raise NoteInvalid(f"the command is {shown(command)}; it is an issuer, a slash and a UUID")


def _require_time(what: str, value: str) -> None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(value).replace(tzinfo=None)
        if moment.isoformat(timespec="microseconds") + "Z" == value:
            return
    raise NoteInvalid(
        f"{what} is {shown(value)}; it is RFC 3339 in UTC with six digits of fraction and Z"
    )
