"""The self-brick guard: no change may leave a house that nobody can govern (INV-40).

For each track it asks whether some set of present members could propose, reach quorum and every
other threshold of the vote, and review. What was impossible before is no reason to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from forge_core.capabilities.declaration import Value
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.members.census import REVIEWER_TRUST, Census
from forge_core.members.levels import TrustLevel, can_access

# Who has to be there to propose on each track, so that what was done there can be undone there.
_PROPOSERS: Final[Mapping[str, TrustLevel]] = {
    "routine": TrustLevel.TRUSTED,
    "protected": TrustLevel.CORE,
    "emergency": TrustLevel.CORE,
}


def refuse_to_brick(
    before: Census,
    values_before: Mapping[str, Value],
    after: Census,
    values_after: Mapping[str, Value],
) -> None:
    """Raise ``Refused`` SELF_BRICK when a track that works now would not work after the change."""
    for track in _PROPOSERS:
        problem = _problem(track, after, values_after)
        if problem is not None and _problem(track, before, values_before) is None:
            raise Refused("SELF_BRICK", f"nobody could govern on the {track} track: {problem}")


def _problem(track: str, census: Census, values: Mapping[str, Value]) -> str | None:
    """Why the present members could not bring a proposal through; None when they could."""
    proposers = census.at_least(_PROPOSERS[track])
    if proposers == 0:
        return f"no member has the trust {_PROPOSERS[track]} that proposing takes"
    return _voting_problem(track, census, values) or _review_problem(track, census, values)


def _voting_problem(track: str, census: Census, values: Mapping[str, Value]) -> str | None:
    """Everybody votes: the light ones for, and whoever weighs too much abstains."""
    needed = int(str(values[f"track.{track}.min_yes_voters"]))
    given = values.get(f"track.{track}.max_yes_share")
    share = None if given is None else parse_decimal(given)
    counts = ((_weight(level, values), count) for level, count in census.members.items())
    weights = sorted((weight, count) for weight, count in counts if weight > 0 and count > 0)
    for heaviest, _ in weights:
        yes = [(weight, count) for weight, count in weights if weight <= heaviest]
        voters = sum(count for _, count in yes)
        total = sum((weight * count for weight, count in yes), Fraction(0))
        if voters >= needed and (share is None or heaviest <= share * total):
            return None
    present = sum(count for _, count in weights)
    return f"{present} members with weight could not make {needed} yes-voters" + (
        "" if share is None else f" of whom none holds more than {given} of the weight"
    )


def _review_problem(track: str, census: Census, values: Mapping[str, Value]) -> str | None:
    """Whoever may review approves; the proposer does not review."""
    given = values.get(f"track.{track}.reviewers")
    if given is None:
        return None
    needed, most = int(str(given)), 0
    for level, count in census.members.items():
        if count == 0 or not can_access(level, _PROPOSERS[track]):
            continue
        # Somebody who is no reviewer proposes where there is one.
        proposing = 1 if census.reviewers.get(level, 0) == count else 0
        beside = census.with_reviewers(level, -proposing)
        most = max(most, beside.able_reviewers())
        if beside.able_reviewers() >= needed and any(
            number > 0 and can_access(held, REVIEWER_TRUST) and _weight(held, values) > 0
            for held, number in beside.reviewers.items()
        ):
            return None
    return f"{most} reviewers beside the proposer; {needed} are needed, and some weight among them"


def _weight(level: TrustLevel, values: Mapping[str, Value]) -> Fraction:
    return parse_decimal(values[f"trust.weight.{level}"])
