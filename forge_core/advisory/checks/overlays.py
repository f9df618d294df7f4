"""Overlays: what they may use up, what else provides what they do, and versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.checks.trust import states_cause
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter

_GENEROUS: Final = {
    "max_execution_ms": 60_000,
    "max_memory": 4 * 2**30,
    "max_fuel": 1_000_000_000,
}
_LIMITS: Final = tuple(_GENEROUS)
_NUMBER: Final = re.compile(r"\d+")
_MILLISECONDS: Final = re.compile(
    r"\b(?:at most|up to|limit\w*(?: (?:of|to|is))?|no more than|within|max(?:imum)?\.?(?: of)?) "
    r"(\d{1,6})\s*(?:ms|milliseconds?)\b",
    re.IGNORECASE,
)
_SECRETS: Final = (
    r"(?:session tokens?|passwords?|credentials?|private keys?|api keys?|secrets?|messages?|mails?"
    r"|e-?mails?|addresses|contacts)"
)
_GIVEN: Final = (
    r"(?:mirror\w*|forward\w*|sen[dt]s?|sending|transmit\w*|shar(?:e|ed|es|ing)|upload\w*|hand(?:s|ed)"
    r" over|pass(?:es|ed) (?:on|to)|authenticat\w+ with|cop(?:y|ied|ies) to)"
)
_OUTSIDE: Final = re.compile(
    r"\b(?:partners?|third[- ]part(?:y|ies)|outside|external|vendors?|(?:sub)?contractors?)\b",
    re.IGNORECASE,
)
_LEAVES: Final = re.compile(
    rf"\b{_SECRETS}\b[^.\n]{{0,80}}\b{_GIVEN}\b|\b{_GIVEN}\b[^.\n]{{0,80}}\b{_SECRETS}\b",
    re.IGNORECASE,
)
_STAYS: Final = re.compile(
    r"\b(?:no|not|never|nothing|none)\b[^.\n]{0,60}\b(?:leav\w+|sen[dt]|shar\w+|forward\w*|outside"
    r"|third[- ]part(?:y|ies))\b",
    re.IGNORECASE,
)
_UNSEEN_CODE: Final = re.compile(
    r"\bclosed[- ]source\b|\b(?:source|code)\b[^.\n]{0,80}\b(?:not (?:available|public|open|shown"
    r"|disclosed)|cannot be (?:inspected|read|reviewed)|proprietary|unavailable)\b",
    re.IGNORECASE,
)


def registrations(matter: Matter) -> Iterator[Point]:
    """New overlays: limits that are missing or none, and descriptions."""
    for action in matter.actions:
        if "version" not in action or "overlay" not in action:
            continue
        missing = [limit for limit in _LIMITS if limit not in action]
        huge = [
            limit
            for limit, most in _GENEROUS.items()
            if isinstance(action.get(limit), int) and action[limit] > most
        ]
        if huge:
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.CRITICAL if len(huge) == len(_LIMITS) else Severity.HIGH,
                explanation=f"{action['overlay']} could use up far more than overlays need: "
                + ", ".join(f"{limit} {action[limit]:,}" for limit in huge),
                code="huge_limits",
            )
        if missing:
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.MEDIUM,
                explanation=f"{action['overlay']} would run without {', '.join(missing)}",
                code="no_limits",
            )


def updates(matter: Matter) -> Iterator[Point]:
    """Versions that go back, or jump."""
    for action in matter.actions:
        if "new_version" not in action:
            continue
        before, after = _parts(action["current_version"]), _parts(action["new_version"])
        if after < before:
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.MEDIUM,
                explanation=f"version {action['new_version']} is older than what runs",
                code="downgrade",
            )
        elif after[:1] > before[:1]:
            yield Point(
                principle=Principle.GRADUAL_CHANGE,
                severity=Severity.MEDIUM,
                explanation=f"{action['current_version']} to {action['new_version']} is a major "
                "version: what it promised may have changed",
                code="major_version",
            )


def promises(matter: Matter) -> Iterator[Point]:
    """Limits that the text states otherwise than the manifest."""
    said = {int(number) for number in _MILLISECONDS.findall(matter.prose)}
    for action in matter.actions:
        taken = action.get("max_execution_ms")
        if isinstance(taken, int) and said and taken not in said:
            yield Point(
                principle=Principle.TRANSPARENCY,
                severity=Severity.MEDIUM,
                explanation=f"the text speaks of {max(said)} ms a call, the manifest takes {taken}",
                code="text_slips",
            )


def hands(matter: Matter) -> Iterator[Point]:
    """What members entrust to the platform and others would get, and code that nobody may read."""
    if not any("overlay" in action for action in matter.actions):
        return
    text = "\n".join(matter.texts.values())
    leaves = _LEAVES.search(text)
    if leaves and _OUTSIDE.search(text) and not _STAYS.search(text):
        yield Point(
            principle=Principle.SECURITY,
            severity=Severity.CRITICAL,
            explanation="what members entrust to the platform would go to others",
            quote=leaves[0][:400],
            code="data_leaves",
        )
    if unseen := _UNSEEN_CODE.search(text):
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.HIGH,
            explanation="nobody here could read what runs",
            quote=unseen[0][:400],
            code="unseen_code",
        )


def standing(matter: Matter) -> Iterator[Point]:
    """Overlays that are let run again, or retired."""
    for action in matter.actions:
        if "standing" not in action:
            continue
        overlay = str(action["overlay"])
        if action["standing"] == "reinstated":
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.MEDIUM if states_cause(matter) else Severity.HIGH,
                explanation=f"{overlay} was set aside for what it did; see "
                "`forge immune responses` before it runs again",
                code="reinstated",
            )
            continue
        last = _only_provider(matter, overlay)
        yield Point(
            principle=Principle.GRADUAL_CHANGE,
            severity=Severity.CRITICAL if last else Severity.MEDIUM,
            explanation=f"{overlay} would be out of service for good"
            + (f", and nothing else provides {', '.join(sorted(last))}" if last else ""),
            code="retired",
        )


def _only_provider(matter: Matter, overlay: str) -> set[str]:
    alone: Mapping[str, frozenset[str]] = matter.providers
    return {capability for capability, by in alone.items() if by == {overlay}}


def _parts(version: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in _NUMBER.findall(str(version)))
