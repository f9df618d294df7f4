"""Advice is given: an opened proposal is analysed on a queue of its own, and voters can read it.

Voting never waits for it, and nothing that decides reads it. That an open proposal has no advice
yet is what calls for the work, so that opening one knows nothing about advisers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.advisory.analysis import Analysis
from forge_core.advisory.constitution import constitution_in_force
from forge_core.advisory.precedents import keep_words
from forge_core.advisory.reading import read_matters
from forge_core.advisory.rules import analyse as analyse_by_rules
from forge_core.advisory.terms import Mode, terms_in_force
from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.record import HOUSE, NewJob, enqueue
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.settings import model_key

ADVISED = EntryKind.of(
    "proposal.advised",
    """
    INSERT INTO advice (proposal_id, number, at, source, analyser, constitution, recommendation,
        confidence, analysis, input)
    SELECT subject, (data ->> 'number')::integer, at, data ->> 'source', data ->> 'analyser',
        data ->> 'constitution', data ->> 'recommendation', (data ->> 'confidence')::numeric,
        data ->> 'analysis', data ->> 'input'
    FROM forge_entries(:ids)
    """,
    texts=("analysis",),
)

UNADVISED: Final = Derivation(
    "advisory.unadvised",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'advisory.analyse', 'analyse:' || id, true,
            jsonb_build_object('proposal_id', id), 'system'
        FROM proposals
        WHERE status = 'active' AND closes_at > forge_now()
            AND NOT EXISTS (SELECT FROM advice WHERE advice.proposal_id = proposals.id)
            AND NOT EXISTS (SELECT FROM jobs WHERE key = 'analyse:' || proposals.id)
        ORDER BY opened_at, id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)

CONSULT: Final = "advisory.consult"
"""The kind of job that asks a model about a proposal, once."""
BATCH: Final = "advisory.batch"
"""The kind that asks about many; there is one at a time."""

_GIVEN = text("SELECT proposal_id FROM advice WHERE proposal_id = ANY(:ids)")
_WAITING = text("SELECT count(*) FROM jobs WHERE kind = :kind AND state = 'pending'")


def advise(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``advisory.analyse``: the rules' advice, and the call for a model's.

    Running it twice is safe: advice that was given stays.
    """
    ids = sorted({str(job.payload["proposal_id"]) for job in jobs})
    given = {row.proposal_id for row in run(session, _GIVEN, ids=ids)}
    keep_words(session)
    constitution = constitution_in_force(session)
    matters = read_matters(session, catalogue, [id_ for id_ in ids if id_ not in given])
    give(session, {matter.id: analyse_by_rules(matter, constitution) for matter in matters})
    _call_for_a_model(session, [matter.id for matter in matters])
    return [Outcome.done() for _ in jobs]


def _call_for_a_model(session: Session, proposals: Sequence[str]) -> None:
    terms = terms_in_force(session)
    if model_key() is None or terms.mode is Mode.OFF:
        return
    enqueue(
        session,
        [NewJob(CONSULT, f"consult:{id_}", {"proposal_id": id_}) for id_ in sorted(proposals)],
    )
    waiting = session.execute(_WAITING, {"kind": CONSULT}).scalar_one()
    if terms.batch_from and waiting >= terms.batch_from:
        enqueue(session, [NewJob(BATCH, BATCH, once=False)])


def give(
    session: Session,
    analyses: Mapping[str, Analysis],
    *,
    number: int = 1,
    hashed: str | None = None,
) -> None:
    """Write down what was advised on these proposals; ``hashed`` is what a model was shown."""
    at = forge_now(session)
    kept = keep_texts(session, *(one.model_dump_json() for one in analyses.values()))
    append(
        session,
        [
            Entry(ADVISED, at, HOUSE, id_, advised_data(number, analysis, commitment, hashed))
            for (id_, analysis), commitment in zip(analyses.items(), kept, strict=True)
        ],
    )


def advised_data(
    number: int, analysis: Analysis, commitment: str, hashed: str | None = None
) -> dict[str, Any]:
    """What an entry says of an analysis whose text is kept under that commitment."""
    return {
        **({} if hashed is None else {"input": hashed}),
        "number": number,
        "source": analysis.source.value,
        "analyser": analysis.analyser,
        "constitution": analysis.constitution,
        "recommendation": analysis.recommendation.value,
        "confidence": str(analysis.confidence),
        "analysis": commitment,
    }
