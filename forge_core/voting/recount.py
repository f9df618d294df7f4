"""Recounting from the effective ballots, for the decision: delegated weight included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.voting.tally import Totals

SIDES = ("for", "against", "abstain")

_SUMS = """coalesce(sum(weight) FILTER (WHERE choice = 'for'), 0) AS for_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'against'), 0) AS against_weight,
        coalesce(sum(weight) FILTER (WHERE choice = 'abstain'), 0) AS abstain_weight,
        count(*) FILTER (WHERE choice = 'for') AS for_ballots,
        count(*) FILTER (WHERE choice = 'against') AS against_ballots,
        count(*) FILTER (WHERE choice = 'abstain') AS abstain_ballots,
        count(*) FILTER (WHERE choice = 'for' AND weight > 0) AS yes_voters,
        coalesce(max(weight) FILTER (WHERE choice = 'for'), 0) AS largest_yes"""

# Who is at level QUARANTINE is read once, so that every total speaks of the same people.
_STANDS = "<> ALL(CAST(:aside AS text[]))"
_QUARANTINED = text("SELECT id FROM members WHERE level = 'QUARANTINE'")

_TOTALS = """
    SELECT proposal_id,
        {sums}
    FROM effective_ballots
    WHERE proposal_id = ANY(:ids) {standing}
    GROUP BY proposal_id
"""
OWN_WEIGHT = text(_TOTALS.format(sums=_SUMS, standing=""))
_STANDING = text(_TOTALS.format(sums=_SUMS, standing=f"AND member_id {_STANDS}"))
_SET_ASIDE = text("""
    SELECT proposal_id, member_id, choice, weight FROM effective_ballots
    WHERE proposal_id = ANY(:ids) AND member_id = ANY(CAST(:aside AS text[]))
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
        {sums}
    FROM held
"""
_DELEGATED_ALL = text(_DELEGATED.format(sums=_SUMS, standing=""))
_DELEGATED_STANDING = text(
    _DELEGATED.format(
        sums=_SUMS,
        standing=f"AND carried.member_id {_STANDS} AND caster.member_id {_STANDS}",
    )
)
_HAVE_EDGES = text("""
    SELECT id FROM proposals WHERE id = ANY(:ids) AND EXISTS (
        SELECT FROM delegations
        WHERE scope IN ('*', proposals.type) AND from_version <= proposals.electorate_version
    )
    ORDER BY id
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
    quarantined = [row.id for row in run(session, _QUARANTINED)]
    standing = {row.proposal_id: row for row in run(session, _STANDING, ids=ids, aside=quarantined)}
    everyone = dict(standing)
    aside: dict[str, list[Mapping[str, str]]] = {}
    for row in run(session, _SET_ASIDE, ids=ids, aside=quarantined) if quarantined else ():
        aside.setdefault(row.proposal_id, []).append(
            {"member": row.member_id, "choice": row.choice, "weight": format(row.weight, "f")}
        )
    if aside:
        everyone |= {row.proposal_id: row for row in run(session, OWN_WEIGHT, ids=sorted(aside))}
    for id_ in with_delegations(session, ids):
        (standing[id_],) = run(session, _DELEGATED_STANDING, id=id_, aside=quarantined)
        (everyone[id_],) = run(session, _DELEGATED_ALL, id=id_)
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


def with_delegations(session: Session, ids: Sequence[str]) -> list[str]:
    """Those whose frozen roll may hold delegations, in the order of their ids."""
    return [row.id for row in run(session, _HAVE_EDGES, ids=list(ids))]


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
