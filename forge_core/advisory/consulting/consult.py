"""Asking a model about one proposal: read, ask with no transaction open, write down.

The rules' advice is there before. Whatever goes wrong, voters find the rules' answer once more,
marked as a fallback and with the reason; nothing that decides notices any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.advisory.advising import give
from forge_core.advisory.analysis import Analysis, Usage
from forge_core.advisory.constitution import constitution_in_force
from forge_core.advisory.consulting.asking import Brief, Consulted, ask_all
from forge_core.advisory.consulting.council import fallback
from forge_core.advisory.consulting.reply import NoAnswer
from forge_core.advisory.consulting.turns import LASTS, Full, settle, take_turn
from forge_core.advisory.reading import read_matters
from forge_core.advisory.terms import Mode, terms_in_force
from forge_core.clock import forge_now
from forge_core.jobs.kinds import Job, Later, Outcome
from forge_core.settings import model_key

TRIES: Final = 3
"""So often a service that fails is asked; then the rules' answer stands."""
OUR_FAULT: Final = "OUR_FAULT: asking was given up; operators see why with `forge jobs dead`"
LEASE: Final = LASTS
"""Of the job, and of its turn."""
_BACK_OFF: Final = (timedelta(seconds=5), timedelta(seconds=30))
_AFTER_MOST: Final = timedelta(minutes=2)

_OPEN = text("""
    SELECT status = 'active' AND closes_at >= :now AS open,
        (SELECT coalesce(max(number), 0) FROM advice WHERE proposal_id = proposals.id) AS number
    FROM proposals WHERE id = :id
""")
# The text itself is the cache: one that is erased is not given again.
_SAID = text("""
    SELECT body FROM advice JOIN texts ON commitment = analysis
    WHERE input = :input AND source IN ('model', 'council') ORDER BY at DESC LIMIT 1
""")
_BY_RULES = text("""
    SELECT body FROM advice JOIN texts ON commitment = analysis
    WHERE proposal_id = :id AND source = 'rules' ORDER BY number DESC LIMIT 1
""")


@dataclass(frozen=True)
class Turn:
    """Whom to ask about what, and the turn to settle afterwards."""

    id: int
    brief: Brief


def prepare(session: Session, job: Job, *, catalogue: Catalogue) -> Turn | Outcome | Later:
    """Read the matter and take a turn. Without one, later; without a budget, a fallback now."""
    id_ = str(job.payload["proposal_id"])
    terms = terms_in_force(session)
    number = next_number(session, id_)
    if number is None or terms.mode is Mode.OFF:
        return Outcome.done(skipped="nobody votes on it" if number is None else "turned off")
    (matter,) = read_matters(session, catalogue, [id_])
    brief = Brief.of(matter, constitution_in_force(session), terms)
    said = session.execute(_SAID, {"input": brief.input}).scalar_one_or_none()
    if said is not None:
        analysis = Analysis.model_validate_json(said).model_copy(update={"usage": Usage()})
        give(session, {id_: analysis}, number=number, hashed=brief.input)
        return Outcome.done(source=analysis.source.value, cached=True)
    turn = _turn(session, job, brief)
    if isinstance(turn, NoAnswer):
        return _fall_back(session, number, brief, turn, Usage())
    return turn


def act(turn: Turn) -> Consulted:
    """Ask with this process's client; see ``ask_all``."""
    # It takes most of a second to load, and only who asks needs it.
    from forge_core.advisory.consulting.claude import claude  # noqa: PLC0415

    key = model_key()
    if key is None:
        return Consulted(None, NoAnswer("NO_KEY", "the key is gone"), Usage(), 0)
    return ask_all(claude(key), turn.brief)


def apply(session: Session, job: Job, turn: Turn, consulted: Consulted) -> Outcome | Later:
    """Settle the turn, and write down what was advised, or have it tried again later."""
    failure = consulted.failure
    settle(session, turn.id, consulted.usage, consulted.tokens, failure)
    number = next_number(session, turn.brief.matter.id)
    if number is None:
        return Outcome.done(skipped="nobody votes on it any more")
    if failure is not None and failure.again and job.tries < TRIES:
        wait = max(_BACK_OFF[job.tries - 1], min(failure.after or timedelta(0), _AFTER_MOST))
        return Later(wait, str(failure), counts=True)
    return conclude(session, number, turn.brief, consulted)


def conclude(
    session: Session, number: int, brief: Brief, consulted: Consulted, *, hashed: str | None = None
) -> Outcome:
    """Write down what was advised: the model's answer, or the rules' and why.

    ``hashed`` is of what was asked, where that is not what would be asked now.
    """
    if consulted.analysis is None:
        failure = consulted.failure or NoAnswer("NOT_A_MESSAGE", "no answer")
        return _fall_back(session, number, brief, failure, consulted.usage)
    give(
        session, {brief.matter.id: consulted.analysis}, number=number, hashed=hashed or brief.input
    )
    return Outcome.done(source=consulted.analysis.source.value)


def give_up(session: Session, job: Job, reason: str) -> None:  # noqa: ARG001  # for operators
    """``on_dead``: a fault of ours, and voters are told that much; its turn lapses by itself."""
    id_ = str(job.payload["proposal_id"])
    number = next_number(session, id_)
    body = session.execute(_BY_RULES, {"id": id_}).scalar_one_or_none()
    if number is not None and body is not None:
        rules = Analysis.model_validate_json(body)
        give(session, {id_: fallback(rules, OUR_FAULT, Usage())}, number=number)


def abreast(session: Session) -> int:
    """How many are asked about at once."""
    return terms_in_force(session).at_once


def next_number(session: Session, id_: str) -> int | None:
    """Of the next advice; None when nobody votes on it."""
    row = session.execute(_OPEN, {"id": id_, "now": forge_now(session)}).one_or_none()
    return int(row.number) + 1 if row is not None and row.open else None


def _turn(session: Session, job: Job, brief: Brief) -> Turn | Later | NoAnswer:
    if model_key() is None:
        return NoAnswer("NO_KEY", "this worker has no ANTHROPIC_API_KEY")
    turn = take_turn(session, brief.matter.id, brief.terms, brief.may_cost_all)
    if isinstance(turn, NoAnswer):
        return turn
    if not isinstance(turn, Full):
        return Turn(turn, brief)
    # An outage is held against the job's tries: it may last longer than the vote.
    if turn.outage and job.tries >= TRIES:
        return NoAnswer(turn.code, turn.message)
    return Later(turn.after, f"{turn.code}: {turn.message}", counts=turn.outage)


def _fall_back(
    session: Session, number: int, brief: Brief, failure: NoAnswer, usage: Usage
) -> Outcome:
    give(session, {brief.matter.id: fallback(brief.rules, str(failure), usage)}, number=number)
    return Outcome.done(source="fallback", because=failure.code)
