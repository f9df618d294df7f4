"""Trust and roles: who gains, how fast, and for what stated cause."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter

_LEVELS: Final = ("QUARANTINE", "SANDBOX", "STANDARD", "TRUSTED", "CORE")
_POWERFUL: Final = frozenset({"guardian", "admin", "operator"})
_UNTOLD: Final = re.compile(
    r"\b(?:(?:she|he|they|you|everybody|everyone) (?:all )?knows? (?:why|what)"
    r"|not go into (?:the |any )?details?"
    r"|(?:cannot|can't|will not|won't|must not) (?:say|tell|explain|disclose|go into)"
    r"|reasons? (?:are|is) (?:known|confidential)|for reasons? (?:that )?(?:i|we) )",
    re.IGNORECASE,
)
_UNHEARD: Final = re.compile(
    r"\b(?:have|has|had|was|were|did)(?: not|n't) (?:yet )?(?:been )?(?:talk|sp[eo]ak|spok|ask|hear"
    r"|told|tell|contact|inform)\w*|\bwithout (?:asking|hearing|telling|talking to)\b",
    re.IGNORECASE,
)
REASONED: Final = 60
"""Characters of description and reason together from which on a cause is stated at all."""


def levels(matter: Matter) -> Iterator[Point]:
    """Levels that rise by more than a step, or fall without a cause."""
    raised = 0
    for action in matter.actions:
        if "new_trust" not in action:
            continue
        before, after = str(action["current_trust"]), str(action["new_trust"])
        steps = _LEVELS.index(after) - _LEVELS.index(before)
        who = str(action.get("member") or action.get("overlay"))
        raised += steps > 0
        if steps > 1:
            yield Point(
                principle=Principle.TRUST_INTEGRITY,
                severity=Severity.CRITICAL,
                explanation=f"{who} would rise from {before} to {after}, past {steps - 1} level"
                + "s" * (steps > 2),
                code="levels_skipped",
            )
        if steps < -1:
            yield Point(
                principle=Principle.TRUST_INTEGRITY,
                severity=Severity.CRITICAL,
                explanation=f"{who} would fall from {before} to {after}, past {-steps - 1} level"
                + "s" * (steps < -2),
                code="falls_far",
            )
        if steps < 0 and not (states_cause(matter) and _tells(matter)):
            for principle in (Principle.FAIRNESS, Principle.TRUST_INTEGRITY):
                yield Point(
                    principle=principle,
                    severity=Severity.CRITICAL if after == "QUARANTINE" else Severity.HIGH,
                    explanation=f"{who} would fall from {before} to {after}, and no cause is "
                    "stated that anybody could check",
                    code="lowered_without_cause",
                )
        elif steps < 0 and (unheard := _UNHEARD.search(matter.prose)):
            yield Point(
                principle=Principle.FAIRNESS,
                severity=Severity.MEDIUM,
                explanation=f"{who} was not heard before",
                quote=unheard[0],
                code="unheard",
            )
        elif after == "QUARANTINE":
            yield Point(
                principle=Principle.FAIRNESS,
                severity=Severity.HIGH,
                explanation=f"{who} would lose every vote: ballots already cast are set aside too",
                code="quarantined",
            )
    if raised > 2:
        yield Point(
            principle=Principle.TRUST_INTEGRITY,
            severity=Severity.HIGH,
            explanation=f"{raised} would gain trust by one proposal",
            code="many_raised",
        )


def roles(matter: Matter) -> Iterator[Point]:
    """Roles that give power over others, and reviewers who go."""
    given: Counter[str] = Counter()
    for action in matter.actions:
        if "holds" not in action:
            continue
        role, who = str(action["role"]), str(action["member"])
        if action["holds"] and role in _POWERFUL:
            given[who] += 1
            yield Point(
                principle=Principle.HUMAN_OVERSIGHT,
                severity=Severity.MEDIUM if given[who] == 1 else Severity.CRITICAL,
                explanation=f"{who} would be {role} and could act on others alone"
                + (", with several such roles in one hand" if given[who] > 1 else ""),
                code="power_given" if given[who] == 1 else "powers_in_one_hand",
            )
        elif not action["holds"]:
            last = matter.holders.get(role) == frozenset({who})
            left = "nobody looks or can stop" if last else "fewer look and fewer can stop"
            yield Point(
                principle=Principle.HUMAN_OVERSIGHT,
                severity=Severity.CRITICAL if last else Severity.HIGH,
                explanation=f"{who} would not be {role} any more: {left}",
                code="last_of_role" if last else "power_taken",
            )


def own_gain(matter: Matter) -> Iterator[Point]:
    """What the proposer gets from it."""
    for action in matter.actions:
        if action.get("recipient") == matter.proposer:
            yield Point(
                principle=Principle.FAIRNESS,
                severity=Severity.CRITICAL,
                explanation=f"{matter.proposer} proposes to be paid themselves",
                code="own_gain",
            )


def _tells(matter: Matter) -> bool:
    """Whether it says what happened, or only that there is something."""
    return _UNTOLD.search(matter.prose) is None


def states_cause(matter: Matter) -> bool:
    """Whether anything is said for it beyond naming it."""
    return len(matter.description) + len(matter.reason) >= REASONED


def named_in(action: Any) -> Iterator[str]:
    """The members, overlays and recipients that an action names."""
    for field in ("member", "overlay", "recipient", "module"):
        if isinstance(action.get(field), str):
            yield action[field]
