"""Who could govern: members by level, and reviewers among them. Counts, not names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.members.levels import Role, TrustLevel, can_access

REVIEWER_TRUST = TrustLevel.TRUSTED

_COUNTS = text("""
    SELECT level, count(*) AS members, count(role) AS reviewers
    FROM members LEFT JOIN member_roles ON member_id = id AND role = 'reviewer'
    WHERE active AND level <> 'QUARANTINE'
    GROUP BY level
""")


@dataclass(frozen=True)
class Census:
    """Active members by level, QUARANTINE left out; reviewers are among them."""

    members: Mapping[TrustLevel, int]
    reviewers: Mapping[TrustLevel, int]

    def at_least(self, level: TrustLevel) -> int:
        """How many members have this trust or more."""
        return sum(n for held, n in self.members.items() if can_access(held, level))

    def reviewers_at_least(self, level: TrustLevel) -> int:
        """How many of them are reviewers."""
        return sum(n for held, n in self.reviewers.items() if can_access(held, level))

    def able_reviewers(self) -> int:
        """How many reviewers have the trust that reviewing takes."""
        return self.reviewers_at_least(REVIEWER_TRUST)

    def moved(self, before: TrustLevel, after: TrustLevel, roles: frozenset[str]) -> Census:
        """As it would be after one member went from one level to another."""
        reviewer = int(Role.REVIEWER in roles)
        return Census(
            _moved(self.members, before, after, 1), _moved(self.reviewers, before, after, reviewer)
        )

    def with_reviewers(self, level: TrustLevel, change: int) -> Census:
        """As it would be with so many more (or fewer) reviewers at a level."""
        return replace(
            self, reviewers={**self.reviewers, level: self.reviewers.get(level, 0) + change}
        )


def present_census(session: Session) -> Census:
    """As of now; the caller holds the electorate's lock when it matters."""
    rows = run(session, _COUNTS)
    return Census(
        {TrustLevel(row.level): row.members for row in rows},
        {TrustLevel(row.level): row.reviewers for row in rows},
    )


def _moved(
    counts: Mapping[TrustLevel, int], before: TrustLevel, after: TrustLevel, by: int
) -> Mapping[TrustLevel, int]:
    changed = dict(counts)
    for level, step in ((before, -by), (after, by)):
        if level is not TrustLevel.QUARANTINE:
            changed[level] = changed.get(level, 0) + step
    return changed
