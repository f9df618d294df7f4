"""What a text says to a reader who sees everything: hidden characters found, disguises undone.

The proposal itself is never changed; this is for looking at it.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from urllib.parse import unquote

_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ZERO_WIDTH: Final = frozenset("\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\u00ad\u180e\u115f\u3164")
# Scripts that need them write with these two, and so do emoji of several parts.
_JOINERS: Final = frozenset("\u200c\u200d")
_JOINING: Final = re.compile(
    r"[\u0600-\u06ff\u0700-\u074f\u0900-\u0dff\u1000-\u109f\u1780-\u17ff\u2190-\u2bff\ufe0f"
    r"\U0001f000-\U0001faff]"
)
_TAGS: Final = range(0xE0000, 0xE0080)
_FLAG: Final = "\U0001f3f4"

# Letters of other alphabets that look like Latin ones; enough to read a disguised word.
_LOOKALIKES: Final = str.maketrans(
    "асеорхуіјѕԁԛԝһӏвкмнтАВСЕНІЈКМОРЅТХУαοερνικτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧɡıﬁ",
    "aceopxyijsdqwhlbkmhtABCEHIJKMOPSTXYaoepviktuxABEZHIKMNOPTYXgif",
)
_LATIN: Final = re.compile(r"[A-Za-z]")
_OTHER: Final = re.compile(r"[\u0370-\u03ff\u0400-\u04ff]")
# Normalising takes the square of the marks in a row. No script needs more.
_MARKS_MOST: Final = 8
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){16,}")
_ESCAPED: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}){6,}")
_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}")
# A line that goes on in the next one; items of a list do not.
_WRAPPED: Final = re.compile(r"(?<=\S)[ \t]*\r?\n[ \t]*(?=[^\s\-*+#>|\d])")
_QUOTED: Final = re.compile(r'\\["nrt/]')


def hidden(text: str) -> Iterator[tuple[str, str]]:
    """What a reader does not see: its kind, and the visible text around where it first stands.

    Kinds are ``bidi``, ``zero_width``, ``tags`` and ``private_use``.
    """
    if text.isascii():
        return
    seen: set[str] = set()
    for at, character in enumerate(text):
        kind = _hidden_kind(text, at, character)
        if kind is not None and kind not in seen:
            seen.add(kind)
            yield kind, visible(text[max(0, at - 20) : at + 20])


def visible(text: str) -> str:
    """The text without what nobody sees, and with no more marks on a letter than it can carry."""
    if text.isascii():
        return text
    shown: list[str] = []
    marks = 0
    for at, character in enumerate(text):
        marks = marks + 1 if unicodedata.combining(character) else 0
        hidden_ = _hidden_kind(text, at, character) is not None or character in _JOINERS
        if marks <= _MARKS_MOST and not hidden_:
            shown.append(character)
    return "".join(shown)


def mixed_words(text: str) -> list[str]:
    """Words in which letters of two alphabets stand side by side and look alike."""
    return [
        word
        for word in _WORD.findall(visible(text))
        if _LATIN.search(word) and _OTHER.search(word) and not _scientific(word)
    ]


def readings(text: str) -> Iterator[tuple[str, str]]:
    """The text as it can be read: ``plain`` first, then what is written in disguise in it.

    ``lookalikes`` has Latin letters for others that look the same, ``tags`` is what invisible tag
    characters spell, ``reversed`` what bidi controls turn round, ``decoded`` what base64,
    hexadecimal digits or escapes hold.
    """
    plain = _WRAPPED.sub(" ", unicodedata.normalize("NFKC", visible(text)))
    yield "plain", plain
    if mixed_words(text):
        yield "lookalikes", plain.translate(_LOOKALIKES)
    if tagged := "".join(chr(ord(c) - 0xE0000) for c in text if ord(c) in _TAGS):
        yield "tags", tagged
    if any(character in _BIDI for character in text):
        yield "reversed", visible(text)[::-1]
    for decoded in _decoded(text):
        yield "decoded", unicodedata.normalize("NFKC", visible(decoded))


def _hidden_kind(text: str, at: int, character: str) -> str | None:
    if character.isascii():
        return None
    if character in _BIDI:
        return "bidi"
    if character in _ZERO_WIDTH:
        return "zero_width"
    if character in _JOINERS:
        around = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
        return None if _JOINING.search(around) else "zero_width"
    if ord(character) in _TAGS:
        return None if _FLAG in text[max(0, at - 8) : at] else "tags"
    return "private_use" if unicodedata.category(character) == "Co" else None


def _scientific(word: str) -> bool:
    """``μm``, ``Δx``: one foreign letter at the edge of a short word."""
    return len(word) <= 3


def _decoded(text: str) -> Iterator[str]:
    for found in _BASE64.findall(text):
        padded = found.rstrip("=")
        padded += "=" * (-len(padded) % 4)
        yield from _read(partial(b64decode, padded))
        if "-" in padded or "_" in padded:
            yield from _read(partial(urlsafe_b64decode, padded))
    for found in _HEX.findall(text):
        yield from _read(partial(bytes.fromhex, re.sub(r"[ :]", "", found)))
    for found in _ESCAPED.findall(text):
        yield found.encode("ascii").decode("unicode_escape")
    if len(_PERCENT.findall(text)) > 2:
        yield unquote(text)
    if _QUOTED.search(text):
        yield _QUOTED.sub(lambda found: " " if found[0][1] in "nrt" else found[0][1], text)


def _read(decode: Callable[[], bytes]) -> Iterator[str]:
    try:
        words = decode().decode("utf-8")
    except (ValueError, binascii.Error):  # it only looked like it
        return
    if all(character.isprintable() or character.isspace() for character in words):
        yield words
