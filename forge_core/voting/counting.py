"""The chore ``votes.count``: move accepted ballots out of the inbox, many at a time.

The inbox is its own memory: a lost wake-up or a killed worker leaves the rows where they are.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.voting.ballots import count_ballots

MOST_PROPOSALS = 100
MOST_BALLOTS = 2_000

# Distinct proposals by skipping along the index, not by reading the whole inbox. Proposals that
# another worker counts, or that are being closed or cancelled, are skipped.
_LOCK = text("""
    WITH RECURSIVE waiting AS (
        (SELECT proposal_id FROM ballot_inbox ORDER BY proposal_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT inbox.proposal_id FROM ballot_inbox AS inbox
            WHERE inbox.proposal_id > waiting.proposal_id
            ORDER BY inbox.proposal_id LIMIT 1
        )
        FROM waiting WHERE waiting.proposal_id IS NOT NULL
    )
    SELECT id FROM proposals
    WHERE id IN (SELECT proposal_id FROM waiting WHERE proposal_id IS NOT NULL)
    ORDER BY id
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
""")

BACKLOG = text("""
    SELECT EXISTS (
        SELECT FROM ballot_inbox WHERE accepted_at < forge_now() - INTERVAL '0.5 seconds'
    )
""")


def count(session: Session) -> bool:
    """Count up to 2,000 ballots of up to 100 proposals; True when a full load suggests more.

    Safe to run any number of times at once: row locks keep two counters of one proposal apart,
    and what is counted has left the inbox in the same transaction.
    """
    locked = [row.id for row in run(session, _LOCK, limit=MOST_PROPOSALS)]
    if not locked:
        return False
    moved = count_ballots(session, locked, limit=MOST_BALLOTS)
    return len(moved) == MOST_BALLOTS or len(locked) == MOST_PROPOSALS
