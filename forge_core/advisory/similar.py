"""How alike two texts are: the share of word triples that they have in common."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from forge_core.advisory.plain_text import visible

_WORD: Final = re.compile(r"\w+")
TOGETHER: Final = 3


def likeness(one: str, other: str) -> float:
    """0 for nothing in common, 1 for the same words in the same order."""
    ours, theirs = _shingles(one), _shingles(other)
    if not ours or not theirs:
        return 0.0
    return len(ours & theirs) / len(ours | theirs)


def words(text: str) -> list[str]:
    """Its words, folded."""
    return _WORD.findall(unicodedata.normalize("NFKC", visible(text)).casefold())


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    found = words(text)
    if len(found) < TOGETHER:
        return frozenset({tuple(found)} if found else ())
    return frozenset(tuple(found[at : at + TOGETHER]) for at in range(len(found) - TOGETHER + 1))
