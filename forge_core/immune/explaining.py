"""Explaining a response: its rule, applied to its stored evidence once more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.immune.detectors.finding import Evidence, Rule, Verdict, judged_again
from forge_core.immune.rulebook import GOVERNED
from forge_core.text import shown

_RESPONSE = text("""
    SELECT response.id, subject_kind, coalesce(known.address, subject) AS subject, rung, rule,
        evidence, why, texts.body AS reason, imposed_by, began_at, until_at, ended_at, ended_by
    FROM immune_responses AS response
    LEFT JOIN known_addresses AS known
        ON subject_kind = 'address' AND known.commitment = subject
    LEFT JOIN texts ON texts.commitment = reason
    WHERE response.id = :id
""")


@dataclass(frozen=True)
class Explained:
    """A response, with what its rule says of its evidence now.

    ``verdict`` is None where a person imposed it, and where the rule finds nothing any more.
    ``version`` is the rule's now; that of the evidence may be older.
    """

    id: str
    subject_kind: str
    subject: str
    rung: str
    imposed_by: str
    began_at: datetime
    until_at: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    why: str | None
    reason: str | None
    evidence: Evidence | None
    verdict: Verdict | None
    version: int | None

    @property
    def holds(self) -> bool:
        """Whether the rule comes to the verdict that is stored."""
        if self.evidence is None:
            return True
        stored = (self.evidence["severity"], self.evidence["says"])
        return self.verdict is not None and (self.verdict.severity, self.verdict.says) == stored


def explain(session: Session, id_: str) -> Explained:
    """Replay the rule on the stored evidence. Raises ``Refused`` RESPONSE_UNKNOWN."""
    row = session.execute(_RESPONSE, {"id": id_}).one_or_none()
    if row is None:
        raise Refused(
            "RESPONSE_UNKNOWN",
            f"there is no response {shown(id_)}; `forge immune responses` lists their ids",
        )
    governed = GOVERNED.get(row.rule)
    evidence: Evidence | None = row.evidence
    known = governed is not None and evidence is not None
    return Explained(
        id=row.id,
        subject_kind=row.subject_kind,
        subject=row.subject,
        rung=row.rung,
        imposed_by=row.imposed_by,
        began_at=row.began_at,
        until_at=row.until_at,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        why=row.why,
        reason=row.reason,
        evidence=evidence,
        verdict=_again(governed.rule, evidence) if governed and evidence else None,
        version=governed.rule.version if known and governed else None,
    )


def _again(rule: Rule, evidence: Evidence) -> Verdict | None:
    try:
        return judged_again(rule, evidence)
    except KeyError:  # a later version looks at what this evidence does not have
        return None
