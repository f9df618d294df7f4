"""Checking the running counters against a full count of own weights: ``votes.recount``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.voting.recount import OWN_WEIGHT, SIDES

TALLY_CORRECTED = EntryKind.of(
    "tally.corrected",
    """
    UPDATE tallies SET
        for_weight = (data #>> '{after,for_weight}')::numeric,
        against_weight = (data #>> '{after,against_weight}')::numeric,
        abstain_weight = (data #>> '{after,abstain_weight}')::numeric,
        for_ballots = (data #>> '{after,for_ballots}')::bigint,
        against_ballots = (data #>> '{after,against_ballots}')::bigint,
        abstain_ballots = (data #>> '{after,abstain_ballots}')::bigint
    FROM forge_entries(:ids) AS entry WHERE proposal_id = entry.subject
    """,
)

_LOCK = text("SELECT FROM proposals WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
_RUNNING = text("""
    SELECT tallies.* FROM tallies JOIN proposals ON proposals.id = tallies.proposal_id
    WHERE proposal_id = ANY(:ids) AND status = 'active'
""")
_NOTE = text("""
    INSERT INTO recounts (proposal_id, revotes, recounted_at, corrections)
    VALUES (:id, :revotes, :at, :corrections)
    ON CONFLICT (proposal_id) DO UPDATE
    SET revotes = excluded.revotes, recounted_at = excluded.recounted_at,
        corrections = recounts.corrections + excluded.corrections
""")
_COLUMNS = tuple(f"{side}_{unit}" for side in SIDES for unit in ("weight", "ballots"))


def check_tallies(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``votes.recount``: running counters against a full count of own weights.

    A difference becomes an entry that corrects the counters and says what they were. Running it
    twice finds nothing the second time.
    """
    ids = sorted({str(job.payload["proposal_id"]) for job in jobs})
    session.execute(_LOCK, {"ids": ids})
    now = forge_now(session)
    counted = {row.proposal_id: row for row in run(session, OWN_WEIGHT, ids=ids)}
    for running in run(session, _RUNNING, ids=ids):
        full = counted.get(running.proposal_id)
        before = {name: _plain(getattr(running, name)) for name in _COLUMNS}
        after = {name: _plain(getattr(full, name)) if full else "0" for name in _COLUMNS}
        differs = any(Fraction(before[name]) != Fraction(after[name]) for name in _COLUMNS)
        if differs:
            data = {"before": before, "after": after}
            append(
                session, [Entry(TALLY_CORRECTED, now, "rule:recount", running.proposal_id, data)]
            )
        session.execute(
            _NOTE,
            {
                "id": running.proposal_id,
                "revotes": running.revotes,
                "at": now,
                "corrections": int(differs),
            },
        )
    return [Outcome.done() for _ in jobs]


def _plain(number: Any) -> str:
    return format(number, "f") if not isinstance(number, int) else str(number)


STALE = Derivation(
    "stale tallies",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'votes.recount', 'recount:' || proposal_id, false,
            jsonb_build_object('proposal_id', proposal_id), 'system'
        FROM tallies
            JOIN proposals ON proposals.id = tallies.proposal_id AND proposals.status = 'active'
            LEFT JOIN recounts USING (proposal_id)
        WHERE tallies.revotes > 0 AND tallies.revotes > coalesce(recounts.revotes, 0)
            AND coalesce(recounts.recounted_at, '-infinity')
                < (SELECT forge_now()) - INTERVAL '10 seconds'
            AND NOT EXISTS (
                SELECT FROM jobs
                WHERE jobs.key = 'recount:' || tallies.proposal_id AND jobs.state = 'dead'
            )
        ORDER BY proposal_id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)
