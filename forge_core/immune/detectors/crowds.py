"""What votes say of who casts them: bursts, and clusters of new accounts. To be observed only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

from forge_core.immune.detectors.finding import (
    Finding,
    Measures,
    Rule,
    RuleTerms,
    Seen,
    Severity,
    Subject,
    Terms,
    Verdict,
    percent,
)

NEW: Final = timedelta(days=7)
MINUTE: Final = timedelta(minutes=1)


class Cast(NamedTuple):
    """One member's ballot: when, which side, and since when they are a member."""

    at: datetime
    choice: str
    member_since: datetime


def _burst(measures: Measures, terms: Terms) -> Verdict | None:
    ballots = measures["ballots"]
    if ballots < terms["least_ballots"] or ballots < terms["times_usual"] * measures["usual"]:
        return None
    return Verdict(
        Severity.NOTICE, f"{ballots} ballots in one minute, where {measures['usual']} are usual"
    )


def _new_accounts(measures: Measures, terms: Terms) -> Verdict | None:
    new, of = measures["new"], measures["ballots"]
    if new < terms["least_new"] or new < terms["new_share"] * of:
        return None
    return Verdict(
        Severity.NOTICE,
        f"{percent(new, of)} of the {of} ballots for one side are of members of the last week",
    )


BURST = Rule("votes.burst", 1, _burst)
NEW_ACCOUNTS = Rule("votes.new_accounts", 1, _new_accounts)


def judge_burst(
    proposal: str, a_minute: Sequence[int], since: datetime, terms: RuleTerms
) -> Finding | None:
    """Whether the last of these minutes, which began at ``since``, saw far more than the others."""
    if not a_minute:
        return None
    *before, last = a_minute
    usual = round(median(before)) if before else 0
    seen = Seen({"ballots": last, "usual": usual}, since, since + MINUTE)
    return BURST.find(Subject("proposal", proposal), seen, terms)


def judge_new_accounts(proposal: str, casts: Sequence[Cast], terms: RuleTerms) -> list[Finding]:
    """Of each side, whether it is mostly new members who voted for it."""
    found = []
    for side in sorted({cast.choice for cast in casts}):
        of_side = sorted(cast for cast in casts if cast.choice == side)
        new = [cast for cast in of_side if cast.at - cast.member_since < NEW]
        seen = Seen(
            {"ballots": len(of_side), "new": len(new)}, of_side[0].at, of_side[-1].at, [side]
        )
        finding = NEW_ACCOUNTS.find(Subject("proposal", proposal), seen, terms)
        if finding is not None:
            found.append(finding)
    return found
