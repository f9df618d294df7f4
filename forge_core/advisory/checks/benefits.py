"""What speaks for a proposal, as far as rules can tell."""

from __future__ import annotations

from collections.abc import Iterator

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.checks import wording
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter


def benefits(matter: Matter) -> Iterator[Point]:
    """Stated reasons, small steps, ways back, more oversight."""
    if not list(wording.reasons(matter)):
        yield _point(Principle.TRANSPARENCY, Severity.MEDIUM, "it says why", "reasoned")
    numbers = [change.numbers for change in matter.changes if change.numbers is not None]
    if numbers and all(
        before != 0 and abs(after - before) * 2 <= abs(before) for before, after in numbers
    ):
        yield _point(Principle.GRADUAL_CHANGE, Severity.LOW, "the step is small", "small_step")
    if any(change.key for change in matter.changes):
        yield _point(
            Principle.KNOWLEDGE_PRESERVATION,
            Severity.LOW,
            "a rollback puts back exactly what was before",
            "reversible",
        )
    restored = [c for c in matter.changes if c.key and c.after == c.default and c.before != c.after]
    if restored:
        yield _point(
            Principle.KNOWLEDGE_PRESERVATION,
            Severity.LOW,
            "it goes back to the default",
            "restores_default",
        )


def _point(principle: Principle, severity: Severity, explanation: str, code: str) -> Point:
    return Point(principle=principle, severity=severity, explanation=explanation, code=code)
