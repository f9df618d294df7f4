"""A backlog in one batch: half the price, and up to a day until the answers come.

One job looks after a batch from sending it to writing down what came of it, and comes back every
minute in between. Each proposal has a turn in it, for the budget. Whatever is not answered well is
asked about alone afterwards, and so is all of a batch that got lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.advisory.advising import CONSULT
from forge_core.advisory.analysis import Usage
from forge_core.advisory.constitution import constitution_in_force
from forge_core.advisory.consulting.answer import schema_for
from forge_core.advisory.consulting.asking import Brief, Consulted, Replies, Secrets
from forge_core.advisory.consulting.consult import conclude, next_number
from forge_core.advisory.consulting.prompt import Ask
from forge_core.advisory.consulting.reply import NoAnswer, Reply
from forge_core.advisory.consulting.turns import BATCH_LASTS, settle, take_turn_in_batch
from forge_core.advisory.reading import read_matters
from forge_core.advisory.terms import Mode, Terms, terms_in_force
from forge_core.database import run
from forge_core.jobs.kinds import Job, Later, Outcome
from forge_core.jobs.record import wake
from forge_core.settings import model_key

BATCH_MOST: Final = 200
"""Proposals in a batch: read within the lease of the job."""
LOOKS: Final = timedelta(minutes=1)
_SOON: Final = timedelta(hours=24)

# Those of which the vote ends too soon are left to be asked about alone.
_WAITING = text("""
    UPDATE jobs SET not_before = clock_timestamp() + :lasts
    WHERE id IN (
        SELECT jobs.id FROM jobs
        JOIN proposals ON proposals.id = jobs.payload ->> 'proposal_id'
        WHERE kind = :kind AND state = 'pending' AND not_before <= clock_timestamp()
            AND status = 'active' AND closes_at > forge_now() + :soon
        ORDER BY jobs.id LIMIT :most FOR NO KEY UPDATE OF jobs SKIP LOCKED
    )
    RETURNING jobs.payload ->> 'proposal_id' AS proposal
""")
_FREE = text("""
    UPDATE jobs SET not_before = clock_timestamp()
    WHERE kind = :kind AND state = 'pending' AND key = ANY(:keys)
""")
_DONE = text("""
    UPDATE jobs SET state = 'done', finished_at = clock_timestamp()
    WHERE kind = :kind AND state = 'pending' AND key = ANY(:keys)
""")
_BEGIN = text("""
    INSERT INTO advice_batches (job, nonce, canary, started_at)
    VALUES (:job, :nonce, :canary, clock_timestamp())
""")
_SENT = text("UPDATE advice_batches SET service_id = :service WHERE job = :job")
_LOOK = text("""
    SELECT service_id, nonce, canary, clock_timestamp() - started_at > :lasts AS over
    FROM advice_batches WHERE job = :job
""")
_END = text("DELETE FROM advice_batches WHERE job = :job")
_TURNS = text("""
    SELECT id, proposal_id, model, tokens, input FROM consultations
    WHERE batch = :job AND ended_at IS NULL ORDER BY id
""")


@dataclass(frozen=True)
class Sending:
    """A batch to send: by turn what to ask."""

    briefs: Mapping[int, Brief]
    secrets: Secrets


@dataclass(frozen=True)
class Looking:
    """A batch that was sent."""

    service_id: str
    secrets: Secrets


Prepared = Sending | Looking
Acted = str | dict[str, Reply] | NoAnswer | None
"""The id of what was sent; what came of it, None while nothing has; or why it cannot be said."""


def prepare(session: Session, job: Job, *, catalogue: Catalogue) -> Prepared | Outcome | Later:
    """Gather a batch, or see to the one that was sent."""
    row = session.execute(_LOOK, {"job": job.id, "lasts": BATCH_LASTS}).one_or_none()
    if row is None:
        return _gather(session, job, catalogue)
    if row.service_id is None or row.over:
        # A worker was lost while it sent, or the service has forgotten: what was paid is unknown.
        failure = NoAnswer("BATCH_LOST", "nobody knows what became of the batch", paid=True)
        _give_up(session, job, failure)
        return Outcome.done(because=failure.code)
    return Looking(row.service_id, Secrets(row.nonce, row.canary))


def act(prepared: Prepared) -> Acted:
    """Send it, or look for what came of it."""
    from forge_core.advisory.consulting.claude import claude  # noqa: PLC0415  # slow to load

    key = model_key()
    if key is None:
        return NoAnswer("NO_KEY", "this worker has no ANTHROPIC_API_KEY")
    try:
        if isinstance(prepared, Looking):
            return claude(key).collect(prepared.service_id)
        return claude(key).send(
            {
                _name(turn, ask): (
                    brief.prompt(ask, prepared.secrets),
                    schema_for(ask),
                    brief.terms,
                )
                for turn, brief in prepared.briefs.items()
                for ask in brief.asked
            }
        )
    except NoAnswer as failure:
        return failure


def apply(
    session: Session, job: Job, prepared: Prepared, acted: Acted, *, catalogue: Catalogue
) -> Outcome | Later:
    """Note that it was sent, come back later, or write down what came of it."""
    if isinstance(acted, NoAnswer):
        if isinstance(prepared, Looking) and acted.again:
            return Later(LOOKS, str(acted))
        _give_up(session, job, acted)
        return Outcome.done(because=acted.code)
    if isinstance(acted, str):
        session.execute(_SENT, {"job": job.id, "service": acted})
        return Later(LOOKS, "it was sent")
    if acted is None:
        return Later(LOOKS, "it is under way")
    return _write_down(session, job, prepared.secrets, acted, catalogue)


def _gather(session: Session, job: Job, catalogue: Catalogue) -> Prepared | Outcome:
    terms = terms_in_force(session)
    if terms.mode is Mode.OFF or not terms.batch_from:
        return Outcome.done(skipped="turned off")
    waiting = run(session, _WAITING, kind=CONSULT, lasts=BATCH_LASTS, soon=_SOON, most=BATCH_MOST)
    ids = sorted(row.proposal for row in waiting)
    briefs: dict[int, Brief] = {}
    alone: list[str] = []
    for brief in _briefs(session, ids, terms, catalogue):
        turn = take_turn_in_batch(
            session, brief.matter.id, terms, brief.may_cost_all, job.id, brief.input
        )
        if turn is None:
            alone.append(brief.matter.id)
        else:
            briefs[turn] = brief
    _free(session, alone)
    if not briefs:
        return Outcome.done(skipped="nothing to ask in a batch")
    known = Secrets.fresh()
    session.execute(_BEGIN, {"job": job.id, **known._asdict()})
    return Sending(briefs, known)


def _briefs(
    session: Session, ids: Sequence[str], terms: Terms, catalogue: Catalogue
) -> list[Brief]:
    constitution = constitution_in_force(session)
    return [Brief.of(one, constitution, terms) for one in read_matters(session, catalogue, ids)]


def _write_down(
    session: Session, job: Job, known: Secrets, replies: Mapping[str, Reply], catalogue: Catalogue
) -> Outcome:
    turns = {row.proposal_id: row for row in run(session, _TURNS, job=job.id)}
    models = {row.model for row in turns.values()}
    terms = terms_in_force(session).model_copy(update={"model": ", ".join(sorted(models))})
    answered, alone = [], []
    # Read anew: what it would change, and what is like it, may be another thing by now.
    for brief in _briefs(session, sorted(turns), terms, catalogue):
        id_ = brief.matter.id
        consulted = _consulted(brief, turns[id_].id, known, replies)
        tokens = max(consulted.tokens, _paid(turns[id_].id, replies))
        settle(session, turns[id_].id, consulted.usage, tokens, consulted.failure)
        number = next_number(session, id_)
        if consulted.analysis is None and number is not None:
            alone.append(id_)
            continue
        if number is not None:
            conclude(session, number, brief, consulted, hashed=turns[id_].input)
        answered.append(id_)
    session.execute(_DONE, {"kind": CONSULT, "keys": [f"consult:{id_}" for id_ in answered]})
    _free(session, alone)
    session.execute(_END, {"job": job.id})
    return Outcome.done(answered=len(answered), alone=len(alone))


def _consulted(brief: Brief, turn: int, known: Secrets, replies: Mapping[str, Reply]) -> Consulted:
    taken = Replies(brief)
    missing = Reply(None, NoAnswer("NOT_DONE", "the batch has no answer for it"), Usage())
    for ask in brief.asked:
        taken.take(ask, brief.prompt(ask, known), replies.get(_name(turn, ask), missing))
    return taken.consulted()


def _paid(turn: int, replies: Mapping[str, Reply]) -> int:
    """For all that came back of a turn, also where it answers what is not asked any more."""
    own = (reply.usage for name, reply in replies.items() if name.startswith(f"{turn}-"))
    return sum(usage.tokens for usage in own if usage is not None)


def _give_up(session: Session, job: Job, failure: NoAnswer) -> None:
    """All of them are asked about alone; what it may have cost counts.

    For the breaker it does not: it was one call, whatever was in it.
    """
    turns = run(session, _TURNS, job=job.id)
    once = NoAnswer(failure.code, failure.message)
    for row in turns:
        settle(session, row.id, Usage(), row.tokens if failure.paid else 0, once)
    _free(session, [row.proposal_id for row in turns])
    session.execute(_END, {"job": job.id})


def _free(session: Session, proposals: Sequence[str]) -> None:
    if proposals:
        session.execute(_FREE, {"kind": CONSULT, "keys": [f"consult:{id_}" for id_ in proposals]})
        wake(session, CONSULT)


def _name(turn: int, ask: Ask) -> str:
    """Says what was asked: terms may change until the answer comes. At most 64 characters."""
    members = "-".join(one.value[:4] for one in ask.members)
    return f"{turn}-{ask.reading.value}-{members}".rstrip("-")
