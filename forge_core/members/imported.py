"""Imported electorates: rolls from elsewhere, materialised before opening, immutable, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import is_sandbox
from forge_core.database import as_json, run
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.locks import lock_name
from forge_core.members.sources import require_source
from forge_core.text import require_id

IMPORTED = EntryKind.of(
    "electorate.imported",
    """
    INSERT INTO imported_electorates (id, members, weight)
    SELECT DISTINCT subject, 0, 0 FROM forge_entries(:ids)
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO imported_weights (electorate_id, member_id, weight)
    SELECT subject, voter ->> 0, (voter ->> 1)::numeric
    FROM forge_entries(:ids) AS entry, jsonb_array_elements(data -> 'roll') AS voter
    """,
    """
    UPDATE imported_electorates SET
        members = imported_electorates.members + part.members,
        weight = imported_electorates.weight + part.weight
    FROM (
        SELECT subject, count(*) AS members, sum((voter ->> 1)::numeric) AS weight
        FROM forge_entries(:ids) AS entry, jsonb_array_elements(data -> 'roll') AS voter
        GROUP BY subject
    ) AS part
    WHERE id = part.subject
    """,
)

SEALED = EntryKind.of(
    "electorate.sealed",
    """
    UPDATE imported_electorates SET sealed_at = entry.at, digest = data ->> 'digest'
    FROM forge_entries(:ids) AS entry WHERE imported_electorates.id = entry.subject
    """,
)

BALANCE = "balance:"

_SEALED = text("SELECT sealed_at FROM imported_electorates WHERE id = :id")
_PRESENT = text("""
    SELECT member_id FROM imported_weights
    WHERE electorate_id = :id AND member_id = ANY(:members) LIMIT 5
""")
_ROLL = text("""
    SELECT member_id, weight FROM imported_weights WHERE electorate_id = :id
    ORDER BY member_id COLLATE "C"
""")


def import_roll(
    session: Session,
    electorate: str,
    roll: Sequence[tuple[str, str]],
    *,
    last: bool,
    source: str | None = None,
    actor: str,
    at: datetime,
    command: str | None,
) -> None:
    """Add voters to a roll that is being made, and seal it with the ``last`` part.

    ``roll`` holds (member, weight as decimal text ≥ 0). Outside a sandbox ``source`` is one that
    governance registered. Refused: ``SOURCE_UNKNOWN``, ``ELECTORATE_SEALED``, ``MEMBER_TWICE``,
    bad ids and numbers.
    """
    if not is_sandbox(session):
        require_source(session, require_id("source", source))
    require_id("electorate", electorate)
    if electorate.startswith(BALANCE):
        raise Refused("ID_INVALID", f"a roll named {BALANCE}... is made of holdings, not imported")
    weights = {require_id("member", member): _weight(weight) for member, weight in roll}
    if len(weights) != len(roll):
        raise Refused("MEMBER_TWICE", "this part of the roll names a member twice")
    lock_name(session, f"electorate.{electorate}")
    if session.execute(_SEALED, {"id": electorate}).scalar_one_or_none() is not None:
        raise Refused("ELECTORATE_SEALED", f"electorate {electorate!r} is sealed and cannot change")
    present = run(session, _PRESENT, id=electorate, members=list(weights))
    if present:
        raise Refused("MEMBER_TWICE", f"already in the roll: {present[0].member_id!r}")
    data = {"roll": [list(pair) for pair in weights.items()]}
    append(session, [Entry(IMPORTED, at, actor, electorate, data, command)])
    if last:
        digest = roll_digest(
            [(row.member_id, row.weight) for row in run(session, _ROLL, id=electorate)]
        )
        append(session, [Entry(SEALED, at, actor, electorate, {"digest": digest}, command)])


def roll_digest(roll: Sequence[tuple[str, object]]) -> str:
    """Hex SHA-256 over the roll in byte order of its ids: one JSON pair a line."""
    digest = hashlib.sha256()
    for member, weight in roll:
        exact = to_decimal_string(parse_decimal(weight, name="weight", most_digits=4_000))
        digest.update((as_json([member, exact]) + "\n").encode())
    return digest.hexdigest()


def _weight(weight: object) -> str:
    number = parse_decimal(weight, name="weight")
    if number < 0:
        raise Refused("NUMBER_INVALID", "a weight is never negative")
    return to_decimal_string(number)
