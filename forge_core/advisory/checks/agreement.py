"""Whether the text and the payload agree: what voters read, and what would happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.checks.trust import named_in
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Change, Matter, number_of

_NUMBER: Final = re.compile(
    r"(?<![\w.,-])\d{1,3}(?:[,\u202f'\u2019 ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
)
_TARGET: Final = re.compile(
    r"\b(?:to|at|auf|à|a|be|becomes?|of)\s+(?:only\s+|just\s+|about\s+)?"
    r"(\d{1,3}(?:[,'\u2019 ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?![\d.]*\d)(\s*%| percent)?",
    re.IGNORECASE,
)
_POINTS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.]*\d)")
_UP: Final = re.compile(
    r"\b(?:rais(?:e|es|ed|ing)|increas\w+|rais\w*|lift\w*|grow\w*|double\w*|triple\w*"
    r"|higher|more generous|erhöh\w*|augment\w*|aument\w*)\b", re.IGNORECASE,
)  # fmt: skip
_DOWN: Final = re.compile(
    r"\b(?:lower\w*|reduc\w+|decreas\w+|cut(?:s|ting)?|shrink\w*|halv\w+|drop\w*|smaller|less"
    r"|senk\w*|rédui\w*|reduci\w*|baj\w+)\b", re.IGNORECASE,
)  # fmt: skip
_ON: Final = re.compile(
    r"\b(?:enabl\w+|activat\w+|switch(?:es|ed|ing)? (?:it |\w+ )?on|turn(?:s|ed|ing)? "
    r"(?:it |\w+ )?on|launch\w*|open(?:s|ing)? up|re-?enabl\w+|einschalt\w*)\b", re.IGNORECASE,
)  # fmt: skip
_OFF: Final = re.compile(
    r"\b(?:disabl\w+|deactivat\w+|switch(?:es|ed|ing)? (?:it |\w+ )?off|turn(?:s|ed|ing)? "
    r"(?:it |\w+ )?off|shut(?:s|ting)? (?:down|off)|suspend\w*|abschalt\w*|ausschalt\w*)\b",
    re.IGNORECASE,
)  # fmt: skip
_HARMLESS: Final = re.compile(
    r"\b(?:no|not|without|doesn't|does not|never|won't|will not|nothing|keine?)\b[^.\n]{0,40}"
    r"\b(?:chang\w+|affect\w*|touch\w*|alter\w*|impact\w*|effect\w*|influence\w*)\b[^.\n]{0,60}"
    r"\b(?:vot\w+|quorum|govern\w+|oversight|threshold\w*|review\w*|rules?|power\w*|safeguards?"
    r"|security|anything|anyone|immune|weights?)"
    r"|\b(?:purely|only|merely|just)\b[^.\n]{0,20}\b(?:cosmetic|technical|housekeeping|clean-?up"
    r"|formal\w*|typo\w*|wording|documentation|routine|administrative|maintenance)\b"
    r"|\b(?:vot\w+|quorum|oversight|safeguards?|reviews?)\b[^.\n]{0,40}\b(?:remain\w*|stay\w*"
    r"|untouched|unchanged|unaffected|as (?:it|they) (?:is|are))\b",
    re.IGNORECASE,
)


def numbers_agree(matter: Matter) -> Iterator[Point]:
    """A value that the text names as the new one, and the payload does not carry."""
    for change in matter.changes:
        numbers = change.numbers
        if numbers is None or len(matter.changes) > 1:
            continue
        wanted = _also(numbers[1])
        prose = _pointed(matter.prose, wanted | _also(numbers[0]))
        said = [*_all_numbers(prose.partition("\n")[0]), *_said(prose)]
        if said and not any(number in wanted for number, _ in said):
            number, quote = next(
                ((n, q) for n, q in said if n not in _also(numbers[0])), (None, "")
            )
            if number is not None and not _mentions(prose, wanted):
                yield _disagree(
                    f"the text speaks of {_plain(number)}, the payload sets {change.after}",
                    quote,
                    slip=4 * abs(number - numbers[1]) <= max(abs(number), abs(numbers[1])),
                )
    for action in matter.actions:
        amount = number_of(action.get("amount"))
        if amount is None or len(matter.actions) > 1:
            continue
        prose = _pointed(matter.prose, frozenset({amount}))
        named = [number for number, _ in _all_numbers(prose)]
        if named and amount not in named and max(named) >= 10:
            yield _disagree(f"the payload pays {action['amount']}, which the text never says", "")


def directions_agree(matter: Matter) -> Iterator[Point]:
    """Up or down, on or off: the text against the payload."""
    if len(matter.changes) != 1:
        return
    change = matter.changes[0]
    head = f"{matter.title}\n{matter.description[:300]}".casefold()
    for word in re.split(r"[._]", (change.key or "").casefold()):
        head = head.replace(word, "") if word else head
    up, down = _UP.search(head), _DOWN.search(head)
    numbers = change.numbers
    if numbers is not None and bool(up) != bool(down):
        rises = numbers[1] > numbers[0]
        if rises and down and not up:
            yield _disagree(f"the text lowers it, the payload raises it to {change.after}", down[0])
        if not rises and up and not down:
            yield _disagree(f"the text raises it, the payload lowers it to {change.after}", up[0])
    on, off = _ON.search(head), _OFF.search(head)
    if isinstance(change.after, bool) and change.key and bool(on) != bool(off):
        if change.after and off:
            yield _disagree("the text switches it off, the payload switches it on", off[0])
        if not change.after and on:
            yield _disagree("the text switches it on, the payload switches it off", on[0])


def harmless_words(matter: Matter) -> Iterator[Point]:
    """A text that plays down a change of the rules."""
    if not matter.classes & {"rule"}:
        return
    if found := _HARMLESS.search(matter.prose):
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.CRITICAL,
            explanation="the text says that nothing of weight changes; the payload changes the "
            f"rules: {_what(matter)}",
            quote=found[0][:400],
            code="played_down",
        )


def keys_agree(matter: Matter) -> Iterator[Point]:
    """A text about one key, and a payload that sets another."""
    prose, changed = matter.prose.casefold(), _keys(matter)
    spoken = sorted(
        key
        for key in matter.keys
        if key not in changed and ("." in key or "_" in key) and key.casefold() in prose
    )
    if changed and spoken and not any(_speaks_of(key, prose) for key in changed):
        yield _disagree(
            f"the text speaks of {', '.join(spoken[:3])}, the payload changes "
            f"{', '.join(sorted(changed)[:3])}",
            "",
        )


def everybody_named(matter: Matter) -> Iterator[Point]:
    """Members, overlays and recipients whom the text is silent about."""
    prose = matter.prose.casefold()
    named = {name for action in matter.actions for name in named_in(action)}
    unnamed = sorted(name for name in named if name.casefold() not in prose)
    # A new overlay is known by its name, not yet by its id.
    if unnamed and matter.type != "overlay_registration":
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.MEDIUM,
            explanation=f"the payload is about {', '.join(unnamed[:5])}, whom the text never names",
            code="unnamed",
        )


def every_change_told(matter: Matter) -> Iterator[Point]:
    """Several changes, of which the text tells some."""
    prose, changed = matter.prose.casefold(), _keys(matter)
    untold = sorted(key for key in changed if not _tells(key, changed - {key}, prose))
    if len(changed) > 1 and untold:
        yield Point(
            principle=Principle.TRANSPARENCY,
            severity=Severity.HIGH,
            explanation=f"the text does not speak of {', '.join(untold[:5])}, which change too",
            code="unsaid_change",
        )


def _keys(matter: Matter) -> frozenset[str]:
    return frozenset(change.key for change in matter.changes if change.key is not None)


def _pointed(prose: str, known: frozenset[Fraction]) -> str:
    """With "1.100" as 1100 where that is one of the numbers it is about: half of Europe means it.

    The title is its first line still.
    """

    def plain(found: re.Match[str]) -> str:
        digits = found[0].replace(".", "")
        return digits if Fraction(digits) in known else found[0]

    return _POINTS.sub(plain, prose)


def _said(prose: str) -> Iterator[tuple[Fraction, str]]:
    """Numbers that a value shall become."""
    for found in _TARGET.finditer(prose):
        number = _number(found[1])
        if number is not None:
            yield (number / 100 if found[2] else number), found[0]


def _all_numbers(prose: str) -> Iterator[tuple[Fraction, str]]:
    for found in _NUMBER.finditer(prose):
        number = _number(found[0])
        if number is not None:
            yield number, found[0]


def _mentions(prose: str, wanted: frozenset[Fraction]) -> bool:
    return any(number in wanted for number, _ in _all_numbers(prose))


def _also(number: Fraction) -> frozenset[Fraction]:
    """The number, as a share and in percent, in days for hours."""
    return frozenset({number, number * 100, number / 100, number / 24, number * 24, 1 - number})


def _number(words: str) -> Fraction | None:
    return number_of(re.sub(r"[,\u202f'\u2019 ]", "", words))


def _plain(number: Fraction) -> str:
    return f"{float(number):g}"


def _speaks_of(key: str, prose: str) -> bool:
    """Whether a text speaks of a key: by its name, or by the words of it."""
    parts = _parts(key)
    return key.casefold() in prose or sum(part in prose for part in parts) * 2 > len(parts)


def _tells(key: str, others: frozenset[str], prose: str) -> bool:
    """Whether a text speaks of this key among others: by what none of them has in its name."""
    common = {part for other in others for part in _parts(other)}
    own = [part for part in _parts(key) if part not in common]
    return _speaks_of(key, prose) and (not own or any(part in prose for part in own))


def _parts(key: str) -> list[str]:
    return [part for part in re.split(r"[._]", key.casefold()) if len(part) > 2]


def _what(matter: Matter) -> str:
    return ", ".join(_shown(change) for change in matter.changes[:3]) or matter.type


def _shown(change: Change) -> str:
    return change.key or change.target


def _disagree(what: str, quote: str, *, slip: bool = False) -> Point:
    return Point(
        principle=Principle.TRANSPARENCY,
        severity=Severity.CRITICAL,
        explanation=f"text and payload disagree: {what}",
        quote=quote[:400] or None,
        code="text_slips" if slip else "text_disagrees",
    )
