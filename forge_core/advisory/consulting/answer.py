"""What a model may answer, and reading it: into the form, or not at all.

A recommendation is a member of the enumeration. What is written around it is shown to voters and
never looked at: "I do not recommend support" is not support.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forge_core.advisory.analysis import QUOTE_MOST, Point, Recommendation, Score, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.consulting.prompt import TASK, Ask, Perspective, Prompt, strings_in
from forge_core.advisory.consulting.reply import NoAnswer
from forge_core.advisory.matter import Matter
from forge_core.advisory.plain_text import visible

LEAKED_MOST: Final = 60
"""So many characters in a row of our own words in an answer say that it repeats its orders."""
_LONG: Final = 4_000
_SHORT: Final = 600
_QUOTE_LEAST: Final = 3


class _Answered(BaseModel):
    # What the API does not enforce is bounded here.
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class AnsweredScore(_Answered):
    principle: Principle
    score: Annotated[int, Field(ge=0, le=100)]
    reasoning: Annotated[str, Field(max_length=_SHORT)]


class AnsweredPoint(_Answered):
    principle: Principle
    severity: Severity
    explanation: Annotated[str, Field(min_length=1, max_length=_SHORT)]
    quote: Annotated[str, Field(max_length=_LONG)] | None


class Answer(_Answered):
    """One adviser's."""

    recommendation: Recommendation
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    summary: Annotated[str, Field(min_length=1, max_length=_SHORT * 2)]
    scores: Annotated[list[AnsweredScore], Field(max_length=20)]
    risks: Annotated[list[AnsweredPoint], Field(max_length=20)]
    benefits: Annotated[list[AnsweredPoint], Field(max_length=20)]
    modifications: Annotated[list[Annotated[str, Field(max_length=_SHORT)]], Field(max_length=20)]


class OfMember(Answer):
    """A member's, where one call answers for all."""

    perspective: Perspective


class OfCouncil(_Answered):
    opinions: Annotated[list[OfMember], Field(max_length=len(Perspective))]


def schema_for(ask: Ask) -> dict[str, Any]:
    """The JSON schema that the API holds an answer to: no more than it can enforce."""
    return _schema_of(OfCouncil if len(ask.members) > 1 else Answer)


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    whole = model.model_json_schema()
    definitions = whole.pop("$defs", {})
    found: dict[str, Any] = _enforceable(whole, definitions)
    return found


def read_answers(text: str, ask: Ask, prompt: Prompt) -> dict[str, Answer]:
    """By who gave it: a perspective, or the reading. ``NoAnswer`` when it is none."""
    try:
        read: Answer | OfCouncil = (
            OfCouncil if len(ask.members) > 1 else Answer
        ).model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # Of the path only what is our own: the names of unknown fields would be the model's words.
        raise NoAnswer("ANSWER_INVALID", f"not in the form asked for: {first['type']}") from None
    except (RecursionError, ValueError) as error:
        raise NoAnswer("ANSWER_INVALID", f"no JSON: {type(error).__name__}") from None
    if _leaks(strings_in(read.model_dump(mode="json")), prompt):
        raise NoAnswer("PROMPT_LEAKED", "the answer repeats what it was told to keep")
    if isinstance(read, Answer):
        return {ask.members[0].value if ask.members else ask.reading.value: read}
    by_member = {one.perspective: one for one in read.opinions}
    if set(by_member) != set(ask.members):
        raise NoAnswer("ANSWER_INVALID", "not every member of the council has answered")
    return {member.value: by_member[member] for member in ask.members}


class Quotes:
    """The proposal's own words, to hold quotes against."""

    def __init__(self, matter: Matter) -> None:
        said = [*matter.texts.values(), *strings_in(matter.actions)]
        said += [one.title for one in matter.precedents]
        self._said = [_folded(one) for one in said]
        self.dropped = 0

    def points(self, answered: Sequence[AnsweredPoint], mark: str | None = None) -> list[Point]:
        """The same points; a quote that stands nowhere in the proposal is dropped and counted."""
        return [
            Point(
                principle=one.principle,
                severity=one.severity,
                explanation=one.explanation,
                quote=self._verified(one.quote, mark),
            )
            for one in answered
        ]

    def _verified(self, quote: str | None, mark: str | None) -> str | None:
        if quote is None or not quote.strip():
            return None
        words = quote if mark is None else quote.replace(mark, " ")
        folded = _folded(words)
        if len(folded) < _QUOTE_LEAST or not any(folded in said for said in self._said):
            self.dropped += 1
            return None
        return words[:QUOTE_MOST]


def scores_of(answered: Sequence[AnsweredScore]) -> list[Score]:
    """Each principle once; the first one said holds."""
    by_principle: dict[Principle, AnsweredScore] = {}
    for one in answered:
        by_principle.setdefault(one.principle, one)
    return [
        Score(principle=one.principle, score=one.score, reasoning=one.reasoning)
        for one in by_principle.values()
    ]


def _leaks(said: Sequence[str], prompt: Prompt) -> bool:
    """Whether it says what only its orders say: a proposal may quote them, and be quoted."""
    theirs = _folded("\n".join(said)).casefold()
    if prompt.canary in theirs:
        return True
    ours, known = (_folded(one).casefold() for one in (f"{TASK}{prompt.own}", prompt.said))
    windows = (
        ours[at : at + LEAKED_MOST] for at in range(0, len(ours) - LEAKED_MOST, LEAKED_MOST // 4)
    )
    return any(window in theirs and window not in known for window in windows)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", visible(text)).split())


def _enforceable(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Without references, lengths and bounds: the API's grammar has none of them."""
    if isinstance(schema, list):
        return [_enforceable(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _enforceable(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {
        key: {name: _enforceable(one, definitions) for name, one in value.items()}
        if key == "properties"
        else _enforceable(value, definitions)
        for key, value in schema.items()
        if key in ("type", "properties", "required", "items", "enum", "anyOf", "const")
    }
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
    return kept
