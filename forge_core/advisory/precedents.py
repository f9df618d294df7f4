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
WORD_MOST: Final = 100
ENDED: Final = ("executed", "rolled_back", "rejected", "failed", "expired", "cancelled")
LIVE: Final = ("active", "approved", "queued")
ALIKE: Final = 0.1

LOOKED_AT_MOST: Final = 2_000
"""Of more that share a word with it these are any, so that an analysis stays quick."""
KEPT_AT_ONCE: Final = 1_000

_LIKE = text("""
    WITH asked AS (SELECT CAST(:words AS tsquery) AS words), near AS (
        SELECT proposal_id, said.words FROM proposal_words AS said, asked
        WHERE said.words @@ asked.words LIMIT :looked_at
    )
    SELECT id, status, title.body AS title, description.body AS description,
        coalesce(end_reason.body, failure) AS because
    FROM (
        SELECT proposal_id, ts_rank(near.words, asked.words) AS rank
        FROM near JOIN proposals ON id = proposal_id, asked
        WHERE id <> :besides AND status = ANY(:statuses)
        ORDER BY rank DESC, proposal_id LIMIT :most
    ) AS found
    JOIN proposals ON id = proposal_id
    JOIN texts AS title ON title.commitment = proposals.title
    JOIN texts AS description ON description.commitment = proposals.description
    LEFT JOIN texts AS end_reason ON end_reason.commitment = proposals.end_reason
    ORDER BY rank DESC, id
""")

# Without stems and stop words, for proposals are written in many languages. A row goes with its
# texts: what is erased is not found any more.
_KEEP = text("""
    INSERT INTO proposal_words (proposal_id, title, description, words)
    SELECT id, proposals.title, proposals.description,
        to_tsvector('simple', title.body || ' ' || description.body)
    FROM proposals
    JOIN texts AS title ON title.commitment = proposals.title
    JOIN texts AS description ON description.commitment = proposals.description
    WHERE opened_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM proposal_words WHERE proposal_id = id)
    ORDER BY opened_at DESC, id LIMIT :most
    ON CONFLICT DO NOTHING
""")


def keep_words(session: Session) -> None:
    """Have whatever was opened since found by others. Doing it twice changes nothing.

    Also what was decided before anybody advised, so not only what is advised on now.
    """
    session.execute(_KEEP, {"most": KEPT_AT_ONCE})


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
    # Longer ones are no words, and a query cannot hold them.
    known = {word for word in words(said) if 2 < len(word) <= WORD_MOST}
    asked = sorted(known, key=lambda word: (-len(word), word))
    if not asked:
        return ()
    query = " | ".join("'" + word.replace("'", "''") + "'" for word in asked[:ASKED_MOST])
    return run(
        session,
        _LIKE,
        words=query,
        besides=id_,
        statuses=list(statuses),
        most=FOUND_MOST,
        looked_at=LOOKED_AT_MOST,
    )
