"""How a proposal is argued: no reason, pressure instead of one, and what a reader does not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.checks.trust import REASONED
from forge_core.advisory.constitution import Principle
from forge_core.advisory.injection import speaks_to_adviser
from forge_core.advisory.matter import Matter

WALL: Final = 6_000

_PRESSURE: Final = re.compile(
    r"\b(?:act now|no time (?:to|for)|before it is too late|last chance|immediately or|right now"
    r"|don't (?:think|ask|wait)|no need to (?:read|review|discuss|check)|vote (?:now|quickly|fast)"
    r"|hurry|at once or|trust me|trust us|just approve|rubber[- ]stamp|without (?:debate|discussion"
    r"|delay or questions)|no questions|time is (?:running out|short)|sofort zustimmen)\b",
    re.IGNORECASE,
)
_AUTHORITY: Final = re.compile(
    r"\b(?:everyone (?:agrees|knows|wants)|everybody (?:agrees|knows|wants)|all experts|nobody "
    r"(?:objects|can object|could object|disagrees)|the founders (?:want|demand|have (?:already )?"
    r"(?:decided|approved))|already (?:approved|decided|agreed) (?:by|in)|only (?:a )?fools?|any "
    r"reasonable (?:person|member)|those who (?:oppose|vote against)(?: it| this)? (?:are|want|hate"
    r"|fear)|enemies of|as (?:a|your) "
    r"core member,? I (?:know|assure|guarantee)|guaranteed (?:profit|success|returns?)|risk[- ]free"
    r"|100 ?% safe|obviously|it goes without saying|secret(?:ly)?|confidential reasons?"
    r"|(?:can(?:not|'t)|may not|won't) (?:be )?(?:disclose|explain|say|tell|share|go into)\w*)\b",
    re.IGNORECASE,
)
_REASONED: Final = re.compile(
    r"\b(?:because|since|so that|in order to|reason|due to|after|measured|observed|reported"
    r"|incident|complain\w*|asked|feedback|improv\w*|prevent\w*|protect\w*|allow\w*|helps?"
    r"|avoid\w*|reduc\w*|currently|today|last (?:week|month|quarter|year)|needed|needs|requir\w*"
    r"|too \w+|support\w*|makes?|enabl\w*|cost\w*|saves?|fix\w*|weil|damit|wegen|parce que"
    r"|afin|pour que"
    r"|porque|para que|потому|чтобы|因为|以便|ため|لأن)\b|因为|以便|ため|から",
    re.IGNORECASE,
)


def reasons(matter: Matter) -> Iterator[Point]:
    """Whether anything is said for it."""
    said = len(matter.description.strip()) + len(matter.reason.strip())
    reasoned = bool(_REASONED.search(f"{matter.description}\n{matter.reason}"))
    if said < REASONED or (not reasoned and said < 5 * REASONED):
        grave = matter.type != "policy" and bool(
            matter.classes & {"rule", "treasury", "protocol", "emergency"}
        )
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=_gap(matter, said=said, grave=grave),
            explanation="no reason is given: what is it for, and what happens without it?",
            code="no_reason",
        )
    if len(matter.description) > WALL and not matter.reason.strip():
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.LOW,
            explanation=f"{len(matter.description):,} characters: few will read all of it",
            code="wall_of_text",
        )


def pressure(matter: Matter) -> Iterator[Point]:
    """Urgency and authority where a reason should be."""
    for pattern, what in (
        (_PRESSURE, "it presses for time"),
        (_AUTHORITY, "it leans on authority"),
    ):
        if found := pattern.search(matter.prose):
            yield Point(
                principle=Principle.TRANSPARENCY,
                severity=Severity.MEDIUM,
                explanation=f"{what} instead of giving a reason",
                quote=found[0][:400],
                code="pressure",
            )


def tricks(matter: Matter) -> Iterator[Point]:
    """Text that speaks to the adviser, or that nobody sees."""
    attempts = [signal for signal in matter.signals if speaks_to_adviser(signal)]
    if attempts:
        yield _trick(
            Severity.CRITICAL,
            "the text speaks to the adviser and not to the voters: it tries to get a verdict by "
            "trick",
            "injection",
            next((one.quote for one in attempts if one.quote in matter.texts[one.where]), None),
        )
    if unseen := [signal for signal in matter.signals if not speaks_to_adviser(signal)]:
        kinds = sorted({signal.kind for signal in unseen})
        yield _trick(
            Severity.HIGH,
            f"the text has {', '.join(kinds)}: readers do not see what machines read",
            "unseen_text",
        )


def _gap(matter: Matter, *, said: int, grave: bool) -> Severity:
    """How much a missing reason weighs: a policy is its own text, and may be a matter of taste."""
    if matter.type == "policy":
        return Severity.LOW
    return Severity.HIGH if grave and said < REASONED else Severity.MEDIUM


def _trick(severity: Severity, explanation: str, code: str, quote: str | None = None) -> Point:
    return Point(
        principle=Principle.SECURITY,
        severity=severity,
        explanation=explanation,
        quote=quote,
        code=code,
    )
