"""One thing that governance may change: its name, class, type, bounds and default."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Final, Literal

from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.text import shown

_TYPES: Final = ("integer", "decimal", "boolean")
ValueType = Literal["integer", "decimal", "boolean"]
Value = int | str | bool
"""A checked value as JSON carries it; a decimal is its canonical text."""

KEY_MOST: Final = 200
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", re.ASCII)


class CapabilityClass(StrEnum):
    """What kind of thing a key changes; the class decides the track."""

    ORDINARY = "ordinary"
    PROTOCOL = "protocol"
    FEATURE = "feature"
    TREASURY = "treasury"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Capability:
    """A key that a proposal may set. ``least`` and ``most`` are inclusive.

    A declaration that contradicts itself raises ``ValueError`` when it is made.
    """

    key: str
    klass: CapabilityClass
    description: str
    type: ValueType
    default: Value
    least: int | str | None = None
    most: int | str | None = None
    _bounds: tuple[Fraction, Fraction] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bounds = None
        if not _KEY.fullmatch(self.key) or len(self.key) > KEY_MOST:
            raise ValueError(f"{self.key!r} is not a capability key")
        if self.type not in _TYPES:
            raise ValueError(f"{self.key}: unknown type {self.type!r}")
        if (self.type == "boolean") != (self.least is None) or (
            (self.least is None) != (self.most is None)
        ):
            raise ValueError(f"{self.key}: numbers have both bounds, booleans none")
        if self.least is not None:
            bounds = (parse_decimal(self.least), parse_decimal(self.most))
        object.__setattr__(self, "_bounds", bounds)
        try:
            canonical = self.check(self.default)
        except Refused as refusal:
            raise ValueError(f"{self.key}: its default is refused: {refusal.message}") from refusal
        object.__setattr__(self, "default", canonical)

    def check(self, value: object, *, name: str | None = None) -> Value:
        """Return ``value`` in its canonical JSON form; ``name`` is what messages call it.

        Raises ``Refused`` VALUE_TYPE, NUMBER_INVALID or VALUE_OUT_OF_RANGE.
        """
        name = name or self.key
        if self.type == "boolean":
            if not isinstance(value, bool):
                raise self._wrong_type(name, value, "true or false")
            return value
        if self.type == "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise self._wrong_type(name, value, "a whole number")
            self._check_bounds(name, value, value)
            return int(value)
        if isinstance(value, (bool, float)) or value is None:
            raise self._wrong_type(name, value, 'a decimal text such as "0.25" or a whole number')
        number = parse_decimal(value, name=name)
        self._check_bounds(name, number, value)
        return to_decimal_string(number)

    def _check_bounds(self, name: str, number: Fraction | int, given: object) -> None:
        if self._bounds is not None and not self._bounds[0] <= number <= self._bounds[1]:
            raise Refused(
                "VALUE_OUT_OF_RANGE",
                f"{name} is {shown(given)}; {self.key} allows {self.least} to {self.most}",
            )

    def _wrong_type(self, name: str, value: object, wanted: str) -> Refused:
        return Refused(
            "VALUE_TYPE", f"{name} is {shown(value)}; {self.key} is {self.type}: give {wanted}"
        )
