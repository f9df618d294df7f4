"""Ballots: from the inbox to the history, the effective ballots and the running counters.

One entry a ballot. Whatever order ballots of one voter are folded in, the one with the greatest
number is effective: numbers are given at acceptance, by one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import run
from forge_core.ledger.entries import Entry, EntryKind, append

# The proposal's row lock is held: nobody else changes its effective ballots or its tally.
BALLOT_COUNTED = EntryKind.of(
    "ballot.counted",
    """
    WITH entry AS MATERIALIZED (
        SELECT subject AS proposal_id, actor AS member_id, (data ->> 'ballot')::bigint AS ballot_id,
            data ->> 'choice' AS choice, (data ->> 'weight')::numeric AS weight,
            (data ->> 'accepted_at')::timestamptz AS accepted_at,
            data ->> 'issuer' AS issuer, (data ->> 'command')::uuid AS command_id
        FROM forge_entries(:ids)
    ), history AS (
        INSERT INTO ballots (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer,
            command_id, counted)
        SELECT ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id,
            true
        FROM entry
    ), latest AS MATERIALIZED (
        SELECT DISTINCT ON (proposal_id, member_id)
            proposal_id, member_id, ballot_id, choice, weight
        FROM entry ORDER BY proposal_id, member_id, ballot_id DESC
    ), earlier AS MATERIALIZED (
        SELECT effective.* FROM latest JOIN effective_ballots AS effective
            USING (proposal_id, member_id)
    ), now_effective AS (
        INSERT INTO effective_ballots (proposal_id, member_id, ballot_id, choice, weight)
        SELECT proposal_id, member_id, ballot_id, choice, weight FROM latest
        ON CONFLICT (proposal_id, member_id) DO UPDATE
        SET ballot_id = excluded.ballot_id, choice = excluded.choice, weight = excluded.weight
        WHERE excluded.ballot_id > effective_ballots.ballot_id
        RETURNING proposal_id, member_id, choice, weight
    ), step AS (
        SELECT proposal_id, choice, weight, 1 AS ballots FROM now_effective
        UNION ALL
        SELECT proposal_id, earlier.choice, -earlier.weight, -1
        FROM earlier JOIN now_effective USING (proposal_id, member_id)
    ), change AS (
        SELECT proposal_id,
            coalesce(sum(weight) FILTER (WHERE choice = 'for'), 0) AS for_weight,
            coalesce(sum(weight) FILTER (WHERE choice = 'against'), 0) AS against_weight,
            coalesce(sum(weight) FILTER (WHERE choice = 'abstain'), 0) AS abstain_weight,
            coalesce(sum(ballots) FILTER (WHERE choice = 'for'), 0) AS for_ballots,
            coalesce(sum(ballots) FILTER (WHERE choice = 'against'), 0) AS against_ballots,
            coalesce(sum(ballots) FILTER (WHERE choice = 'abstain'), 0) AS abstain_ballots
        FROM step GROUP BY proposal_id
    ), counted AS (
        SELECT proposal_id, count(*) AS ballots FROM entry GROUP BY proposal_id
    )
    UPDATE tallies SET
        for_weight = tallies.for_weight + change.for_weight,
        against_weight = tallies.against_weight + change.against_weight,
        abstain_weight = tallies.abstain_weight + change.abstain_weight,
        for_ballots = tallies.for_ballots + change.for_ballots,
        against_ballots = tallies.against_ballots + change.against_ballots,
        abstain_ballots = tallies.abstain_ballots + change.abstain_ballots,
        revotes = tallies.revotes + counted.ballots
            - change.for_ballots - change.against_ballots - change.abstain_ballots
    FROM counted JOIN (
        -- A ballot that is older than the effective one changes nothing but the history.
        SELECT * FROM change
        UNION ALL
        SELECT proposal_id, 0, 0, 0, 0, 0, 0 FROM counted
        WHERE proposal_id NOT IN (SELECT proposal_id FROM change)
    ) AS change USING (proposal_id)
    WHERE tallies.proposal_id = counted.proposal_id
    """,
)

BALLOT_UNCOUNTED = EntryKind.of(
    "ballot.uncounted",
    """
    INSERT INTO ballots (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer,
        command_id, counted)
    SELECT (data ->> 'ballot')::bigint, subject, actor, data ->> 'choice',
        (data ->> 'weight')::numeric, (data ->> 'accepted_at')::timestamptz, data ->> 'issuer',
        (data ->> 'command')::uuid, false
    FROM forge_entries(:ids)
    """,
)

_TAKE = text("""
    WITH taken AS (
        DELETE FROM ballot_inbox WHERE ballot_id IN (
            SELECT ballot_id FROM ballot_inbox WHERE proposal_id = ANY(:proposals)
            ORDER BY ballot_id LIMIT :limit
        )
        RETURNING ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id
    )
    SELECT ballot_id::text AS ballot, proposal_id, member_id, choice, weight::text, accepted_at,
        issuer, command_id::text AS command
    FROM taken ORDER BY ballot_id
""")


def count_ballots(
    session: Session, proposals: Sequence[str], *, limit: int, at: datetime
) -> list[str]:
    """Move up to ``limit`` ballots of locked proposals out of the inbox and count them.

    Returns the proposal of each ballot moved, in ballot order. The caller holds the proposals'
    row locks (FOR NO KEY UPDATE or stronger).
    """
    rows = run(session, _TAKE, proposals=list(proposals), limit=limit)
    append(session, [_entry(BALLOT_COUNTED, row, at) for row in rows])
    return [row.proposal_id for row in rows]


def leave_uncounted(session: Session, proposal: str, at: datetime) -> None:
    """Move what is left in a cancelled proposal's inbox to the history, as not counted."""
    rows = run(session, _TAKE, proposals=[proposal], limit=None)
    append(session, [_entry(BALLOT_UNCOUNTED, row, at) for row in rows])


def _entry(kind: EntryKind, row: Row[Any], at: datetime) -> Entry:
    data = {
        "ballot": row.ballot,
        "choice": row.choice,
        "weight": row.weight,
        "accepted_at": rfc3339(row.accepted_at),
        "issuer": row.issuer,
        "command": row.command,
    }
    return Entry(kind, at, row.member_id, row.proposal_id, data)
