"""Asking a model about one proposal: read, ask with no transaction open, write down.

The rules' advice is there before. Whatever goes wrong, voters find the rules' answer once more,
marked as a fallback and with the reason; nothing that decides notices any of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.advisory.advising import give
from forge_core.advisory.analysis import Analysis, Usage
from forge_core.advisory.constitution import Constitution, constitution_in_force
from forge_core.advisory.consulting.answer import Answer, read_answers, schema_for
from forge_core.advisory.consulting.council import analysis_of, fallback
from forge_core.advisory.consulting.failure import NoAnswer
from forge_core.advisory.consulting.prompt import (
    Ask,
    Perspective,
    Prompt,
    Reading,
    asks,
    input_hash,
    prompt_of,
)
from forge_core.advisory.consulting.turns import LASTS, Full, settle, take_turn
from forge_core.advisory.matter import Matter
from forge_core.advisory.reading import read_matters
from forge_core.advisory.rules import analyse as analyse_by_rules
from forge_core.advisory.terms import Mode, Terms, terms_in_force
from forge_core.clock import forge_now
from forge_core.jobs.kinds import Job, Later, Outcome
from forge_core.settings import model_key

if TYPE_CHECKING:
    from forge_core.advisory.consulting.claude import Claude, Reply

TRIES: Final = 3
"""So often a service that fails is asked; then the rules' answer stands."""
LEASE: Final = LASTS
"""Of the job, and of its turn."""
_TALKS: Final = LASTS - timedelta(seconds=30)
_LEAST_SECONDS: Final = 5
_BACK_OFF: Final = (timedelta(seconds=5), timedelta(seconds=30))
_AFTER_MOST: Final = timedelta(minutes=2)
_LETTERS_A_TOKEN: Final = 3
"""Fewer than there are in any language that is usual: an estimate that is too high."""

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


@dataclass(frozen=True)
class Brief:
    """All that is needed to ask; ``number`` is what the answer will have among the advice."""

    turn: int
    matter: Matter
    constitution: Constitution
    rules: Analysis
    terms: Terms
    asked: tuple[Ask, ...]


@dataclass(frozen=True)
class Consulted:
    """What came of it: an analysis or the reason for none; what it cost, ``tokens`` for sure."""

    analysis: Analysis | None
    failure: NoAnswer | None
    usage: Usage
    tokens: int


def prepare(session: Session, job: Job, *, catalogue: Catalogue) -> Brief | Outcome | Later:
    """Read the matter and take a turn. Without one, later; without a budget, a fallback now."""
    id_ = str(job.payload["proposal_id"])
    terms = terms_in_force(session)
    number = _next_number(session, id_)
    if number is None or terms.mode is Mode.OFF:
        return Outcome.done(skipped="nobody votes on it" if number is None else "turned off")
    (matter,) = read_matters(session, catalogue, [id_])
    constitution = constitution_in_force(session)
    rules = analyse_by_rules(matter, constitution)
    asked = asks_for(matter, terms)
    hashed = _hashed(asked, matter, constitution, terms)
    said = session.execute(_SAID, {"input": hashed}).scalar_one_or_none()
    if said is not None:
        analysis = Analysis.model_validate_json(said).model_copy(update={"usage": Usage()})
        give(session, {id_: analysis}, number=number, hashed=hashed)
        return Outcome.done(source=analysis.source.value, cached=True)
    turn = _turn(session, job, terms, [_prompt(ask, matter, constitution) for ask in asked])
    if isinstance(turn, Later):
        return turn
    if isinstance(turn, NoAnswer):
        return _fall_back(session, id_, number, rules, turn, Usage())
    return Brief(turn, matter, constitution, rules, terms, tuple(asked))


def act(brief: Brief) -> Consulted:
    """Ask with this process's client; see ``ask_all``."""
    # It takes most of a second to load, and only who asks needs it.
    from forge_core.advisory.consulting.claude import claude  # noqa: PLC0415

    key = model_key()
    if key is None:
        return Consulted(None, NoAnswer("NO_KEY", "the key is gone"), Usage(), 0)
    return ask_all(claude(key), brief)


def apply(session: Session, job: Job, brief: Brief, consulted: Consulted) -> Outcome | Later:
    """Settle the turn, and write down what was advised, or have it tried again later."""
    failure = consulted.failure
    settle(session, brief.turn, consulted.usage, consulted.tokens, failure)
    id_ = brief.matter.id
    number = _next_number(session, id_)
    if number is None:
        return Outcome.done(skipped="nobody votes on it any more")
    if failure is not None and failure.again and job.tries < TRIES:
        wait = max(_BACK_OFF[job.tries - 1], min(failure.after or timedelta(0), _AFTER_MOST))
        return Later(wait, str(failure), counts=True)
    if consulted.analysis is None:
        assert failure is not None  # noqa: S101  # one of the two it is
        return _fall_back(session, id_, number, brief.rules, failure, consulted.usage)
    hashed = _hashed(brief.asked, brief.matter, brief.constitution, brief.terms)
    give(session, {id_: consulted.analysis}, number=number, hashed=hashed)
    return Outcome.done(source=consulted.analysis.source.value)


def abreast(session: Session) -> int:
    """How many are asked about at once."""
    return terms_in_force(session).at_once


def asks_for(matter: Matter, terms: Terms) -> list[Ask]:
    """The calls that these terms have made for a proposal."""
    members = () if terms.mode is Mode.SINGLE else tuple(Perspective)
    return asks(matter, members=members, together=terms.mode is Mode.COUNCIL)


def ask_all(client: Claude, brief: Brief) -> Consulted:
    """One call after the other, so that a turn is never more than one at once.

    The first failure ends it.
    """
    until = time.monotonic() + _TALKS.total_seconds()
    usages: list[Usage] = []
    tokens = 0
    answers: dict[str, Answer] = {}
    readings: dict[Reading, Answer] = {}
    mark: str | None = None
    for ask in brief.asked:
        seconds = min(brief.terms.seconds, int(until - time.monotonic()))
        if seconds < _LEAST_SECONDS:
            failure = NoAnswer("TIMED_OUT", "the calls take too long together", outage=True)
            return Consulted(None, failure, _sum(usages), tokens)
        prompt = _prompt(ask, brief.matter, brief.constitution)
        terms = brief.terms.model_copy(update={"seconds": seconds})
        reply = client.ask(prompt, schema_for(ask), terms)
        usages.append(reply.usage or Usage(calls=1))
        tokens += reply.usage.tokens if reply.usage is not None else _may_cost(prompt, terms)
        try:
            read = read_answers(_text_of(reply), ask, prompt)
        except NoAnswer as failure:
            return Consulted(None, failure, _sum(usages), tokens)
        if ask.reading is Reading.WHOLE:
            answers |= read
        else:
            readings[ask.reading] = read[ask.reading.value]
            mark = prompt.mark or mark
    usage = _sum(usages)
    analysis = analysis_of(
        brief.matter, brief.rules, answers, readings, mark=mark, model=brief.terms.model,
        usage=usage,
    )  # fmt: skip
    return Consulted(analysis, None, usage, tokens)


def _text_of(reply: Reply) -> str:
    if reply.text is None:
        raise reply.failure or NoAnswer("NOT_A_MESSAGE", "no text")
    return reply.text


def _turn(
    session: Session, job: Job, terms: Terms, prompts: Sequence[Prompt]
) -> int | Later | NoAnswer:
    if model_key() is None:
        return NoAnswer("NO_KEY", "this worker has no ANTHROPIC_API_KEY")
    tokens = sum(_may_cost(prompt, terms) for prompt in prompts)
    turn = take_turn(session, str(job.payload["proposal_id"]), terms, tokens)
    if not isinstance(turn, Full):
        return turn
    # An outage is held against the job's tries: it may last longer than the vote.
    if turn.outage and job.tries >= TRIES:
        return NoAnswer(turn.code, turn.message)
    return Later(turn.after, f"{turn.code}: {turn.message}", counts=turn.outage)


def _fall_back(
    session: Session, id_: str, number: int, rules: Analysis, failure: NoAnswer, usage: Usage
) -> Outcome:
    give(session, {id_: fallback(rules, str(failure), usage)}, number=number)
    return Outcome.done(source="fallback", because=failure.code)


def _next_number(session: Session, id_: str) -> int | None:
    """Of the next advice; None when nobody votes on it."""
    row = session.execute(_OPEN, {"id": id_, "now": forge_now(session)}).one_or_none()
    return int(row.number) + 1 if row is not None and row.open else None


def _prompt(ask: Ask, matter: Matter, constitution: Constitution) -> Prompt:
    return prompt_of(
        ask, matter, constitution, nonce=secrets.token_hex(8), canary=secrets.token_hex(12)
    )


def _may_cost(prompt: Prompt, terms: Terms) -> int:
    letters = len(prompt.fixed) + len(prompt.own) + len(prompt.user)
    return letters // _LETTERS_A_TOKEN + terms.answer_tokens


def _hashed(asked: Sequence[Ask], matter: Matter, constitution: Constitution, terms: Terms) -> str:
    return input_hash(asked, matter, constitution, model=terms.model, effort=terms.effort.value)


def _sum(usages: list[Usage]) -> Usage:
    every: Mapping[str, int] = {
        name: reduce(add, (getattr(one, name) for one in usages), 0) for name in Usage.model_fields
    }
    return Usage(**every)
