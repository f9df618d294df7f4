"""Means held in common: how much of the treasury goes, to how many, for what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter, number_of

_BOUGHT: Final = re.compile(
    r"\bfor (?:each|every|all) (?:yes|no)[- ](?:ballots?|votes?)\b|\b(?:yes|no)[- ]voters?\b"
    r"|\b(?:who|whoever|that) (?:will )?(?:votes?|voted|casts?) (?:an? )?(?:yes|no|for|against|in "
    r"favou?r)\b|\bwhose (?:ballots?|votes?)\b[^.\n]{0,60}\b(?:yes|no|for|against|in favou?r)\b",
    re.IGNORECASE,
)
_STEPS: Final = (
    (Fraction(1, 4), Severity.CRITICAL),
    (Fraction(1, 10), Severity.HIGH),
    (Fraction(3, 100), Severity.MEDIUM),
)


def allocations(matter: Matter) -> Iterator[Point]:
    """The share of the balance that would leave, all payments together."""
    paid: dict[str, Fraction] = {}
    for action in matter.actions:
        amount = number_of(action.get("amount"))
        if amount is not None and "recipient" in action:
            recipient = str(action["recipient"])
            paid[recipient] = paid.get(recipient, Fraction(0)) + amount
    if not paid:
        return
    total = sum(paid.values(), Fraction(0))
    share = Fraction(1) if matter.treasury <= 0 else total / matter.treasury
    for least, severity in _STEPS:
        if share >= least:
            yield Point(
                principle=Principle.FAIRNESS,
                severity=severity,
                explanation=f"{float(share):.0%} of the treasury would leave"
                + (f", all of it to {next(iter(paid))}" if len(paid) == 1 else ""),
                code="treasury_share",
            )
            break
    if not any(action.get("purpose") for action in matter.actions):
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.LOW,
            explanation="the payment itself states no purpose; only the description can be held "
            "against it later",
            code="no_purpose",
        )


def votes_bought(matter: Matter) -> Iterator[Point]:
    """A payment that depends on how somebody votes."""
    if not any("recipient" in action for action in matter.actions):
        return
    if found := _BOUGHT.search("\n".join(matter.texts.values())):
        for principle in (Principle.FAIRNESS, Principle.TRUST_INTEGRITY):
            yield Point(
                principle=principle,
                severity=Severity.CRITICAL,
                explanation="it pays for how somebody votes",
                quote=found[0][:400],
                code="votes_bought",
            )
