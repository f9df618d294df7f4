"""Fields of payloads: each names itself in its refusals."""

from __future__ import annotations

import re
from typing import Final

from pydantic import BeforeValidator

from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.members.levels import parse_level, parse_role
from forge_core.text import require_id, require_text, shown

TEXT_MOST: Final = 10_000
NAME_MOST: Final = 200
VERSION_MOST: Final = 64

_VERSION: Final = re.compile(
    r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)


def id_field(key: str) -> BeforeValidator:
    """An identifier."""
    return BeforeValidator(lambda value: require_id(f"payload.{key}", value))


def ids_field(key: str, most: int) -> BeforeValidator:
    """A list of up to ``most`` different identifiers; it is kept sorted."""

    def check(value: object) -> list[str]:
        if not isinstance(value, list) or len(value) > most:
            raise Refused(
                "PAYLOAD_WRONG_TYPE", f"payload.{key} must be a list of at most {most} identifiers"
            )
        given = [require_id(f"payload.{key}", one) for one in value]
        if len(set(given)) != len(given):
            raise Refused("PAYLOAD_WRONG_TYPE", f"payload.{key} names an identifier twice")
        return sorted(given)

    return BeforeValidator(check)


def text_field(key: str, most: int) -> BeforeValidator:
    """A text of 1 to ``most`` characters."""
    return BeforeValidator(lambda v: require_text(f"payload.{key}", v, least=1, most=most))


def level_field(key: str) -> BeforeValidator:
    """A trust level."""
    return BeforeValidator(lambda value: parse_level(f"payload.{key}", value))


def role_field(key: str) -> BeforeValidator:
    """A role."""
    return BeforeValidator(lambda value: parse_role(f"payload.{key}", value))


def version_field(key: str) -> BeforeValidator:
    """A semantic version."""

    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > VERSION_MOST or not _VERSION.fullmatch(value):
            raise Refused(
                "VERSION_INVALID",
                f"payload.{key} is {shown(value)}; a version looks like 1.4.0 or 2.0.0-rc.1 "
                f"and has at most {VERSION_MOST} characters",
            )
        return value

    return BeforeValidator(check)


def whole_field(key: str, least: int, most: int) -> BeforeValidator:
    """A whole number within inclusive bounds."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(
                "PAYLOAD_WRONG_TYPE", f"payload.{key} must be a whole number, not {shown(value)}"
            )
        if not least <= value <= most:
            raise Refused(
                "VALUE_OUT_OF_RANGE",
                f"payload.{key} is {shown(value)}; {least:,} to {most:,} is allowed",
            )
        return value

    return BeforeValidator(check)


def switch_field(key: str) -> BeforeValidator:
    """True or false."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise Refused(
                "PAYLOAD_WRONG_TYPE", f"payload.{key} must be true or false, not {shown(value)}"
            )
        return value

    return BeforeValidator(check)


def decimal_field(key: str) -> BeforeValidator:
    """An exact number, as canonical decimal text."""
    return BeforeValidator(lambda v: to_decimal_string(parse_decimal(v, name=f"payload.{key}")))


def amount_field(key: str) -> BeforeValidator:
    """An exact amount above zero, as canonical decimal text."""

    def check(value: object) -> str:
        amount = parse_decimal(value, name=f"payload.{key}")
        if amount <= 0:
            raise Refused("AMOUNT_NOT_POSITIVE", f"payload.{key} is {shown(value)}; give above 0")
        return to_decimal_string(amount)

    return BeforeValidator(check)


def one_of_field(key: str, *allowed: str) -> BeforeValidator:
    """One of a few words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise Refused(
                "PAYLOAD_WRONG_TYPE",
                f"payload.{key} is {shown(value)}; it is one of {', '.join(allowed)}",
            )
        return value

    return BeforeValidator(check)
