"""Ballots: from the inbox to the history, the effective ballots and the running counters.

One entry a ballot, fixed to the last byte when the ballot is accepted: its leaf can be promised
then. Whatever order ballots of one voter are folded in, the one with the greatest number is
effective: numbers are given at acceptance, by one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, rfc3339
from forge_core.database import run
from forge_core.ledger.entries import Entry, EntryKind, append

# The proposal's row lock is held: nobody else changes its effective ballots or its tally.
#
# A ballot that reached the ledger after its proposal was cancelled is history and no more.
BALLOT_CAST = EntryKind.of(
    "ballot.cast",
    """
    WITH entry AS MATERIALIZED (
        SELECT cast_.subject AS proposal_id, cast_.actor AS member_id,
            (data ->> 'ballot')::bigint AS ballot_id, data ->> 'choice' AS choice,
            (data ->> 'weight')::numeric AS weight,
            (data ->> 'accepted_at')::timestamptz AS accepted_at,
            data ->> 'issuer' AS issuer, (data ->> 'command')::uuid AS command_id,
            coalesce((data ->> 'counted')::boolean, proposals.status = 'active') AS counted
        FROM forge_entries(:ids) AS cast_ JOIN proposals ON proposals.id = cast_.subject
    ), history AS (
        INSERT INTO ballots (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer,
            command_id, counted)
        SELECT ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id,
            counted
        FROM entry
    ), latest AS MATERIALIZED (
        SELECT DISTINCT ON (proposal_id, member_id)
            proposal_id, member_id, ballot_id, choice, weight
        FROM entry WHERE counted ORDER BY proposal_id, member_id, ballot_id DESC
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
        SELECT proposal_id, count(*) AS ballots FROM entry WHERE counted GROUP BY proposal_id
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
    formerly=("ballot.counted", "ballot.uncounted"),
    together=True,
)

_TAKE = text("""
    WITH taken AS (
        DELETE FROM ballot_inbox WHERE ballot_id IN (
            SELECT ballot_id FROM ballot_inbox WHERE proposal_id = ANY(:proposals)
            ORDER BY ballot_id LIMIT :limit
        )
        RETURNING ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id
    )
    SELECT ballot_id, proposal_id, member_id, choice, weight::text, accepted_at, issuer,
        command_id::text AS command_id
    FROM taken ORDER BY ballot_id
""")


def count_ballots(session: Session, proposals: Sequence[str], *, limit: int) -> list[str]:
    """Move up to ``limit`` ballots of locked proposals out of the inbox and count them.

    Returns the proposal of each ballot moved, in ballot order. The caller holds the proposals'
    row locks (FOR NO KEY UPDATE or stronger).
    """
    return _move(session, proposals, limit)


def leave_uncounted(session: Session, proposal: str) -> None:
    """Move what is left in the inbox of a proposal cancelled in this step to the history."""
    _move(session, [proposal], None)


def _move(session: Session, proposals: Sequence[str], limit: int | None) -> list[str]:
    rows = run(session, _TAKE, proposals=list(proposals), limit=limit)
    append(session, [ballot_entry(row) for row in rows])
    return [row.proposal_id for row in rows]


def ballot_entry(ballot: Row[Any]) -> Entry:
    """The entry of an accepted ballot; a function of what was accepted and of nothing else.

    ``ballot``: ballot_id, proposal_id, member_id, choice, weight (text), accepted_at, issuer,
    command_id.
    """
    accepted_at = as_utc(ballot.accepted_at)
    data = {
        "ballot": str(ballot.ballot_id),
        "choice": ballot.choice,
        "weight": ballot.weight,
        "accepted_at": rfc3339(accepted_at),
        "issuer": ballot.issuer,
        "command": str(ballot.command_id),
    }
    return Entry(BALLOT_CAST, accepted_at, ballot.member_id, ballot.proposal_id, data)
