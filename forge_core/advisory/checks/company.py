"""What else there is: live proposals on the same, earlier ones like it, its proposer's record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter

SAME: Final = 0.6
ALIKE: Final = 0.3


def rivals(matter: Matter) -> Iterator[Point]:
    """Live proposals that change the same, or say the same."""
    same = [rival for rival in matter.rivals if rival.same_target and rival.status != "draft"]
    if same:
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.MEDIUM,
            explanation=f"{len(same)} live proposal{'s' * (len(same) > 1)} would change the same: "
            + ", ".join(rival.proposal for rival in same[:3])
            + "; what is executed first decides",
            code="conflict",
        )
    if twins := [rival for rival in matter.rivals if rival.likeness >= SAME]:
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.MEDIUM,
            explanation=f"it reads almost as {twins[0].proposal}, which is under way",
            code="duplicate",
        )


def precedents(matter: Matter) -> Iterator[Point]:
    """Earlier proposals like it that were undone or voted down."""
    undone = [one for one in matter.precedents if one.outcome == "rolled_back"]
    refused = [one for one in matter.precedents if one.outcome == "rejected"]
    if undone and undone[0].likeness >= ALIKE:
        yield Point(
            principle=Principle.KNOWLEDGE_PRESERVATION,
            severity=Severity.MEDIUM,
            explanation=f"{undone[0].proposal}, much like it, was executed and rolled back"
            + (f": {undone[0].because}" if undone[0].because else ""),
            code="undone_before",
        )
    if refused and refused[0].likeness >= SAME:
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.LOW,
            explanation=f"{refused[0].proposal}, almost the same, was rejected",
            code="rejected_before",
        )


def record(matter: Matter) -> Iterator[Point]:
    """A proposer whose changes had to be undone."""
    undone, ended = matter.record.rolled_back, matter.record.ended
    if undone >= 2 and undone * 3 >= ended:
        yield Point(
            principle=Principle.TRUST_INTEGRITY,
            severity=Severity.MEDIUM,
            explanation=f"{undone} of {ended} earlier proposals of {matter.proposer} were rolled "
            "back",
            code="record",
        )
