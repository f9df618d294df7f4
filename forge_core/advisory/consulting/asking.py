"""One proposal, the calls that are made about it, and what their replies come to."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from forge_core.advisory.analysis import Analysis, Usage
from forge_core.advisory.constitution import Constitution
from forge_core.advisory.consulting.answer import Answer, read_answers, schema_for
from forge_core.advisory.consulting.council import analysis_of, kept_of
from forge_core.advisory.consulting.prompt import (
    Ask,
    Perspective,
    Prompt,
    Reading,
    asks,
    input_hash,
    prompt_of,
)
from forge_core.advisory.consulting.reply import NoAnswer, Reply
from forge_core.advisory.consulting.turns import LASTS
from forge_core.advisory.matter import Matter
from forge_core.advisory.rules import analyse as analyse_by_rules
from forge_core.advisory.terms import Mode, Terms

if TYPE_CHECKING:
    from forge_core.advisory.consulting.claude import Claude

TALKS: Final = LASTS - timedelta(seconds=30)
"""All calls about one proposal, so that the answer comes within the lease."""
_LEAST_SECONDS: Final = 5


class Secrets(NamedTuple):
    """What nobody who writes a proposal could know."""

    nonce: str
    canary: str

    @classmethod
    def fresh(cls) -> Secrets:
        return cls(secrets.token_hex(8), secrets.token_hex(12))


@dataclass(frozen=True)
class Brief:
    """All that is needed to ask about a proposal."""

    matter: Matter
    constitution: Constitution
    terms: Terms
    rules: Analysis
    asked: tuple[Ask, ...]

    @classmethod
    def of(cls, matter: Matter, constitution: Constitution, terms: Terms) -> Brief:
        members = () if terms.mode is Mode.SINGLE else tuple(Perspective)
        asked = asks(matter, members=members, together=terms.mode is Mode.COUNCIL)
        rules = analyse_by_rules(matter, constitution)
        return cls(matter, constitution, terms, rules, tuple(asked))

    @property
    def input(self) -> str:
        """The digest of what the answer depends on."""
        return input_hash(
            self.asked,
            self.matter,
            self.constitution,
            model=self.terms.model,
            effort=self.terms.effort.value,
            beside=(*kept_of(self.rules), *self.rules.signals, *self.rules.precedents),
        )

    def prompt(self, ask: Ask, known: Secrets | None = None) -> Prompt:
        """With secrets of its own, unless it is to be as it was."""
        nonce, canary = known or Secrets.fresh()
        return prompt_of(ask, self.matter, self.constitution, nonce=nonce, canary=canary)

    def may_cost(self, ask: Ask) -> int:
        """The most tokens that a call may take."""
        prompt = self.prompt(ask)
        schema = json.dumps(schema_for(ask))
        said = (prompt.fixed, prompt.own, prompt.user, schema)
        return sum(map(_tokens_most, said)) + self.terms.answer_tokens

    @property
    def may_cost_all(self) -> int:
        return sum(self.may_cost(ask) for ask in self.asked)


@dataclass(frozen=True)
class Consulted:
    """What came of it: an analysis or the reason for none; what it cost, ``tokens`` for sure."""

    analysis: Analysis | None
    failure: NoAnswer | None
    usage: Usage
    tokens: int


class Replies:
    """Taken one by one; the first failure is what comes of them all."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._usages: list[Usage] = []
        self._tokens = 0
        self._answers: dict[str, Answer] = {}
        self._readings: dict[Reading, Answer] = {}
        self._mark: str | None = None
        self._failure: NoAnswer | None = None

    def take(self, ask: Ask, prompt: Prompt, reply: Reply) -> None:
        self._usages.append(reply.usage or Usage(calls=1))
        took = reply.usage
        self._tokens += self._brief.may_cost(ask) if took is None else took.tokens
        if reply.text is None:
            self.fail(reply.failure or NoAnswer("NOT_A_MESSAGE", "no text"))
            return
        try:
            read = read_answers(reply.text, ask, prompt)
        except NoAnswer as failure:
            self.fail(failure)
            return
        if ask.reading is Reading.WHOLE:
            self._answers |= read
        else:
            self._readings[ask.reading] = read[ask.reading.value]
            self._mark = prompt.mark or self._mark

    def fail(self, failure: NoAnswer) -> None:
        self._failure = self._failure or failure

    @property
    def failed(self) -> bool:
        return self._failure is not None

    def consulted(self) -> Consulted:
        usage = _sum(self._usages)
        if self._failure is not None:
            return Consulted(None, self._failure, usage, self._tokens)
        analysis = analysis_of(
            self._brief.matter,
            self._brief.rules,
            self._answers,
            self._readings,
            mark=self._mark,
            model=self._brief.terms.model,
            usage=usage,
        )
        return Consulted(analysis, None, usage, self._tokens)


def ask_all(client: Claude, brief: Brief) -> Consulted:
    """One call after the other, so that a turn is never more than one at once."""
    until = time.monotonic() + TALKS.total_seconds()
    replies = Replies(brief)
    for ask in brief.asked:
        seconds = min(brief.terms.seconds, int(until - time.monotonic()))
        if seconds < _LEAST_SECONDS:
            replies.fail(NoAnswer("TIMED_OUT", "the calls take too long together", outage=True))
            break
        prompt = brief.prompt(ask)
        terms = brief.terms.model_copy(update={"seconds": seconds})
        replies.take(ask, prompt, client.ask(prompt, schema_for(ask), terms))
        if replies.failed:
            break
    return replies.consulted()


def _tokens_most(text: str) -> int:
    """More than it takes: two plain letters a token, and each byte of any other a token."""
    plain = sum(map(str.isascii, text))
    return (plain + 1) // 2 + len(text.encode()) - plain


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(**{name: sum(getattr(one, name) for one in usages) for name in Usage.model_fields})
