"""The forms of what is asked, and, for readers of /openapi.json, of what is answered."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from forge_core.advisory import report
from forge_core.advisory.analysis import Analysis, Recommendation, Source
from forge_core.advisory.terms import Terms
from forge_core.proposals.lifecycle import Status

LIMIT_MOST: Final = 500


class Wanted(BaseModel):
    """Which proposals; a parameter that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="Only this status.")
    type: str | None = Field(None, description="Only this type.")
    before: str | None = Field(None, description="Only what is older than this proposal.")
    limit: int = Field(50, ge=1, le=LIMIT_MOST, description="At most so many.")


class Period(BaseModel):
    """Of which days."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(
        report.DAYS, ge=0, le=report.DAYS_MOST, description="So many days before today; 0: today."
    )


class ProposalRow(BaseModel):
    """A proposal in a list; weights are decimal texts, ``advice`` is what is recommended now."""

    id: str
    type: str
    track: str
    status: Status
    proposer: str
    title: str | None
    opened_at: datetime | None
    closes_at: datetime | None
    for_weight: str | None
    against_weight: str | None
    abstain_weight: str | None
    advice: Recommendation | None
    advised_by: Source | None


class ProposalPage(BaseModel):
    """``next`` is given as ``before`` to go on."""

    proposals: list[ProposalRow]
    next: str | None


class Advice(BaseModel):
    """One advice; its ``analysis`` is null when its text was erased."""

    number: int
    at: datetime
    source: Source
    analyser: str
    constitution: str
    recommendation: Recommendation
    confidence: float
    analysis: Analysis | None


class Outcomes(BaseModel):
    """Of one source and recommendation: how often it was given, and what followed."""

    source: Source
    recommendation: Recommendation
    given: int
    approved: int
    executed: int
    rolled_back: int


class Earlier(Outcomes):
    """Of other proposals; ``brier`` is of all advice of that source."""

    brier: str


class AdviceOnProposal(BaseModel):
    """Newest first."""

    note: str
    advice: list[Advice]
    earlier: Earlier | None


class Now(BaseModel):
    """Turns taken, tokens of today, and for how long nobody is asked because the service fails."""

    under_way: int
    spent: int
    paused_seconds: int | None


class Day(BaseModel):
    """What asking one model took on one day (UTC)."""

    day: date
    model: str
    consultations: int
    failed: int
    calls: int
    tokens: int
    cache_read_tokens: int
    half_ms: int | None
    slowest_ms: int | None
    cost: str | None


class Standing(BaseModel):
    """Terms, what they led to, failures by reason, and what came of advice."""

    note: str
    terms: Terms
    now: Now
    days: list[Day]
    failures: dict[str, int]
    calibration: list[Outcomes]
    brier: dict[Source, str]


class ProblemForm(BaseModel):
    """RFC 9457 with a stable ``code``."""

    type: str
    title: str
    status: int
    code: str
    detail: str


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ProblemForm} for status in (401, 403, 404, 422, 503)
}
