"""Signed notes: a text and the lines that sign it, readable by Go's and everybody's log tools.

The formats are c2sp.org/signed-note and, for witnesses, c2sp.org/tlog-cosignature. Reading is
strict: one note has one spelling, so what was parsed is written back byte for byte. Whatever is
wrong raises ``NoteInvalid``, whose message never quotes a key.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from forge_core.errors import ForgeError
from forge_core.text import shown

MOST_SECONDS = 2**63 - 1
MOST_SIGNATURES = 100  # what Go's reader takes; a note needs a limit, and at least 16
_PRIVATE = "PRIVATE+KEY+"
_KEY_ID_BYTES = 4
_TIME_BYTES = 8
_KEY_BYTES = 32  # of a public key, and of the seed of a private one
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteInvalid(ForgeError, ValueError):
    """A note, a key or what a note says is malformed, unsigned or forged."""

    code: ClassVar[str] = "NOTE_INVALID"
    http_status: ClassVar[int] = 422


class KeyKind(IntEnum):
    """The signature type byte of a key; the two kinds of one key pair have unrelated ids."""

    NOTE = 0x01
    COSIGNATURE = 0x04


def as_text(what: str, given: str | bytes) -> str:
    """The text, when it is UTF-8 without control characters other than newline."""
    try:
        text = (given if isinstance(given, bytes) else given.encode()).decode()
    except UnicodeError:
        raise NoteInvalid(f"{what} is not UTF-8 text") from None
    if _CONTROL.search(text):
        raise NoteInvalid(f"{what} contains a control character")
    return text


def from_base64(what: str, encoded: str) -> bytes:
    """The bytes, when this is the one standard base64 spelling of them (RFC 4648, section 4)."""
    with suppress(ValueError):
        raw = b64decode(encoded, validate=True)
        if b64encode(raw).decode() == encoded:
            return raw
    raise NoteInvalid(f"{what} is not canonical base64")


def require_name(what: str, name: str) -> None:
    """Raise ``NoteInvalid`` unless it can name a key: not empty, no white space, no plus sign."""
    as_text(what, name)
    if not name or "+" in name or any(character.isspace() for character in name):
        raise NoteInvalid(f"{what} is {shown(name)}; a name has no white space and no plus sign")


@dataclass(frozen=True)
class VerifierKey:
    """A public key with the name it signs under: ``name+hash+base64(kind || public key)``."""

    name: str
    kind: KeyKind
    public: bytes

    def __post_init__(self) -> None:
        require_name("the key name", self.name)
        if len(self.public) != _KEY_BYTES:
            raise NoteInvalid(f"a public key has {_KEY_BYTES} bytes, not {len(self.public):,}")

    @classmethod
    def parse(cls, given: str | bytes) -> VerifierKey:
        name, id_, kind, public = _key_parts("the verifier key", given)
        key = cls(name, kind, public)
        if key.key_id.hex() != id_:
            raise NoteInvalid("the hash in the verifier key does not match its name and key")
        return key

    def to_text(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_key_material(self.kind, self.public)}"

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256(name || newline || kind || public key), the first four bytes."""
        named = b"%s\n%c%s" % (self.name.encode(), self.kind, self.public)
        return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]

    def verify(self, text: str, raw: bytes) -> None:
        """Raise ``NoteInvalid`` unless ``raw`` is this key's signature of ``text``."""
        message = text.encode()
        if self.kind is KeyKind.COSIGNATURE:
            message, raw = _cosigned(text, _time_of(raw)), raw[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(raw, message)
        except (InvalidSignature, ValueError):
            raise NoteInvalid(f"the signature of {shown(self.name)} does not verify") from None


@dataclass(frozen=True)
class SigningKey:
    """A private key: ``PRIVATE+KEY+name+hash+base64(kind || seed)``. Only ``to_text`` shows it."""

    verifier: VerifierKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, name: str, kind: KeyKind = KeyKind.NOTE) -> SigningKey:
        return cls._of(name, kind, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, given: str | bytes) -> SigningKey:
        text = as_text("the signing key", given)
        if not text.startswith(_PRIVATE):
            raise NoteInvalid(f"the signing key does not start with {_PRIVATE}")
        name, id_, kind, seed = _key_parts("the signing key", text.removeprefix(_PRIVATE))
        key = cls._of(name, kind, Ed25519PrivateKey.from_private_bytes(seed))
        if key.verifier.key_id.hex() != id_:
            raise NoteInvalid("the hash in the signing key does not match its name and key")
        return key

    @classmethod
    def _of(cls, name: str, kind: KeyKind, private: Ed25519PrivateKey) -> SigningKey:
        return cls(VerifierKey(name, kind, private.public_key().public_bytes_raw()), private)

    def to_text(self) -> str:
        material = _key_material(self.verifier.kind, self._private.private_bytes_raw())
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{material}"

    @property
    def name(self) -> str:
        return self.verifier.name

    def sign(self, text: str) -> str:
        """The line, without its newline, that signs a note of this text."""
        if self.verifier.kind is not KeyKind.NOTE:
            raise NoteInvalid(f"{shown(self.name)} is a witness's key, which only cosigns")
        return self._line(self._private.sign(require_note_text(text).encode()))

    def cosign(self, text: str, at: int) -> str:
        """The line, without its newline, that cosigns a checkpoint at ``at`` (Unix seconds)."""
        if self.verifier.kind is not KeyKind.COSIGNATURE:
            raise NoteInvalid(f"{shown(self.name)} is not a witness's key, so it cannot cosign")
        if not 0 <= at <= MOST_SECONDS:
            raise NoteInvalid(f"{shown(at)} is not a time; cosigning takes Unix seconds")
        signature = self._private.sign(_cosigned(require_note_text(text), at))
        return self._line(at.to_bytes(_TIME_BYTES, "big") + signature)

    def _line(self, raw: bytes) -> str:
        return Signature(self.name, self.verifier.key_id, raw).line


@dataclass(frozen=True)
class Signature:
    """One signature line. Of an unknown key, ``raw`` can be anything."""

    name: str
    key_id: bytes
    raw: bytes

    def __post_init__(self) -> None:
        require_name("the name in a signature", self.name)
        if len(self.key_id) != _KEY_ID_BYTES or not self.raw:
            raise NoteInvalid("a signature is too short to hold a key id and more")

    @classmethod
    def parse(cls, line: str) -> Signature:
        match line.split(" "):
            case ["—", name, encoded]:
                decoded = from_base64("a signature", encoded)
                return cls(name, decoded[:_KEY_ID_BYTES], decoded[_KEY_ID_BYTES:])
            case _:
                raise NoteInvalid(f"{shown(line)} is not a signature line: dash, name, base64")

    @property
    def line(self) -> str:
        return f"— {self.name} {b64encode(self.key_id + self.raw).decode()}"

    def is_by(self, key: VerifierKey) -> bool:
        """Whether it claims to be of this key; it is only a claim."""
        return (self.name, self.key_id) == (key.name, key.key_id)


@dataclass(frozen=True)
class Note:
    """A text, which ends with a newline, and one or more signatures, none of them verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        require_note_text(self.text)
        if not 1 <= len(self.signatures) <= MOST_SIGNATURES:
            raise NoteInvalid(
                f"a note has 1 to {MOST_SIGNATURES} signatures, not {len(self.signatures):,}"
            )

    @classmethod
    def parse(cls, given: str | bytes) -> Note:
        # The last empty line separates: the text itself may contain empty ones.
        text, blank, block = as_text("the note", given).rpartition("\n\n")
        if not blank:
            raise NoteInvalid("the note has no empty line between its text and its signatures")
        if not block.endswith("\n"):
            raise NoteInvalid("the note does not end with a signature line and its newline")
        lines = block.removesuffix("\n").split("\n")
        return cls(f"{text}\n", tuple(Signature.parse(line) for line in lines))

    def to_text(self) -> str:
        lines = "".join(f"{signature.line}\n" for signature in self.signatures)
        return f"{self.text}\n{lines}"

    def signed_by(self, key: VerifierKey) -> bool:
        """Whether the key signed or cosigned it; its line being there and false is an error."""
        claimed = [signature for signature in self.signatures if signature.is_by(key)]
        for signature in claimed:
            key.verify(self.text, signature.raw)
        return bool(claimed)

    def cosigned_at(self, key: VerifierKey) -> int | None:
        """When the witness cosigned it last (Unix seconds); None if it did not."""
        if key.kind is not KeyKind.COSIGNATURE:
            raise NoteInvalid(f"{shown(key.name)} is not a witness's key, so it cannot cosign")
        if not self.signed_by(key):
            return None
        return max(_time_of(signature.raw) for signature in self.signatures if signature.is_by(key))

    def with_line(self, line: str) -> Note:
        return Note(self.text, (*self.signatures, Signature.parse(line)))


def sign_note(text: str, *keys: SigningKey) -> Note:
    """The note of this text, signed by each key in turn."""
    return Note(text, tuple(Signature.parse(key.sign(text)) for key in keys))


def require_note_text(text: str) -> str:
    if not as_text("the note's text", text).endswith("\n"):
        raise NoteInvalid("the note's text does not end with a newline")
    return text


def _key_parts(what: str, given: str | bytes) -> tuple[str, str, KeyKind, bytes]:
    match as_text(what, given).split("+", 2):
        case [name, id_, encoded]:
            material = from_base64(f"the last part of {what}", encoded)
        case _:
            raise NoteInvalid(f"{what} has too few parts: name, hash and key, joined by plus signs")
    if len(material) != 1 + _KEY_BYTES:
        raise NoteInvalid(f"{what} holds {len(material):,} bytes instead of {1 + _KEY_BYTES}")
    if material[0] not in set(KeyKind):
        raise NoteInvalid(f"{what} is of type {material[0]:#04x}; types 0x01 and 0x04 are known")
    return name, id_, KeyKind(material[0]), material[1:]


def _key_material(kind: KeyKind, key: bytes) -> str:
    return b64encode(bytes([kind]) + key).decode()


def _cosigned(text: str, at: int) -> bytes:
    """What a witness signs: its own prefix keeps it apart from every note."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _time_of(raw: bytes) -> int:
    at = int.from_bytes(raw[:_TIME_BYTES], "big")
    if at > MOST_SECONDS:
        raise NoteInvalid("the time in a cosignature is out of range")
    return at
