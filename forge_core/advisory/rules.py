"""The rule-based adviser: offline, the same for the same matter, and always the first to answer.

Each check is a function of the matter. What they find is weighed by severity: one critical risk is
enough to oppose, unless a better version would not have it, and so are two high ones; anything
else of medium weight or more is to be revised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from forge_core.advisory.analysis import (
    POINTS_MOST,
    Analysis,
    Point,
    Recommendation,
    Score,
    Severity,
    Source,
)
from forge_core.advisory.checks import (
    agreement,
    company,
    exceptional,
    means,
    overlays,
    policies,
    settings,
    trust,
    wording,
)
from forge_core.advisory.checks.benefits import benefits
from forge_core.advisory.constitution import Constitution, Principle
from forge_core.advisory.matter import Matter

VERSION: Final = "rules-3"
"""Told with every analysis; another one whenever a check says something else."""

CHECKS: Final[tuple[Callable[[Matter], Iterable[Point]], ...]] = (
    settings.how_far,
    settings.at_the_edge,
    settings.oversight,
    settings.weights,
    settings.watching,
    settings.common_limits,
    trust.levels,
    trust.roles,
    trust.own_gain,
    means.allocations,
    means.votes_bought,
    overlays.registrations,
    overlays.updates,
    overlays.promises,
    overlays.hands,
    overlays.standing,
    exceptional.emergencies,
    exceptional.extensions,
    exceptional.bundles,
    exceptional.possible,
    exceptional.services,
    agreement.numbers_agree,
    agreement.directions_agree,
    agreement.harmless_words,
    agreement.keys_agree,
    agreement.everybody_named,
    agreement.every_change_told,
    policies.taken_away,
    wording.reasons,
    wording.pressure,
    wording.tricks,
    company.rivals,
    company.precedents,
    company.record,
)

_COSTS: Final = {
    Severity.LOW: 8,
    Severity.MEDIUM: 25,
    Severity.HIGH: 45,
    Severity.CRITICAL: 80,
}
_REMEDIES: Final = {
    "large_step": "Go there in several smaller steps, each watched for a while.",
    "at_bound": "Leave some room to the bound.",
    "no_reason": "Say what it is for, and what happens without it.",
    "text_disagrees": "Make text and payload say the same.",
    "text_slips": "Make text and payload say the same.",
    "retired": "Name what takes over before it goes.",
    "feature_on": "Have it looked at from outside first, and open it to a few.",
    "taken_away": "Say who may still see, ask and appeal.",
    "unsaid_change": "Speak of every change in the text, or leave it out of the payload.",
    "unnamed": "Name in the text whom it is about.",
    "weaker_safeguard": "Say why the safeguard is in the way, and weaken it less.",
    "safeguards_at_once": "Propose one safeguard at a time.",
    "levels_skipped": "Raise trust one level at a time.",
    "lowered_without_cause": "State the cause.",
    "falls_far": "Lower trust one level at a time.",
    "last_of_role": "Name who takes over first.",
    "treasury_share": "Ask for less, or pay in parts against results.",
    "no_limits": "Give the overlay limits.",
    "huge_limits": "Ask for what the overlay needs.",
    "conflict": "Settle with the proposals on the same which of them shall stand.",
    "duplicate": "Withdraw one of the two.",
    "pressure": "Give reasons instead of pressing.",
    "unseen_code": "Lay the code open.",
    "unheard": "Ask them first, and say what they answer.",
    "impossible_now": "Propose against what is there now.",
}
_MENDABLE: Final = frozenset({
    "large_step", "huge_limits", "levels_skipped", "retired", "feature_on", "text_slips",
})  # fmt: skip
"""What a better version of the same proposal would not have: one of them alone is to be revised."""

_WORDS: Final = {
    Recommendation.SUPPORT: "Nothing of weight speaks against it.",
    Recommendation.NEUTRAL: "Rules find nothing of weight for or against it; read it.",
}
_OF_PROSE: Final = (
    "No words that rules know to be dangerous. They cannot judge what a text means: read it."
)


def analyse(matter: Matter, constitution: Constitution) -> Analysis:
    """What rules can say about it; takes milliseconds and no network."""
    found = [point for check in CHECKS for point in check(matter)]
    risks = sorted(found, key=lambda point: -point.severity.rank)[:POINTS_MOST]
    good = list(benefits(matter))
    recommendation = _recommend(risks, good)
    return Analysis(
        source=Source.RULES,
        analyser=VERSION,
        constitution=constitution.version,
        recommendation=recommendation,
        confidence=_confidence(matter, recommendation, risks),
        summary=_summary(matter, recommendation, risks),
        scores=[_score(principle, risks) for principle in Principle],
        risks=risks,
        benefits=good,
        modifications=list(
            dict.fromkeys(_REMEDIES[str(p.code)] for p in risks if p.code in _REMEDIES)
        ),
        precedents=list(matter.precedents),
        signals=list(matter.signals)[:POINTS_MOST],
    )


def _recommend(risks: Sequence[Point], good: Sequence[Point]) -> Recommendation:
    critical = {risk.code for risk in risks if risk.severity is Severity.CRITICAL}
    high = {risk.code for risk in risks if risk.severity is Severity.HIGH}
    if critical - _MENDABLE or len(critical) > 1 or len(high - _MENDABLE) > 1:
        return Recommendation.OPPOSE
    if critical or any(risk.severity.rank >= Severity.MEDIUM.rank for risk in risks):
        return Recommendation.REVISE
    if any(point.code == "reasoned" for point in good):
        return Recommendation.SUPPORT
    return Recommendation.NEUTRAL


def _confidence(matter: Matter, recommendation: Recommendation, risks: Sequence[Point]) -> float:
    """How much of it rules can judge: a change of numbers well, a text hardly."""
    sure = 0.5
    sure += 0.2 * bool(matter.changes)
    sure += 0.1 * bool(matter.precedents or matter.record.ended)
    if recommendation is Recommendation.OPPOSE:
        sure += 0.1 * min(2, sum(risk.severity is Severity.CRITICAL for risk in risks))
    if _is_prose(matter) and recommendation is Recommendation.SUPPORT:
        sure = 0.2
    return round(min(max(sure, 0.1), 0.95), 2)


def _is_prose(matter: Matter) -> bool:
    """Whether nothing in it but text says what would be: what it would do is for readers to see."""
    return matter.type == "policy"


def _score(principle: Principle, risks: Sequence[Point]) -> Score:
    own = [risk for risk in risks if risk.principle is principle]
    return Score(
        principle=principle,
        score=max(0, 100 - sum(_COSTS[risk.severity] for risk in own)),
        reasoning=own[0].explanation if own else "nothing was found",
    )


def _summary(matter: Matter, recommendation: Recommendation, risks: Sequence[Point]) -> str:
    if recommendation is Recommendation.SUPPORT and _is_prose(matter):
        return _OF_PROSE
    if recommendation in _WORDS:
        return _WORDS[recommendation]
    head = risks[0].explanation
    first = head.partition(" ")[0]
    # The key of a value stays as it is written.
    start = head[:1] if {*"._"} & {*first} else head[:1].upper()
    return start + head[1:] + ("" if head.endswith("?") else ".")
