"""The rows of counted ballots, written without the pipeline: what the two peers of ours write.

Same tables and indexes (a second database with the same migrations), same values of the same
length, same bytes by the same encoder. No rule is checked, no weight looked up, no job,
lock or answer kept: the peers do less than the pipeline does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812  # a class in lower case
from sqlalchemy.engine import make_url

from forge_core.clock import rfc3339
from forge_core.ledger.canonical import canonical_bytes

DATABASE = "forge_peers"
ISSUER = "bench"

Given = tuple[str, str, str, str]
"""command id, proposal, member, choice."""

_COMMANDS = """
    INSERT INTO commands (issuer, command_id, content_hash, accepted_at, ballot_id, state)
    SELECT issuer, command_id, decode(content, 'hex'), accepted_at, ballot_id, 'accepted'
    FROM json_to_recordset(%s) AS given (issuer text, command_id uuid, content text,
        accepted_at timestamptz, ballot_id bigint)
"""
_INBOX = """
    INSERT INTO ballot_inbox (ballot_id, proposal_id, member_id, choice, weight, accepted_at,
        issuer, command_id)
    SELECT * FROM json_to_recordset(%s) AS given (ballot_id bigint, proposal_id text,
        member_id text, choice text, weight numeric, accepted_at timestamptz, issuer text,
        command_id uuid)
"""
_TAKE = """
    DELETE FROM ballot_inbox RETURNING ballot_id, proposal_id, member_id, choice, weight,
        accepted_at, issuer, command_id
"""
_LEDGER = """
    INSERT INTO ledger_entries (kind, subject, body)
    SELECT 'ballot.cast', subject, convert_to(body, 'UTF8')
    FROM json_to_recordset(%s) AS given (subject text, body text)
"""
_HISTORY = """
    INSERT INTO ballots (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer,
        command_id, counted)
    SELECT ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id, true
    FROM json_to_recordset(%s) AS given (ballot_id bigint, proposal_id text, member_id text,
        choice text, weight numeric, accepted_at timestamptz, issuer text, command_id uuid)
"""
_EFFECTIVE = """
    INSERT INTO effective_ballots (proposal_id, member_id, ballot_id, choice, weight)
    SELECT DISTINCT ON (proposal_id, member_id) proposal_id, member_id, ballot_id, choice, weight
    FROM json_to_recordset(%s) AS given (ballot_id bigint, proposal_id text, member_id text,
        choice text, weight numeric)
    ORDER BY proposal_id, member_id, ballot_id DESC
    ON CONFLICT (proposal_id, member_id) DO UPDATE
    SET ballot_id = excluded.ballot_id, choice = excluded.choice, weight = excluded.weight
    WHERE excluded.ballot_id > effective_ballots.ballot_id
"""
# Without taking off what a re-vote replaces: even that is left to the pipeline.
_TALLY = """
    UPDATE tallies SET for_weight = for_weight + change.weight,
        for_ballots = for_ballots + change.ballots
    FROM (
        SELECT proposal_id, sum(weight) AS weight, count(*) AS ballots
        FROM json_to_recordset(%s) AS given (proposal_id text, weight numeric)
        GROUP BY proposal_id
    ) AS change
    WHERE tallies.proposal_id = change.proposal_id
"""


def connect(url: str) -> Connection:
    """A plain connection of the driver to a SQLAlchemy address."""
    address = make_url(url)
    connection: Connection = psycopg2.connect(
        host=address.query["host"],
        user=address.username,
        password=address.password,
        dbname=address.database,
    )
    return connection


def write_batch(cursor: Cursor, ballots: Sequence[Given], first: int) -> None:
    """Everything for a batch: in through the inbox, out into ledger, history and tally."""
    now = rfc3339(datetime.now(UTC))
    accepted = [
        {
            "ballot_id": first + position,
            "proposal_id": proposal,
            "member_id": member,
            "choice": choice,
            "weight": "1",
            "accepted_at": now,
            "issuer": ISSUER,
            "command_id": command,
            "content": _content(proposal, member, choice),
        }
        for position, (command, proposal, member, choice) in enumerate(ballots)
    ]
    rows = json.dumps(accepted)
    cursor.execute(_COMMANDS, (rows,))
    cursor.execute(_INBOX, (rows,))
    cursor.execute(_TAKE)
    cursor.execute(_LEDGER, (json.dumps([_entry(row, now) for row in cursor.fetchall()]),))
    _count(cursor, rows)


def write_one(cursor: Cursor, ballot: Given, number: int) -> None:
    """The same for one ballot; a task needs no inbox."""
    command, proposal, member, choice = ballot
    moment = datetime.now(UTC)
    now = rfc3339(moment)
    cursor.execute(
        "INSERT INTO commands (issuer, command_id, content_hash, accepted_at, ballot_id, state) "
        "VALUES (%s, %s, decode(%s, 'hex'), %s, %s, 'accepted')",
        (ISSUER, command, _content(proposal, member, choice), now, number),
    )
    entry = _entry((number, proposal, member, choice, 1, moment, ISSUER, UUID(command)), now)
    cursor.execute(
        "INSERT INTO ledger_entries (kind, subject, body) VALUES ('ballot.cast', "
        "%(subject)s, convert_to(%(body)s, 'UTF8'))",
        entry,
    )
    cursor.execute(
        "INSERT INTO ballots (ballot_id, proposal_id, member_id, choice, weight, accepted_at, "
        "issuer, command_id, counted) VALUES (%s, %s, %s, %s, 1, %s, %s, %s, true)",
        (number, proposal, member, choice, now, ISSUER, command),
    )
    cursor.execute(
        "INSERT INTO effective_ballots (proposal_id, member_id, ballot_id, choice, weight) "
        "VALUES (%s, %s, %s, %s, 1) ON CONFLICT (proposal_id, member_id) DO UPDATE "
        "SET ballot_id = excluded.ballot_id, choice = excluded.choice, weight = excluded.weight "
        "WHERE excluded.ballot_id > effective_ballots.ballot_id",
        (proposal, member, number, choice),
    )
    cursor.execute(
        "UPDATE tallies SET for_weight = for_weight + 1, for_ballots = for_ballots + 1 "
        "WHERE proposal_id = %s",
        (proposal,),
    )


def _count(cursor: Cursor, rows: str) -> None:
    for statement in (_HISTORY, _EFFECTIVE, _TALLY):
        cursor.execute(statement, (rows,))


def _content(proposal: str, member: str, choice: str) -> str:
    return hashlib.sha256(json.dumps([proposal, member, choice]).encode()).hexdigest()


def _entry(row: tuple[object, ...], now: str) -> dict[str, str]:
    ballot_id, proposal, member, choice, weight, accepted_at, issuer, command = row
    assert isinstance(accepted_at, datetime)  # noqa: S101  # the column's type
    body = canonical_bytes({
        "v": 1,
        "kind": "ballot.cast",
        "at": now,
        "actor": member,
        "subject": proposal,
        "data": {
            "ballot": str(ballot_id),
            "choice": choice,
            "weight": str(weight),
            "accepted_at": rfc3339(accepted_at),
            "issuer": issuer,
            "command": str(command),
        },
    })  # fmt: skip
    return {"subject": str(proposal), "body": body.decode()}
