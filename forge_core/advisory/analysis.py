"""One form for every adviser's answer, whoever gave it.

An answer of a model is read strictly into the same form. What it recommends is a member of an
enumeration, never looked for in words: "I do not recommend support" is not support.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from forge_core.advisory.constitution import Principle

POINTS_MOST: Final = 40
WORDS_MOST: Final = 2_000
QUOTE_MOST: Final = 400


class Recommendation(StrEnum):
    """What an adviser would do."""

    SUPPORT = "support"
    OPPOSE = "oppose"
    REVISE = "revise"
    NEUTRAL = "neutral"


class Severity(StrEnum):
    """How much a risk or a benefit weighs, in this order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in the order."""
        return list(Severity).index(self)


class Source(StrEnum):
    """Who gave an analysis; ``fallback`` is the rules' in place of a model that gave none."""

    RULES = "rules"
    MODEL = "model"
    COUNCIL = "council"
    FALLBACK = "fallback"


Where = Literal["title", "description", "reason", "payload"]
Words = Annotated[str, Field(max_length=WORDS_MOST)]


class _Part(BaseModel):
    # Made with the first analysis: most processes never read one.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Score(_Part):
    """How well the proposal stands with a principle: 100 is no objection."""

    principle: Principle
    score: Annotated[int, Field(ge=0, le=100)]
    reasoning: Words


class Point(_Part):
    """A risk or a benefit; ``quote`` is verbatim from the proposal, or absent."""

    principle: Principle
    severity: Severity
    explanation: Words
    quote: Annotated[str, Field(max_length=QUOTE_MOST)] | None = None
    code: str | None = None


class Signal(_Part):
    """Something in a text that speaks to the adviser, or that a reader does not see."""

    kind: str
    where: Where
    quote: Annotated[str, Field(max_length=QUOTE_MOST)]


class Precedent(_Part):
    """An earlier proposal like this one. ``likeness`` 0 to 1; ``outcome`` is its status."""

    proposal: str
    title: str
    outcome: str
    likeness: Annotated[float, Field(ge=0, le=1)]
    because: str | None = None


class Opinion(_Part):
    """What one member of a council, or one reading of the proposal, came to; word for word."""

    of: str
    recommendation: Recommendation
    confidence: Annotated[float, Field(ge=0, le=1)]
    summary: Words


class Usage(_Part):
    """What it took: calls of a model, tokens by their kind, milliseconds altogether."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_written_tokens: int = 0
    latency_ms: int = 0

    @property
    def tokens(self) -> int:
        """All of them, as a budget counts them."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_written_tokens
        )


class Analysis(_Part):
    """An adviser's answer. Nothing that decides about a proposal reads it.

    ``dissent`` are the members of a council who recommend something else; ``readings`` what came
    of reading the proposal in other ways, where a model did. ``dropped_quotes`` counts quotes that
    are not in the proposal. ``error`` says why a fallback is one.
    """

    is_advisory: Literal[True] = True
    source: Source
    analyser: str
    constitution: str
    recommendation: Recommendation
    confidence: Annotated[float, Field(ge=0, le=1)]
    summary: Words
    scores: Annotated[list[Score], Field(max_length=len(Principle))]
    risks: Annotated[list[Point], Field(max_length=POINTS_MOST)]
    benefits: Annotated[list[Point], Field(max_length=POINTS_MOST)]
    modifications: Annotated[list[Words], Field(max_length=POINTS_MOST)]
    precedents: Annotated[list[Precedent], Field(max_length=POINTS_MOST)]
    signals: Annotated[list[Signal], Field(max_length=POINTS_MOST)]
    dissent: Annotated[list[Opinion], Field(max_length=POINTS_MOST)] = []
    readings: Annotated[list[Opinion], Field(max_length=POINTS_MOST)] = []
    model: str | None = None
    prompt: str | None = None
    usage: Usage = Usage()
    dropped_quotes: int = 0
    error: str | None = None

    @property
    def critical(self) -> list[Point]:
        """What every voter has to see before they vote."""
        return [risk for risk in self.risks if risk.severity is Severity.CRITICAL]
