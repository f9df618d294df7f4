"""Signs that a text speaks to the adviser instead of the voters. They are shown, never obeyed.

Every reading of a text is looked at (see ``plain_text``). A pattern asks for two things together,
an order and what only an adviser could do with it, since honest texts order and mention too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from forge_core.advisory.analysis import QUOTE_MOST, Signal, Where
from forge_core.advisory.plain_text import hidden, mixed_words, readings

_LEXICON: Final = "injection.toml"


@cache
def _patterns() -> Sequence[tuple[str, re.Pattern[str]]]:
    """Kind and pattern of each family; made with the first text, for most processes read none.

    They are for text in small letters: told to overlook case, they take twice the time.
    """
    found = files("forge_core.advisory").joinpath(_LEXICON).read_text(encoding="utf-8")
    lexicon = tomllib.loads(found)

    def compiled(patterns: Sequence[str]) -> re.Pattern[str]:
        joined = "|".join(patterns)
        for name, words in lexicon["words"].items():
            joined = joined.replace(f"{{{name}}}", words)
        return re.compile(joined)

    return [(str(family["kind"]), compiled(family["patterns"])) for family in lexicon["family"]]


_HIDING: Final = {
    "bidi": "bidi controls",
    "zero_width": "zero-width characters",
    "tags": "invisible tag characters",
    "private_use": "private-use characters",
}
_UNSEEN: Final = frozenset({*_HIDING.values(), "mixed alphabets", "hidden markup", "markup"})
_MARKUP: Final = re.compile(r"<!--[^<]{0,2000}-->|!\[[^\]\[]{0,200}\]\([^)]{0,400}\)")


def signals(texts: Mapping[Where, str]) -> Iterator[Signal]:
    """What stands in these texts and should not; each sort once a text."""
    for where, text in texts.items():
        seen: set[str] = set()
        for kind, quote in _found(text):
            if kind not in seen:
                seen.add(kind)
                yield Signal(kind=kind, where=where, quote=quote[:QUOTE_MOST])


def speaks_to_adviser(signal: Signal) -> bool:
    """Whether it is an attempt; else it is only something that cannot be seen."""
    return signal.kind.partition(",")[0] not in _UNSEEN


def _found(text: str) -> Iterator[tuple[str, str]]:
    for kind, around in hidden(text):
        yield _HIDING[kind], around
    if disguised := mixed_words(text):
        yield "mixed alphabets", disguised[0]
    if found := _MARKUP.search(text):
        yield "hidden markup", found[0]
    for reading, words in readings(text):
        small = words.lower()
        whole = words if len(words) == len(small) else small  # a few letters become two
        for family, pattern in _patterns():
            if match := pattern.search(small):
                kind = family if reading == "plain" else f"{family}, {reading}"
                yield kind, whole[match.start() : match.end()]
