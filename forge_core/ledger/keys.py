"""The ledger's public keys are entries of the ledger: which there are, and what they replaced.

The first key of the log is announced by the first checkpoint's work; every later one is endorsed
by the key that it replaces, so that whoever knows one key can follow to the next.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.ledger.notes import KeyKind, Note, SigningKey, VerifierKey, sign_note
from forge_core.locks import lock_name

LOG, PROMISES, WITNESS = "log", "promises", "witness"

KEY_ANNOUNCED = EntryKind.of(
    "ledger.key_announced",
    """
    INSERT INTO ledger_keys (vkey, role, replaces, announced_at)
    SELECT data ->> 'vkey', data ->> 'role', data ->> 'replaces', at FROM forge_entries(:ids)
    """,
)

_KEYS = text("""
    SELECT vkey FROM ledger_keys WHERE role = :role ORDER BY announced_at, vkey
""")


def known_keys(session: Session, role: str) -> list[VerifierKey]:
    """The keys announced for ``log``, ``promises`` or ``witness``, oldest first."""
    return [VerifierKey.parse(row.vkey) for row in run(session, _KEYS, role=role)]


def ensure_announced(session: Session, key: VerifierKey, role: str) -> None:
    """Announce the first key of a role; the present one is left alone.

    ``KEY_RETIRED`` for one that was replaced; ``KEY_NOT_ENDORSED`` for another: it has to be
    introduced by the present one.
    """
    lock_name(session, "ledger.keys")
    known = known_keys(session, role)
    if known and key == known[-1]:
        return
    if key in known:
        raise Refused("KEY_RETIRED", f"this {role} key was replaced by {known[-1].to_text()}")
    if known:
        raise Refused(
            "KEY_NOT_ENDORSED",
            f"this ledger's {role} key is {known[-1].to_text()}; "
            "a new one is introduced with `forge ledger keys rotate`",
        )
    _announce(session, key, role, replaces=None, endorsement=None, at=forge_now(session))


def add_witness(session: Session, key: VerifierKey, *, actor: str) -> None:
    """Let a witness's cosignatures count. ``KEY_KIND`` for a key of another kind."""
    if key.kind is not KeyKind.COSIGNATURE:
        raise Refused("KEY_KIND", "a witness's key is one of cosignatures (type 0x04)")
    lock_name(session, "ledger.keys")
    if key in known_keys(session, WITNESS):
        raise Refused("KEY_KNOWN", "this witness is known already")
    _announce(
        session, key, WITNESS, replaces=None, endorsement=None, at=forge_now(session), actor=actor
    )


def rotate(session: Session, old: SigningKey, new: VerifierKey, role: str, *, actor: str) -> None:
    """Let ``new`` follow ``old``, which endorses it.

    ``KEY_NOT_CURRENT`` when ``old`` is not the newest of its role; ``KEY_NAME`` when the names
    differ, for the name is the ledger's origin.
    """
    lock_name(session, "ledger.keys")
    known = known_keys(session, role)
    if not known or known[-1] != old.verifier:
        raise Refused("KEY_NOT_CURRENT", f"the key given is not this ledger's present {role} key")
    if new.name != old.name:
        raise Refused("KEY_NAME", f"the new key has to be named {old.name!r}, as the old one is")
    endorsement = sign_note(endorsement_text(new, role), old).to_text()
    at = forge_now(session)
    _announce(session, new, role, replaces=old.verifier, endorsement=endorsement, at=at,
              actor=actor)  # fmt: skip


def endorsement_text(new: VerifierKey, role: str) -> str:
    """What the replaced key signs."""
    return f"forge-key/v1\n{new.name}\nrole {role}\nkey {new.to_text()}\n"


def is_endorsed(vkey: str, role: str, replaces: str, endorsement: str) -> bool:
    """Whether the replaced key's endorsement holds. ``NoteInvalid`` when it is malformed."""
    new, old = VerifierKey.parse(vkey), VerifierKey.parse(replaces)
    note = Note.parse(endorsement)
    return note.text == endorsement_text(new, role) and note.signed_by(old)


def _announce(  # an entry's fields
    session: Session,
    key: VerifierKey,
    role: str,
    *,
    replaces: VerifierKey | None,
    endorsement: str | None,
    at: datetime,
    actor: str = "rule:keys",
) -> None:
    data = {
        "vkey": key.to_text(),
        "role": role,
        "replaces": None if replaces is None else replaces.to_text(),
        "endorsement": endorsement,
    }
    append(session, [Entry(KEY_ANNOUNCED, at, actor, "ledger", data)])
