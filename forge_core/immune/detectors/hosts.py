"""What samples of a host say: memory and disk that are running out."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Final

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

THOUSAND: Final = 1_000
"""Shares are kept as whole parts of a thousand."""


def _running_out(measures: Measures, terms: Terms) -> Verdict | None:
    worst: Verdict | None = None
    for what in ("memory", "disk"):
        share = Fraction(measures[what], THOUSAND)
        says = f"{what} is used to {percent(measures[what], THOUSAND)}"
        if share >= terms[f"{what}_critical"]:
            return Verdict(Severity.CRITICAL, says)
        if share >= terms[f"{what}_warning"]:
            worst = worst or Verdict(Severity.WARNING, says)
    return worst


RUNNING_OUT = Rule("host.running_out", 1, _running_out)


def thousandths(percent: float) -> int:
    """A share in percent as a whole number that evidence carries exactly."""
    return round(percent * THOUSAND / 100)


def judge_sample(
    host: str, memory: float, disk: float, at: datetime, terms: RuleTerms
) -> Finding | None:
    """``memory`` and ``disk`` in percent, as they were sampled."""
    measures = {"memory": thousandths(memory), "disk": thousandths(disk)}
    return RUNNING_OUT.find(Subject("host", host), Seen(measures, at, at), terms)
