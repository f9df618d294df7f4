"""Earlier proposals like one, and what came of them: found by words, compared by triples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.advisory.analysis import Precedent
from forge_core.advisory.matter import Rival
from forge_core.advisory.similar import likeness, words
from forge_core.database import run

FOUND_MOST: Final = 20
TOLD_MOST: Final = 5
ASKED_MOST: Final = 30
ENDED: Final = ("executed", "rolled_back", "rejected", "failed", "expired", "cancelled")
LIVE: Final = ("active", "approved", "queued")
ALIKE: Final = 0.1

# The index is over the texts themselves: one that is erased is not found any more.
_LIKE = text("""
    WITH asked AS (SELECT CAST(:words AS tsquery) AS words), found AS (
        SELECT commitment, ts_rank(to_tsvector('simple', body), words) AS rank
        FROM texts, asked WHERE to_tsvector('simple', body) @@ words
        ORDER BY rank DESC LIMIT :most * 5
    )
    SELECT id, status, title.body AS title, coalesce(description.body, '') AS description,
        coalesce(end_reason.body, failure) AS because, max(found.rank) AS rank
    FROM found
    JOIN proposals ON found.commitment IN (proposals.title, proposals.description)
    JOIN texts AS title ON title.commitment = proposals.title
    LEFT JOIN texts AS description ON description.commitment = proposals.description
    LEFT JOIN texts AS end_reason ON end_reason.commitment = proposals.end_reason
    WHERE id <> :besides AND status = ANY(:statuses)
    GROUP BY id, status, title.body, description.body, end_reason.body, failure
    ORDER BY rank DESC, id LIMIT :most
""")


def precedents_of(session: Session, id_: str, title: str, description: str) -> list[Precedent]:
    """Ended proposals that are most like it, the likest first."""
    said = f"{title}\n{description}"
    found = [
        Precedent(
            proposal=row.id,
            title=row.title[:200],
            outcome=row.status,
            likeness=round(likeness(said, f"{row.title}\n{row.description}"), 3),
            because=None if row.because is None else row.because[:400],
        )
        for row in _like(session, id_, said, ENDED)
    ]
    alike = [one for one in found if one.likeness >= ALIKE]
    return sorted(alike, key=lambda one: (-one.likeness, one.proposal))[:TOLD_MOST]


def twins_of(session: Session, id_: str, title: str, description: str) -> list[Rival]:
    """Live proposals that read like it."""
    said = f"{title}\n{description}"
    return [
        Rival(row.id, row.status, likeness(said, f"{row.title}\n{row.description}"), False)
        for row in _like(session, id_, said, LIVE)
    ]


def _like(session: Session, id_: str, said: str, statuses: Sequence[str]) -> Sequence[Row[Any]]:
    asked = sorted({word for word in words(said) if len(word) > 2}, key=lambda w: (-len(w), w))
    if not asked:
        return ()
    query = " | ".join("'" + word.replace("'", "''") + "'" for word in asked[:ASKED_MOST])
    given = {"words": query, "besides": id_, "statuses": list(statuses), "most": FOUND_MOST}
    return run(session, _LIKE, **given)
