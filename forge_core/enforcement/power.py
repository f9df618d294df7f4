"""What one member's ballot weighs, and why: by trust, by balance, or as frozen in a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Value
from forge_core.capabilities.registry import Registry
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.members.electorate import MemberNow, members_now
from forge_core.members.holdings import (
    balance_power,
    is_balance_roll,
    require_balance_source,
)
from forge_core.members.imported import BALANCE
from forge_core.members.levels import TrustLevel
from forge_core.proposals.locking import LockedProposal, read_proposals, require_proposal
from forge_core.proposals.weights import COIN_SHARE, weight_table
from forge_core.text import require_id, shown

RECORDED_ONLY: Final = "RECORDED_ONLY"

_LEVEL_AT = text("""
    SELECT level, active FROM member_levels
    WHERE member_id = :member AND version <= :version ORDER BY version DESC LIMIT 1
""")
_IN_ROLL = text("""
    SELECT weight FROM imported_weights WHERE electorate_id = :roll AND member_id = :member
""")
_BALLOT = text("""
    SELECT choice FROM effective_ballots WHERE proposal_id = :proposal AND member_id = :member
""")

# As of a version when one is given, else as of now. A type's edge outranks the general one.
_IN_FORCE = """
    edge.from_version <= coalesce(CAST(:version AS bigint), edge.from_version)
    AND (edge.until_version IS NULL OR edge.until_version > CAST(:version AS bigint))
    AND (edge.expires_at IS NULL OR edge.expires_at > :at)
    AND (CAST(:scope AS text) IS NULL OR edge.scope IN ('*', :scope))
"""
_TO = text(f"""
    SELECT scope, delegate FROM delegations AS edge
    WHERE delegator = :member AND {_IN_FORCE} ORDER BY scope = '*', scope
""")  # noqa: S608  # built from constants
_FROM = text(f"""
    SELECT scope, count(*) AS members FROM delegations AS edge
    WHERE delegate = :member AND {_IN_FORCE} AND NOT (
        edge.scope = '*' AND CAST(:scope AS text) IS NOT NULL AND EXISTS (
            SELECT FROM delegations AS own WHERE own.delegator = edge.delegator
                AND own.scope = :scope AND {_IN_FORCE.replace("edge.", "own.")}
        )
    )
    GROUP BY scope ORDER BY scope = '*', scope
""")  # noqa: S608  # built from constants


def voting_power(
    session: Session,
    registry: Registry,
    member: str,
    *,
    proposal: str | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """What the member's ballot weighs, with its breakdown, as plain JSON.

    By present trust; with ``source`` by what that source says they hold; with ``proposal`` as it
    was frozen at opening, or as it would be if it were opened now. ``can_vote``: whether a ballot
    of theirs is accepted where voting is open; ``why`` (code, message) says why not, with the code
    that it is refused with, or RECORDED_ONLY: accepted, and of no weight in an imported roll.

    Raises ID_INVALID, MEMBER_UNKNOWN, PROPOSAL_UNKNOWN, SOURCE_UNKNOWN, HOLDINGS_UNKNOWN.
    """
    found = members_now(session, [require_id("member", member)]).get(member)
    if found is None:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {shown(member)}")
    values = present_values(session, registry)
    known = None
    if proposal is not None:
        id_ = require_id("proposal", proposal)
        known = require_proposal(read_proposals(session, [id_]), id_)
    power = _power(session, found, values, known, source)
    weightless = power.pop("why")
    why = _may_not_act(found) or weightless
    return {
        "member": found.id,
        "level": found.level.value,
        "roles": sorted(found.roles),
        **power,
        "can_vote": why is None or why.code == RECORDED_ONLY,
        "why": None if why is None else {"code": why.code, "message": why.message},
        "proposal": None if known is None else _ballot(session, known, found.id),
        "delegation": _delegation(session, found.id, known),
    }


def _power(
    session: Session,
    member: MemberNow,
    values: Mapping[str, Value],
    proposal: LockedProposal | None,
    source: str | None,
) -> dict[str, Any]:
    electorate = None if source is None else f"{BALANCE}{source}"
    if proposal is not None:
        electorate = proposal.electorate
        if proposal.opened_at is not None:
            return _frozen(session, member.id, proposal)
    if electorate is None:
        weight = weight_table(values)[member.level]
        return _by_trust(member.level, weight if member.active else Fraction(0))
    if is_balance_roll(electorate):
        return _by_balance(session, member, electorate, values)
    return _by_roll(session, member.id, electorate)


def _frozen(session: Session, member: str, proposal: LockedProposal) -> dict[str, Any]:
    if proposal.electorate is not None:
        return _by_roll(session, member, proposal.electorate)
    version = proposal.electorate_version
    row = session.execute(_LEVEL_AT, {"member": member, "version": version}).one_or_none()
    if row is None or not row.active or proposal.weights is None:
        return {**_by_trust(None, Fraction(0)), "version": version}
    level = TrustLevel(row.level)
    weight = parse_decimal(proposal.weights[level.value])
    return {**_by_trust(level, weight), "version": version}


def _by_trust(level: TrustLevel | None, weight: Fraction) -> dict[str, Any]:
    why = None
    if level is None:
        why = Refused("VOTER_NOT_IN_ROLL", "they were no member when voting opened")
    elif level is TrustLevel.QUARANTINE:
        why = Refused("VOTER_NOT_IN_ROLL", "members at level QUARANTINE are in no roll")
    elif weight == 0:
        why = Refused("VOTER_WEIGHTLESS", f"a ballot of level {level} weighs nothing")
    return {
        "strategy": "trust",
        "weight": to_decimal_string(weight),
        "by": None if level is None else {"level": level.value},
        "why": why,
    }


def _by_roll(session: Session, member: str, roll: str) -> dict[str, Any]:
    weight = session.execute(_IN_ROLL, {"roll": roll, "member": member}).scalar_one_or_none()
    why = None
    if weight is None:
        why = Refused("VOTER_NOT_IN_ROLL", f"they are not in the roll {roll}")
    elif weight == 0:
        why = Refused(RECORDED_ONLY, "they are in the roll with weight 0: recorded, no more")
    return {
        "strategy": "balance" if is_balance_roll(roll) else "imported",
        "weight": to_decimal_string(Fraction(weight or 0)),
        "by": {"roll": roll},
        "why": why,
    }


def _by_balance(
    session: Session, member: MemberNow, electorate: str, values: Mapping[str, Value]
) -> dict[str, Any]:
    source = require_balance_source(session, electorate)
    share = parse_decimal(values[COIN_SHARE])
    power = balance_power(session, source, member.id, coin_share=share)
    weight, why = Fraction(0), None
    if power is None:
        why = Refused("VOTER_NOT_IN_ROLL", f"{source} has reported no holdings of theirs")
    elif not member.active or member.level is TrustLevel.QUARANTINE:
        why = Refused("VOTER_NOT_IN_ROLL", "inactive and quarantined members are in no roll")
    else:
        weight = Fraction(power.weight)
        if weight == 0:
            why = Refused("VOTER_NOT_IN_ROLL", f"what {source} says they hold weighs nothing")
    by = {} if power is None else asdict(power)
    by.pop("weight", None)
    return {
        "strategy": "balance",
        "weight": to_decimal_string(weight),
        "by": {**by, "source": source, "coin_share": to_decimal_string(share)},
        "why": why,
    }


def _may_not_act(member: MemberNow) -> Refused | None:
    try:
        member.require_may_act()
    except Refused as refusal:
        return refusal
    return None


def _ballot(session: Session, proposal: LockedProposal, member: str) -> dict[str, Any]:
    given = {"proposal": proposal.id, "member": member}
    choice = session.execute(_BALLOT, given).scalar_one_or_none()
    return {
        "id": proposal.id,
        "status": proposal.status.value,
        "frozen": proposal.opened_at is not None,
        "choice": choice,
    }


def _delegation(session: Session, member: str, proposal: LockedProposal | None) -> dict[str, Any]:
    """Open edges from and to the member; for a proposal those of its type, frozen with its roll."""
    version = None if proposal is None else proposal.electorate_version
    opened_at = None if proposal is None else proposal.opened_at
    given = {
        "member": member,
        "version": version,
        "at": opened_at or forge_now(session),
        "scope": None if proposal is None else proposal.type,
    }
    to = [{"scope": row.scope, "delegate": row.delegate} for row in run(session, _TO, **given)]
    if proposal is not None:
        to = to[:1]
    came = run(session, _FROM, **given)
    return {
        "to": to,
        "from": [{"scope": row.scope, "members": row.members} for row in came],
    }
