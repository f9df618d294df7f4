"""Recounting from the effective ballots: for the decision, and to check the running counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.voting.tally import Totals

SIDES = ("for", "against", "abstain")

# Who is at level QUARANTINE while the close holds its lock is set aside. The subquery is hashed
# once and is nearly always empty.
_TOTALS = """
    SELECT proposal_id,
        coalesce(sum(weight) FILTER (WHERE choice = 'for'), 0) AS for_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'against'), 0) AS against_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'abstain'), 0) AS abstain_weight,
        count(*) FILTER (WHERE choice = 'for') AS for_ballots,
        count(*) FILTER (WHERE choice = 'against') AS against_ballots,
        count(*) FILTER (WHERE choice = 'abstain') AS abstain_ballots,
        count(*) FILTER (WHERE choice = 'for' AND weight > 0) AS yes_voters,
        coalesce(max(weight) FILTER (WHERE choice = 'for'), 0) AS largest_yes
    FROM effective_ballots
    WHERE proposal_id = ANY(:ids) {standing}
    GROUP BY proposal_id
"""
_ALL = text(_TOTALS.format(standing=""))
_STANDING = text(
    _TOTALS.format(
        standing="AND member_id NOT IN (SELECT id FROM members WHERE level = 'QUARANTINE')"
    )
)
_SET_ASIDE = text("""
    SELECT proposal_id, member_id, choice, weight FROM effective_ballots
    WHERE proposal_id = ANY(:ids)
        AND member_id IN (SELECT id FROM members WHERE level = 'QUARANTINE')
    ORDER BY proposal_id, member_id
""")

_DELEGATED = """
    WITH RECURSIVE proposal AS (
        SELECT * FROM proposals WHERE id = :id
    ), caster AS MATERIALIZED (
        SELECT member_id, choice, weight FROM effective_ballots WHERE proposal_id = :id
    ), edge AS MATERIALIZED (
        -- The frozen edge of each member: that of the type, else the general one.
        SELECT DISTINCT ON (delegator) delegator, delegate
        FROM delegations, proposal
        WHERE scope IN ('*', proposal.type) AND from_version <= proposal.electorate_version
            AND (until_version IS NULL OR until_version > proposal.electorate_version)
            AND (delegations.expires_at IS NULL OR delegations.expires_at > proposal.opened_at)
        ORDER BY delegator, scope = '*'
    ), carried AS (
        -- From each caster backwards along the edges of those who did not cast: everybody is
        -- reached at most once, because everybody has at most one edge.
        SELECT member_id AS caster, member_id, weight FROM caster
        UNION ALL
        SELECT carried.caster, edge.delegator, roll.weight
        FROM carried
        JOIN edge ON edge.delegate = carried.member_id
        CROSS JOIN LATERAL (
            SELECT coalesce(
                CASE WHEN proposal.electorate IS NOT NULL THEN (
                    SELECT imported_weights.weight FROM imported_weights
                    WHERE electorate_id = proposal.electorate AND member_id = edge.delegator
                ) ELSE (
                    SELECT CASE WHEN active THEN (proposal.weights ->> level)::numeric END
                    FROM member_levels
                    WHERE member_id = edge.delegator AND version <= proposal.electorate_version
                    ORDER BY version DESC LIMIT 1
                ) END, 0) AS weight
            FROM proposal
        ) AS roll
        WHERE edge.delegator NOT IN (SELECT member_id FROM caster)
    ), held AS (
        SELECT caster.member_id, caster.choice, sum(carried.weight) AS weight
        FROM caster JOIN carried ON carried.caster = caster.member_id
        WHERE true {standing}
        GROUP BY caster.member_id, caster.choice
    )
    SELECT
        coalesce(sum(weight) FILTER (WHERE choice = 'for'), 0) AS for_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'against'), 0) AS against_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'abstain'), 0) AS abstain_weight,
        count(*) FILTER (WHERE choice = 'for') AS for_ballots,
        count(*) FILTER (WHERE choice = 'against') AS against_ballots,
        count(*) FILTER (WHERE choice = 'abstain') AS abstain_ballots,
        count(*) FILTER (WHERE choice = 'for' AND weight > 0) AS yes_voters,
        coalesce(max(weight) FILTER (WHERE choice = 'for'), 0) AS largest_yes
    FROM held
"""
_DELEGATED_ALL = text(_DELEGATED.format(standing=""))
_DELEGATED_STANDING = text(
    _DELEGATED.format(
        standing="AND carried.member_id NOT IN (SELECT id FROM members WHERE level = 'QUARANTINE')"
        " AND caster.member_id NOT IN (SELECT id FROM members WHERE level = 'QUARANTINE')"
    )
)
_HAVE_EDGES = text("""
    SELECT id FROM proposals WHERE id = ANY(:ids) AND EXISTS (
        SELECT FROM delegations
        WHERE scope IN ('*', proposals.type) AND from_version <= proposals.electorate_version
    )
""")


@dataclass(frozen=True)
class Counted:
    """The totals of one proposal: those that decide, those with every ballot, who is set aside."""

    standing: Totals
    everyone: Totals
    ballots: Mapping[str, int]
    set_aside: tuple[Mapping[str, str], ...]


def recount(session: Session, eligible: Mapping[str, Fraction | int]) -> dict[str, Counted]:
    """Count the effective ballots of locked proposals, delegated weight included.

    ``eligible`` maps each proposal to its frozen total weight.
    """
    ids = sorted(eligible)
    standing = {row.proposal_id: row for row in run(session, _STANDING, ids=ids)}
    everyone = dict(standing)
    aside: dict[str, list[Mapping[str, str]]] = {}
    for row in run(session, _SET_ASIDE, ids=ids):
        aside.setdefault(row.proposal_id, []).append(
            {"member": row.member_id, "choice": row.choice, "weight": format(row.weight, "f")}
        )
    if aside:
        everyone |= {row.proposal_id: row for row in run(session, _ALL, ids=sorted(aside))}
    for row in run(session, _HAVE_EDGES, ids=ids):
        standing[row.id] = session.execute(_DELEGATED_STANDING, {"id": row.id}).one()
        everyone[row.id] = session.execute(_DELEGATED_ALL, {"id": row.id}).one()
    return {
        id_: Counted(
            standing=_totals(standing.get(id_), eligible[id_]),
            everyone=_totals(everyone.get(id_), eligible[id_]),
            ballots={
                side: getattr(standing[id_], f"{side}_ballots") if id_ in standing else 0
                for side in SIDES
            },
            set_aside=tuple(aside.get(id_, ())),
        )
        for id_ in ids
    }


def _totals(row: Row[Any] | None, eligible: Fraction | int) -> Totals:
    if row is None:
        return Totals(for_=0, against=0, abstain=0, eligible=eligible, yes_voters=0, largest_yes=0)
    return Totals(
        for_=row.for_weight,
        against=row.against_weight,
        abstain=row.abstain_weight,
        eligible=eligible,
        yes_voters=row.yes_voters,
        largest_yes=row.largest_yes,
    )


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
    counted = {row.proposal_id: row for row in run(session, _ALL, ids=ids)}
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
