"""What is out of the ordinary: emergencies, extensions, bundles, features that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.checks.trust import states_cause
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter

LONG_PAUSE: Final = 72
BUNDLE: Final = 5
_EMERGENCY: Final = re.compile(
    r"\b(?:bugs?|errors?|attack\w*|exploit\w*|incident\w*|leak\w*|outages?|flood\w*|spam\w*"
    r"|stolen|theft|drain\w*|loss(?:es)?|lost|broken|fail\w*|crash\w*|vulnerab\w*|compromis\w*"
    r"|intrusion|abus\w*|wrong|corrupt\w*|fehler|angriff\w*|attaque\w*|ataque\w*)\b",
    re.IGNORECASE,
)


def emergencies(matter: Matter) -> Iterator[Point]:
    """A pause stops everybody; four hours of voting are few."""
    for action in matter.actions:
        if action.get("action") == "pause" and int(action.get("hours", 0)) > LONG_PAUSE:
            yield Point(
                principle=Principle.HUMAN_OVERSIGHT,
                severity=Severity.HIGH,
                explanation=f"nothing that was voted for could be executed for {action['hours']} "
                "hours",
                code="long_pause",
            )
    if matter.type == "emergency" and not _EMERGENCY.search(matter.prose):
        yield Point(
            principle=Principle.HUMAN_OVERSIGHT,
            severity=Severity.HIGH,
            explanation="four hours to decide, and the emergency is not described",
            code="no_emergency",
        )


def extensions(matter: Matter) -> Iterator[Point]:
    """What governance may change would change itself."""
    if matter.type == "registry_extension":
        yield Point(
            principle=Principle.HUMAN_OVERSIGHT,
            severity=Severity.MEDIUM,
            explanation="it changes what proposals can change at all; read the declaration",
            code="extension",
        )


def bundles(matter: Matter) -> Iterator[Point]:
    """Many changes that can only be taken or left together."""
    if len(matter.actions) > BUNDLE:
        yield Point(
            principle=Principle.GRADUAL_CHANGE,
            severity=Severity.MEDIUM,
            explanation=f"{len(matter.actions)} changes in one: nobody can vote for some of them",
            code="bundle",
        )


def possible(matter: Matter) -> Iterator[Point]:
    """Whether it could be executed now."""
    if matter.problem is not None:
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.MEDIUM,
            explanation=f"executed now it would fail: {matter.problem}",
            code="impossible_now",
        )


def services(matter: Matter) -> Iterator[Point]:
    """Features that members use and that would be gone."""
    for change in matter.changes:
        if change.klass == "feature" and change.after is False and change.default is True:
            yield Point(
                principle=Principle.KNOWLEDGE_PRESERVATION,
                severity=Severity.LOW if states_cause(matter) else Severity.HIGH,
                explanation=f"{change.key} would be switched off for everybody who uses it",
                code="feature_off",
            )
        elif change.klass == "feature" and change.after is True and change.default is False:
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.CRITICAL,
                explanation=f"{change.key} was off since the beginning; look at what it opens",
                code="feature_on",
            )
