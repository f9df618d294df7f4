"""What people are shown of advice: on a proposal, of the like of it before, and altogether."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.advisory import calibration
from forge_core.advisory.analysis import Analysis
from forge_core.advisory.consulting import costs
from forge_core.advisory.terms import terms_in_force
from forge_core.database import run

DAYS: Final = 7
DAYS_MOST: Final = 90

_ADVICE = text("""
    SELECT number, at, source, analyser, constitution, recommendation,
        advice.confidence::text AS confidence, body
    FROM advice LEFT JOIN texts ON commitment = advice.analysis
    WHERE proposal_id = :id ORDER BY number DESC
""")


def advice_on(session: Session, proposal: str) -> list[dict[str, Any]]:
    """The advice on a proposal, newest first, each with its ``analysis`` (None when erased)."""
    return [
        {
            **{key: value for key, value in row._mapping.items() if key != "body"},  # noqa: SLF001
            "confidence": float(row.confidence),
            "analysis": None if row.body is None else _read(row.body),
        }
        for row in run(session, _ADVICE, id=proposal)
    ]


def earlier(session: Session, proposal: str, newest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What came of other proposals with advice of the same source and recommendation.

    None without any; ``brier`` is of all advice of that source.
    """
    told = calibration.outcomes(session, besides=proposal)
    same = [
        row
        for row in calibration.table(told)
        if (row.source, row.recommendation) == (newest["source"], newest["recommendation"])
    ]
    if not same:
        return None
    return {**asdict(same[0]), "brier": _rounded(calibration.brier(told)[newest["source"]])}


def standing(session: Session, days: int) -> dict[str, Any]:
    """Whether a model is asked, what that took in so many days, and what came of advice."""
    terms = terms_in_force(session)
    told = calibration.outcomes(session)
    scores = calibration.brier(told)
    return {
        "terms": terms.model_dump(mode="json"),
        "now": asdict(costs.standing(session)),
        "days": [
            {**asdict(day), "day": day.day.isoformat(), "cost": _rounded(day.cost)}
            for day in costs.days(session, terms, days)
        ],
        "failures": dict(costs.failures(session, days)),
        "calibration": [asdict(row) for row in calibration.table(told)],
        "brier": {source: _rounded(score) for source, score in scores.items()},
    }


def _read(body: str) -> dict[str, Any]:
    return Analysis.model_validate_json(body).model_dump(mode="json")


def _rounded(number: Any) -> str | None:
    return None if number is None else f"{float(number):.4f}"
