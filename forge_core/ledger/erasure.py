"""Erasing a text: an entry says which, by whom and why; the text and its salt are gone."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts

TEXT_ERASED = EntryKind.of(
    "text.erased",
    """
    INSERT INTO erasures (commitment, erased_by, erased_at, reason)
    SELECT subject, actor, at, data ->> 'reason' FROM forge_entries(:ids)
    """,
    texts=("reason",),
)

_COMMITMENT = re.compile(r"[0-9a-f]{64}")
_ERASE = text("DELETE FROM texts WHERE commitment = :commitment RETURNING commitment")
# A command that brought the text is kept for a while beside its answer, and its hash for ever: with
# that, guesses could be tried. Whoever sends the command again is told that it conflicts.
_FORGET_COMMANDS = text("""
    WITH entry AS MATERIALIZED (
        SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'command' AS command
        FROM ledger_entries
        WHERE kind <> 'ballot.cast' AND position(convert_to(:commitment, 'UTF8') IN body) > 0
    ), forgotten AS (
        UPDATE jobs SET payload = '{"erased": true}'
        FROM entry
        WHERE jobs.issuer || '/' || jobs.command_id = entry.command AND finished_at IS NOT NULL
    )
    UPDATE commands SET content_hash = sha256(uuid_send(gen_random_uuid()))
    FROM entry
    WHERE issuer = substring(command FROM '^(.*)/[^/]*$')
        AND command_id::text = substring(command FROM '[^/]*$')
""")


def erase(
    session: Session, commitment: object, *, actor: str, reason: str, command: str | None
) -> None:
    """Erase the text behind a commitment for good; what it was committed to stays verifiable.

    ``COMMITMENT_INVALID``; ``TEXT_UNKNOWN`` when there is none, or none any more.
    """
    if not isinstance(commitment, str) or not _COMMITMENT.fullmatch(commitment):
        raise Refused("COMMITMENT_INVALID", "a commitment is 64 hexadecimal digits, in lower case")
    if session.execute(_ERASE, {"commitment": commitment}).scalar_one_or_none() is None:
        raise Refused("TEXT_UNKNOWN", "no text with this commitment is kept; it may be erased")
    session.execute(_FORGET_COMMANDS, {"commitment": commitment})
    data = {"commitment": commitment, "reason": keep_texts(session, reason)[0]}
    at = forge_now(session)
    append(session, [Entry(TEXT_ERASED, at, actor, commitment, data, command)])
