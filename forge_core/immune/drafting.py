"""Overlays that are held for people: the drafts that ask them, with the evidence.

There are two, and whoever activates one of them decides which question is asked. The immune system
itself never votes, and never activates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.database import run
from forge_core.immune.responses import response_id
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.proposals.creation import draft_for_house
from forge_core.proposals.draft import TITLE_MOST

QUESTIONS: Final = {
    "reinstated": ("Reinstate {}", "If this is executed, its calls are let through again."),
    "retired": ("Retire {}", "If this is executed, it is out of service until it is reinstated."),
}

# Held by the immune system, or after its probations; not by a person who will know what to do.
HELD = Derivation(
    "immune.held",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'immune.draft', 'draft:' || overlay || ':' || extract(epoch FROM since), true,
            jsonb_build_object('subject', overlay), 'system'
        FROM containments JOIN immune_responses AS response ON response.id = response_id
        WHERE stage = 'held'
            AND (response.imposed_by = 'system' OR failed_probations >= 3) AND NOT EXISTS (
            SELECT FROM jobs WHERE key = 'draft:' || overlay || ':' || extract(epoch FROM since)
        )
        ORDER BY 2
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)

_HELD = text("""
    SELECT overlay, since, failed_probations, response.id, rule, evidence, began_at
    FROM containments JOIN immune_responses AS response ON response.id = response_id
    WHERE overlay = ANY(:overlays) AND stage = 'held' ORDER BY overlay
""")


def draft(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``immune.draft``. Running it twice is safe: a draft's id says what it asks."""
    overlays = sorted({str(job.payload["subject"]) for job in jobs})
    for row in run(session, _HELD, overlays=overlays):
        for standing, (title, consequence) in QUESTIONS.items():
            id_ = response_id("draft", row.id, row.since.isoformat(), standing)
            given = {
                "type": "overlay_standing",
                "title": title.format(row.overlay)[:TITLE_MOST],
                "description": f"{_story(row)}\n\n{consequence}",
                "payload": {"overlay": row.overlay, "standing": standing},
            }
            draft_for_house(session, catalogue, id_.replace("r-", "p-", 1), given)
    return [Outcome.done() for _ in jobs]


def _story(row: Row[Any]) -> str:
    failed = row.failed_probations
    probations = f" After that it failed {failed} probations." if failed else ""
    says = "an operator did so" if row.evidence is None else row.evidence["says"]
    return (
        f"The overlay {row.overlay} was set aside at {row.began_at:%F %T %Z}: {says}.{probations} "
        f"It is held since {row.since:%F %T %Z}, until people decide.\n\n"
        f"{_evidence(row)}"
    )


def _evidence(row: Row[Any]) -> str:
    if row.evidence is None:
        return f"The reason is with response {row.id}."
    measures = ", ".join(f"{name} {value}" for name, value in row.evidence["measures"].items())
    return (
        f"Rule {row.rule}, version {row.evidence['version']}; measured: {measures}. "
        f"The whole evidence is with response {row.id}."
    )
