"""Who could vote on a proposal and with what weight, for looking: all members, or a roll."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Value
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.members.holdings import is_balance_roll, present_roll, require_balance_source
from forge_core.members.levels import TrustLevel
from forge_core.proposals.locking import LockedProposal
from forge_core.proposals.weights import COIN_SHARE, weight_table
from forge_core.text import require_id

_COUNTS = text("SELECT core, trusted, standard, sandbox, quarantine FROM electorate")
_COUNTS_AT = text("""
    SELECT level, count(*) AS members
    FROM (
        SELECT DISTINCT ON (member_id) level, active FROM member_levels
        WHERE version <= :version ORDER BY member_id, version DESC
    ) AS roll
    WHERE active GROUP BY level
""")
_SEALED = text("""
    SELECT members, weight FROM imported_electorates WHERE id = :id AND sealed_at IS NOT NULL
""")


def require_roll(session: Session, electorate: object) -> str:
    """The roll that a draft may name; ELECTORATE_UNKNOWN and its like, as at creation."""
    name = require_id("electorate", electorate)
    if is_balance_roll(name):
        require_balance_source(session, name)
    elif session.execute(_SEALED, {"id": name}).one_or_none() is None:
        raise Refused("ELECTORATE_UNKNOWN", f"there is no sealed electorate {name!r}")
    return name


def eligible(
    session: Session,
    values: Mapping[str, Value],
    electorate: str | None,
    proposal: LockedProposal | None = None,
) -> dict[str, Any]:
    """The electorate of ``proposal``: frozen if it was opened, else as opening would freeze it.

    ``members`` and ``weight`` are of those who may vote; ``levels`` has each level with the weight
    of one ballot, for ``kind`` trust. ``problem`` says why there is no such roll now.
    """
    if electorate is not None:
        try:
            return _roll(session, electorate, values)
        except Refused as refusal:
            return _told(electorate, members=0, weight=Fraction(0), problem=refusal.message)
    if proposal is not None and proposal.weights is not None:
        weights = {TrustLevel(level): parse_decimal(w) for level, w in proposal.weights.items()}
        rows = run(session, _COUNTS_AT, version=proposal.electorate_version)
        counts = {TrustLevel(row.level): row.members for row in rows}
    else:
        weights = weight_table(values)
        row = session.execute(_COUNTS).one()
        counts = {level: getattr(row, level.value.lower()) for level in TrustLevel}
    voting = [level for level in TrustLevel if counts.get(level) and weights[level] > 0]
    return {
        **_told(
            None,
            members=sum(counts[level] for level in voting),
            weight=sum((weights[level] * counts[level] for level in voting), Fraction(0)),
        ),
        "levels": [
            {
                "level": level.value,
                "members": counts[level],
                "weight": to_decimal_string(weights[level]),
                "total": to_decimal_string(weights[level] * counts[level]),
            }
            for level in voting
        ],
    }


def _roll(session: Session, name: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """A sealed roll, or the one that opening would make of what a source says members hold."""
    sealed = session.execute(_SEALED, {"id": name}).one_or_none()
    if sealed is not None:
        return _told(name, members=sealed.members, weight=Fraction(sealed.weight))
    source = require_balance_source(session, require_roll(session, name))
    roll = present_roll(session, source, coin_share=parse_decimal(values[COIN_SHARE]))
    total = sum((Fraction(weight) for _, weight in roll), Fraction(0))
    return _told(name, members=len(roll), weight=total)


def _told(
    name: str | None, *, members: int, weight: Fraction, problem: str | None = None
) -> dict[str, Any]:
    kind = "trust" if name is None else "balance" if is_balance_roll(name) else "imported"
    return {
        "kind": kind,
        "name": name,
        "members": members,
        "weight": to_decimal_string(weight),
        "levels": [],
        "problem": problem,
    }
