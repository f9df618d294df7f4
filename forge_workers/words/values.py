"""Values, times and changes in words. What members wrote can steer neither terminal nor page."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from forge_core.clock import rfc3339

NAMES_MOST: Final = 12
VALUE_MOST: Final = 300
MARKS_MOST: Final = 8
"""On one letter: no script needs more, and more would be written over the lines around."""

# Printable by their category, and nothing to see.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_LINES: Final = re.compile(r"\n\s*\n\s*")


def shown(value: object) -> str:
    """One value in a line, or in a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _printable(", ".join(value) or "-")
    if isinstance(value, (dict, list)):
        return _printable(json.dumps(value, ensure_ascii=False, default=plain))
    return _printable(str(value))


def squeezed(text: str) -> str:
    """A text of somebody's, in which no run of empty lines pushes anything out of sight."""
    return _LINES.sub("\n\n", shown(text).strip())


def plain(value: object) -> str:
    """What JSON has no form for: times as RFC 3339, decimals as strings."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def when(moment: str | None) -> str:
    """An RFC 3339 time as times are shown."""
    return shown(None if moment is None else datetime.fromisoformat(moment))


def change_line(change: Mapping[str, Any]) -> str:
    """One change: what, from what, to what."""
    return f"{shown(change['target'])}: {_short(change['before'])} → {_short(change['after'])}"


def names(given: Sequence[str]) -> str:
    """Some of them by name."""
    more = len(given) - NAMES_MOST
    named = ", ".join(shown(name) for name in given[:NAMES_MOST]) or "nobody"
    return named + (f" and {more:,} more" if more > 0 else "")


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    # Sorted: what the database gives back is no longer in the order in which it was proposed.
    text = (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    )
    text = shown(text.replace("\n", " "))
    return text if len(text) <= VALUE_MOST else text[:VALUE_MOST] + "…"


def _printable(text: str) -> str:
    return "".join(_seen(text))


def _seen(text: str) -> Iterator[str]:
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > MARKS_MOST:
            continue
        yield letter if (letter.isprintable() or letter == "\n") and letter not in _BLANK else "�"
