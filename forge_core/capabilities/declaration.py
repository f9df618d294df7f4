"""One thing that governance may change: its name, class, type, bounds, default, and what it does.

Declaring it is all there is to do: proposals may set it, simulation shows the change, execution
checks the value again and writes it, and a rollback puts the value before back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, rfc3339
from forge_core.complaints import what_is_wrong
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.text import shown

_TYPES: Final = ("integer", "decimal", "boolean", "time")
ValueType = Literal["integer", "decimal", "boolean", "time"]
Value = int | str | bool | dict[str, Any]
"""A checked value as JSON carries it: a decimal as its canonical text, a time as RFC 3339 in UTC,
a document of a pydantic model as an object."""

Model = type[BaseModel]

KEY_MOST: Final = 200
DOCUMENT_MOST: Final = 4_000
INTEGER_MOST: Final = 2**53 - 1
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", re.ASCII)


class CapabilityClass(StrEnum):
    """What kind of thing is changed; the class decides the track."""

    ORDINARY = "ordinary"
    PROTOCOL = "protocol"
    FEATURE = "feature"
    TREASURY = "treasury"
    RULE = "rule"
    EMERGENCY = "emergency"


@dataclass(frozen=True)
class Change:
    """One value being changed, for the hooks of its declaration.

    ``proposal`` is the one that changes it; ``action`` counts from 0 within the one whose change
    is applied or undone, so that (``origin``, ``action``, ``direction``) names the effect for ever.
    """

    session: Session
    key: str
    before: Value
    after: Value
    proposal: str
    origin: str
    action: int
    direction: Literal["apply", "undo"]


@dataclass(frozen=True)
class Delivery:
    """An effect to bring about outside the database.

    Whoever receives it honours ``effect``: the same key again means that it is done already.
    """

    effect: str
    key: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Capability:
    """A key that a proposal may set.

    A number has ``least`` and ``most``, both inclusive; a time may have them; a boolean and a
    ``model`` (a pydantic model instead of a ``type``) have none.

    The hooks are optional; the value itself is stored, shown and restored without any.
    ``apply`` and ``undo`` run in the transaction that changes the value: what they raise makes
    the execution fail as a whole. ``preview`` gives further lines for people, from the value
    before and after. ``deliver`` acts outside the database, after the commit, from the outbox.

    A declaration that contradicts itself raises ``ValueError`` when it is made.
    """

    key: str
    klass: CapabilityClass
    description: str
    default: Any
    type: ValueType | None = None
    model: Model | None = None
    least: int | str | None = None
    most: int | str | None = None
    apply: Callable[[Change], None] | None = None
    undo: Callable[[Change], None] | None = None
    preview: Callable[[Value, Value], Sequence[str]] | None = None
    deliver: Callable[[Delivery], None] | None = None
    _bounds: tuple[Any, Any] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or len(self.key) > KEY_MOST:
            raise ValueError(f"{self.key!r} is not a capability key")
        if (self.type is None) == (self.model is None):
            raise ValueError(f"{self.key}: give a type or a model, one of the two")
        if self.type is not None and self.type not in _TYPES:
            raise ValueError(f"{self.key}: unknown type {self.type!r}")
        bounded = self.type in ("integer", "decimal")
        given = (self.least is not None, self.most is not None)
        if given[0] != given[1] or (bounded and not given[0]) or self._unbounded(given):
            raise ValueError(f"{self.key}: numbers have both bounds, booleans and models none")
        try:
            bounds = None if self.least is None else (self._size(self.least), self._size(self.most))
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{self.key}: least is more than most")
            if self.type == "integer" and max(abs(bound) for bound in bounds or ()) > INTEGER_MOST:
                raise ValueError(f"{self.key}: JSON carries whole numbers up to 2^53 - 1 exactly")
            object.__setattr__(self, "_bounds", bounds)
            object.__setattr__(self, "default", self.check(self.default))
            if self.check(self.default) != self.default:
                raise ValueError(
                    f"{self.key}: its canonical default is another one when read again"
                )
        except Refused as refusal:
            raise ValueError(f"{self.key}: its default is refused: {refusal.message}") from refusal

    def check(self, value: object, *, name: str | None = None) -> Value:
        """Return ``value`` in its canonical JSON form; ``name`` is what messages call it.

        Raises ``Refused`` VALUE_TYPE, NUMBER_INVALID, VALUE_OUT_OF_RANGE or VALUE_TOO_LARGE.
        """
        name = name or self.key
        if self.model is not None:
            return self._check_model(name, self.model, value)
        if self.type == "boolean":
            if not isinstance(value, bool):
                raise self._wrong_type(name, value, "true or false")
            return value
        if self.type == "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise self._wrong_type(name, value, "a whole number")
            self._check_bounds(name, value, value)
            return int(value)
        if self.type == "time":
            moment = self._moment(name, value)
            self._check_bounds(name, moment, value)
            return rfc3339(moment)
        if isinstance(value, (bool, float)) or value is None:
            raise self._wrong_type(name, value, 'a decimal text such as "0.25" or a whole number')
        number = parse_decimal(value, name=name)
        self._check_bounds(name, number, value)
        return to_decimal_string(number)

    def _unbounded(self, given: tuple[bool, bool]) -> bool:
        return (self.type == "boolean" or self.model is not None) and given[0]

    def _size(self, value: object) -> Any:
        return self._moment(self.key, value) if self.type == "time" else parse_decimal(value)

    def _moment(self, name: str, value: object) -> datetime:
        wanted = "a time with its offset, such as 2026-11-01T00:00:00Z"
        if not isinstance(value, str) or len(value) > 40:
            raise self._wrong_type(name, value, wanted)
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise self._wrong_type(name, value, wanted)
            return as_utc(moment)
        except (ValueError, OverflowError) as error:
            raise self._wrong_type(name, value, wanted) from error

    def _check_model(self, name: str, model: Model, value: object) -> Value:
        if not isinstance(value, (dict, model)):
            raise self._wrong_type(name, value, "a JSON object")
        if isinstance(value, model):
            return self._document(value)
        try:
            # As JSON, and strictly: "5", 5.0 and true are no whole number, while a time is a text.
            plain = json.dumps(value, allow_nan=False)
            return self._document(model.model_validate_json(plain, strict=True))
        except ValidationError as error:
            raise Refused(
                "VALUE_TYPE", what_is_wrong(error, model, path=name, name=self.key)
            ) from error
        except (TypeError, ValueError) as error:
            raise self._wrong_type(name, value, "a JSON object") from error

    @staticmethod
    def _document(checked: BaseModel) -> dict[str, Any]:
        # A payload carries no null, so what is absent stays absent.
        document: dict[str, Any] = checked.model_dump(mode="json", exclude_none=True, by_alias=True)
        if len(json.dumps(document)) > DOCUMENT_MOST:
            # A proposal carries the value before and the new one.
            raise Refused("VALUE_TOO_LARGE", f"a document has at most {DOCUMENT_MOST:,} bytes")
        return document

    def _check_bounds(self, name: str, number: Fraction | int | datetime, given: object) -> None:
        if self._bounds is not None and not self._bounds[0] <= number <= self._bounds[1]:
            raise Refused(
                "VALUE_OUT_OF_RANGE",
                f"{name} is {shown(given)}; {self.key} allows {self.least} to {self.most}",
            )

    def _wrong_type(self, name: str, value: object, wanted: str) -> Refused:
        return Refused(
            "VALUE_TYPE",
            f"{name} is {shown(value)}; {self.key} is {self.type or 'a document'}: give {wanted}",
        )


@dataclass(frozen=True)
class Order:
    """A rule across keys: the value of ``lower`` is at most that of ``upper``."""

    lower: str
    upper: str

    def check(self, values: Mapping[str, Value]) -> None:
        """Raise ``Refused`` VALUES_CONTRADICT unless these values keep the order."""
        lower, upper = values[self.lower], values[self.upper]
        if parse_decimal(lower) > parse_decimal(upper):
            raise Refused(
                "VALUES_CONTRADICT",
                f"{self.lower} would be {lower} and {self.upper} {upper}; "
                f"the first is never more than the second",
            )
