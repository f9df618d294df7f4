"""What text and identifiers must be before anything stores, signs or compares them."""

from __future__ import annotations

import unicodedata

from forge_core.errors import Refused

ID_MOST = 200
_EXCERPT = 60
_READABLE_BITS = 200
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def require_text(name: str, value: object, *, least: int, most: int) -> str:
    """Return ``value`` unchanged when it is storable text of ``least`` to ``most`` characters.

    Where at least one character is asked for, one of them must be visible. Raises ``Refused``
    with TEXT_INVALID_TYPE, TEXT_TOO_LONG, TEXT_TOO_SHORT, TEXT_NUL, TEXT_SURROGATE or TEXT_BLANK.
    """
    if not isinstance(value, str):
        raise Refused("TEXT_INVALID_TYPE", f"{name} must be text, not {shown(value)}")
    if len(value) > most:
        raise Refused(
            "TEXT_TOO_LONG", f"{name} has {len(value):,} characters; at most {most:,} are allowed"
        )
    refuse_unstorable(name, value)
    if least >= 1 and is_blank(value):
        raise Refused("TEXT_BLANK", f"{name} is blank; it needs {least:,} to {most:,} characters")
    if len(value) < least:
        raise Refused(
            "TEXT_TOO_SHORT", f"{name} has {len(value):,} characters; at least {least:,} are needed"
        )
    return value


def require_id(name: str, value: object) -> str:
    """Return ``value`` when it is an identifier: 1 to 200 printable characters, no space.

    Raises ``Refused`` ID_INVALID.
    """
    if not isinstance(value, str):
        raise Refused("ID_INVALID", f"{name} must be text, not {shown(value)}")
    if not 1 <= len(value) <= ID_MOST:
        raise Refused(
            "ID_INVALID", f"{name} has {len(value):,} characters; an id has 1 to {ID_MOST}"
        )
    if not value.isprintable() or any(character.isspace() for character in value):
        raise Refused(
            "ID_INVALID",
            f"{name} is {shown(value)}; an id has no spaces, control or invisible characters",
        )
    return value


def refuse_unstorable(name: str, value: str) -> None:
    """Refuse what neither PostgreSQL nor UTF-8 can carry: TEXT_NUL, TEXT_SURROGATE."""
    if "\x00" in value:
        raise Refused("TEXT_NUL", f"{name} contains a NUL character, which cannot be stored")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(
            "TEXT_SURROGATE", f"{name} contains a lone surrogate, which is not valid Unicode text"
        )


def is_blank(value: str) -> bool:
    """Whether nothing in ``value`` would be visible: spaces, controls, zero-width characters."""
    return not value.strip() or all(unicodedata.category(c) in _INVISIBLE for c in value)


def shown(value: object) -> str:
    """A short ASCII excerpt of untrusted input, safe in any message, log and terminal."""
    if isinstance(value, str):
        head = ascii(str(value[:_EXCERPT]))
        return head if len(value) <= _EXCERPT else f"{head}… ({len(value):,} characters)"
    if isinstance(value, bool) or value is None:
        return repr(value).lower() if value is not None else "null"
    if isinstance(value, int):
        if value.bit_length() <= _READABLE_BITS:
            return str(int(value))
        return f"a whole number of {value.bit_length():,} bits"
    if isinstance(value, float):
        return f"the binary floating-point number {float(value)!r}"
    return f"a value of type {type(value).__name__[:_EXCERPT]}"
