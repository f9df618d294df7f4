"""A rule, what it found, and how to be told the same again.

A rule is a pure function from measures (whole numbers that were counted) and terms (thresholds
that governance set) to a verdict. A finding keeps both beside the verdict, so that anybody can
apply the rule to them once more and must come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, TypedDict

from forge_core.clock import rfc3339
from forge_core.exact import parse_decimal, to_decimal_string

Terms = Mapping[str, Fraction]
Measures = Mapping[str, int]
RuleTerms = Mapping[str, Terms]
"""The terms of each rule that is not switched off, by its name."""

SAMPLES_MOST = 5


class Severity(StrEnum):
    """How sure and how bad; it decides which rung of the ladder is answered with."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Verdict(NamedTuple):
    """What a rule says of its measures; ``says`` is a sentence for people."""

    severity: Severity
    says: str


class Subject(NamedTuple):
    """Whom it is about: an overlay, an address, a member, a host or a proposal."""

    kind: str
    id: str


@dataclass(frozen=True)
class Rule:
    """``judge`` gives None where there is nothing to find.

    ``version`` rises whenever ``judge`` comes to another verdict on the same measures and terms.
    """

    name: str
    version: int
    judge: Callable[[Measures, Terms], Verdict | None]

    def find(self, subject: Subject, seen: Seen, given: RuleTerms) -> Finding | None:
        """Apply the rule to what was seen of one subject; None too where it is switched off."""
        terms = given.get(self.name)
        if terms is None:
            return None
        verdict = self.judge(seen.measures, terms)
        if verdict is None:
            return None
        return Finding(
            rule=self.name,
            version=self.version,
            subject=subject,
            verdict=verdict,
            measures=dict(seen.measures),
            terms=dict(terms),
            since=seen.since,
            until=seen.until,
            samples=tuple(seen.samples[-SAMPLES_MOST:]),
        )


@dataclass(frozen=True)
class Seen:
    """What was counted between two moments, and the ids of the events that speak loudest."""

    measures: Measures
    since: datetime
    until: datetime
    samples: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """A verdict with everything that it was reached from."""

    rule: str
    version: int
    subject: Subject
    verdict: Verdict
    measures: Measures
    terms: Terms
    since: datetime
    until: datetime
    samples: tuple[str, ...]

    def evidence(self) -> Evidence:
        """What is stored with a response."""
        return {
            "rule": self.rule,
            "version": self.version,
            "severity": self.verdict.severity.value,
            "says": self.verdict.says,
            "measures": dict(self.measures),
            "terms": {name: to_decimal_string(value) for name, value in self.terms.items()},
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "samples": list(self.samples),
        }


class Evidence(TypedDict):
    """A finding as JSON: thresholds as decimal texts, times in RFC 3339."""

    rule: str
    version: int
    severity: str
    says: str
    measures: dict[str, int]
    terms: dict[str, str]
    since: str
    until: str
    samples: list[str]


def judged_again(rule: Rule, evidence: Evidence) -> Verdict | None:
    """The verdict of ``rule`` on stored evidence; that of another version may differ.

    Raises ``Refused`` NUMBER_INVALID where a term is no number.
    """
    terms = {name: parse_decimal(value, name=name) for name, value in evidence["terms"].items()}
    return rule.judge(evidence["measures"], terms)


def percent(part: int, whole: int) -> str:
    """A share for people: "60.0 %"."""
    tenths = (2_000 * part + whole) // (2 * whole)
    return f"{tenths // 10}.{tenths % 10} %"
