"""From answers to one analysis: by code, never by a model that sums up the others.

The recommendation is the members' median, the more cautious one of two; whoever thinks otherwise
is shown word for word, and what any of them calls critical is always shown. Another reading of
the proposal can make the advice more cautious, never less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from forge_core.advisory.analysis import (
    POINTS_MOST,
    Analysis,
    Opinion,
    Point,
    Recommendation,
    Score,
    Severity,
    Source,
    Usage,
)
from forge_core.advisory.constitution import Principle
from forge_core.advisory.consulting.answer import Answer, Quotes, scores_of
from forge_core.advisory.consulting.prompt import VERSION, Reading
from forge_core.advisory.matter import Matter

CAUTION: Final = (
    Recommendation.OPPOSE,
    Recommendation.REVISE,
    Recommendation.NEUTRAL,
    Recommendation.SUPPORT,
)
"""The most cautious first."""
_SWAYED: Final = {Reading.PAYLOAD: 2, Reading.CLEANED: 1, Reading.MARKED: 1}
"""So many steps better than in this reading is more than reasons explain."""


def analysis_of(
    matter: Matter,
    rules: Analysis,
    answers: Mapping[str, Answer],
    readings: Mapping[Reading, Answer],
    *,
    mark: str | None,
    model: str,
    usage: Usage,
) -> Analysis:
    """``answers`` by the members' names; ``rules`` is what rules say about the same proposal."""
    quotes = Quotes(matter)
    level = _median([answer.recommendation for answer in answers.values()])
    agreeing = [answer for answer in answers.values() if answer.recommendation is level]
    swayed = [
        (_swaying(reading, level, other), other)
        for reading, other in readings.items()
        if CAUTION.index(level) - CAUTION.index(other.recommendation) >= _SWAYED[reading]
    ]
    found = [point for point, _ in swayed]
    risks = [point for answer in answers.values() for point in quotes.points(answer.risks)]
    for reading, answer in readings.items():
        seen = [risk for risk in answer.risks if risk.severity is Severity.CRITICAL]
        risks += quotes.points(seen, mark if reading is Reading.MARKED else None)
    benefits = [p for answer in answers.values() for p in quotes.points(answer.benefits)]
    wishes = [wish for answer in answers.values() for wish in answer.modifications]
    return Analysis(
        source=Source.MODEL if len(answers) == 1 else Source.COUNCIL,
        analyser=model if len(answers) == 1 else f"{model}, {len(answers)} members",
        constitution=rules.constitution,
        recommendation=min([level, *(one.recommendation for _, one in swayed)], key=CAUTION.index),
        confidence=round(median(one.confidence for one in agreeing), 2),
        summary=_sentence(found[0].explanation) if found else agreeing[0].summary,
        scores=_scores(list(answers.values())),
        risks=_weightiest([*found, *kept_of(rules)], risks),
        benefits=_once(benefits)[:POINTS_MOST],
        modifications=list(dict.fromkeys(wishes))[:POINTS_MOST],
        precedents=list(rules.precedents),
        signals=list(rules.signals),
        dissent=[
            _opinion(name, answer)
            for name, answer in answers.items()
            if answer.recommendation is not level
        ],
        readings=[_opinion(reading.value, answer) for reading, answer in readings.items()],
        model=model,
        prompt=VERSION,
        usage=usage,
        dropped_quotes=quotes.dropped,
    )


def kept_of(rules: Analysis) -> list[Point]:
    """What rules find that stays in any advice."""
    return [risk for risk in rules.risks if risk.severity.rank >= Severity.HIGH.rank]


def fallback(rules: Analysis, why: str, usage: Usage) -> Analysis:
    """The rules' answer in place of the model's, marked as such, with the reason."""
    return rules.model_copy(
        update={"source": Source.FALLBACK, "error": why, "prompt": VERSION, "usage": usage}
    )


def _median(recommended: Sequence[Recommendation]) -> Recommendation:
    return sorted(recommended, key=CAUTION.index)[(len(recommended) - 1) // 2]


def _swaying(reading: Reading, level: Recommendation, other: Answer) -> Point:
    how = {
        Reading.PAYLOAD: "by what it does, without its texts",
        Reading.CLEANED: "without the sentences that speak to an adviser",
        Reading.MARKED: "with its words marked as data",
    }[reading]
    return Point(
        principle=Principle.TRANSPARENCY,
        severity=Severity.CRITICAL,
        explanation=f"its text sways the adviser: read whole the advice is {level.value}, {how} "
        f"it is {other.recommendation.value}",
        code="text_sways",
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _scores(answers: Sequence[Answer]) -> list[Score]:
    """Of each principle the median, with the reasoning of the member who is nearest to it."""
    said = [score for answer in answers for score in scores_of(answer.scores)]
    found = []
    for principle in Principle:
        own = sorted(
            (score for score in said if score.principle is principle), key=lambda one: one.score
        )
        if own:
            found.append(own[(len(own) - 1) // 2])
    return found


def _weightiest(ours: Sequence[Point], theirs: Sequence[Point]) -> list[Point]:
    """Ours all of them, and of theirs what weighs most; in that order within a severity."""
    kept = _once([*ours, *theirs])
    own = [one for one in kept if one in ours][:POINTS_MOST]
    others = [one for one in kept if one not in ours][: POINTS_MOST - len(own)]
    return sorted([*own, *others], key=lambda risk: -risk.severity.rank)


def _once(points: Sequence[Point]) -> list[Point]:
    """Weightiest first; of the same words the weightiest alone."""
    found: dict[tuple[Principle, str], Point] = {}
    for point in sorted(points, key=lambda one: -one.severity.rank):
        found.setdefault((point.principle, point.explanation.casefold()), point)
    return list(found.values())


def _opinion(of: str, answer: Answer) -> Opinion:
    return Opinion(
        of=of,
        recommendation=answer.recommendation,
        confidence=answer.confidence,
        summary=answer.summary,
    )
