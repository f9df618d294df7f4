"""Exact decimals: text to ``Fraction`` and back, never through a binary float."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final, cast

from forge_core.errors import Refused
from forge_core.text import shown

MOST_DIGITS: Final = 100
_LONGEST: Final = 4_000  # Python itself stops converting text to int at 4,300 digits
_DECIMAL: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,5}))?", re.ASCII)


def parse_decimal(
    value: object, *, name: str = "number", most_digits: int = MOST_DIGITS
) -> Fraction:
    """Return the exact value of a whole number, a ``Decimal`` or a decimal text such as "-0.25".

    ``most_digits`` (up to 4,000) bounds the digits it has when written out without an exponent.
    Raises ``Refused`` NUMBER_INVALID, for floats and booleans too.
    """
    limit = min(most_digits, _LONGEST)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**limit:
            raise _too_long(name, limit)
        return Fraction(int(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Refused("NUMBER_INVALID", f"{name} is not a finite number")
        places = -cast("int", value.as_tuple().exponent)
        if max(value.adjusted() + 1, value.adjusted() + 1 + places, places) > limit:
            raise _too_long(name, limit)
        return Fraction(value)
    if not isinstance(value, str):
        raise Refused(
            "NUMBER_INVALID",
            f'{name} must be a whole number or a decimal text such as "0.25", not {shown(value)}',
        )
    return _parse_text(name, value, limit)


def _parse_text(name: str, text: str, limit: int) -> Fraction:
    match = _DECIMAL.fullmatch(text) if len(text) <= 2 * limit + 10 else None
    if match is None and len(text) > limit:
        raise _too_long(name, limit)
    if match is None or not (match[2] or match[3]):
        raise Refused("NUMBER_INVALID", f"{name} is {shown(text)}, which is not a finite decimal")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    places = len(fraction) - int(match[4] or 0)
    digits = (whole + fraction).lstrip("0")
    if max(len(digits), len(digits) - places, places) > limit:
        raise _too_long(name, limit)
    number = int(digits or "0")
    if sign == "-":
        number = -number
    return Fraction(number, 10**places) if places > 0 else Fraction(number * 10**-places)


def _too_long(name: str, limit: int) -> Refused:
    return Refused("NUMBER_INVALID", f"{name} has more than {limit:,} digits")


def to_decimal_string(value: Fraction | int) -> str:
    """Write a terminating decimal in its one canonical form: "12", "0.5", "-3.25", "0".

    Raises ``ValueError`` for a fraction such as 1/3 that no finite decimal equals.
    """
    numerator, rest = value.numerator, value.denominator
    if rest == 1:
        return str(numerator)
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    if rest != 1:
        message = f"{value} has no finite decimal form"
        raise ValueError(message)
    places = max(twos, fives)
    digits = str(abs(numerator) * 2 ** (places - twos) * 5 ** (places - fives))
    digits = digits.rjust(places + 1, "0")
    return f"{'-' if numerator < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def rounded(part: Fraction | int, whole: Fraction | int, places: int = 6) -> str:
    """``part / whole`` rounded half up to ``places`` decimals, for people only. Not negative."""
    above = part.numerator * whole.denominator * 10**places
    below = part.denominator * whole.numerator
    return to_decimal_string(Fraction((2 * above + below) // (2 * below), 10**places))
