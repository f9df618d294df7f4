"""Advice on a proposal as lines for people: the short of it first, what is critical always."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from forge_workers.cli.outlook import say
from forge_workers.cli.output import shown

Json = Mapping[str, Any]

RISKS_SHOWN = 3


def print_advice(console: Console, advice: Sequence[Json], *, whole: bool = False) -> None:
    """The newest advice; ``whole`` with every point, score and precedent."""
    if not advice:
        return
    newest = advice[0]
    console.print("[bold]Advice[/] [dim](advisory: it decides nothing)[/]")
    say(console, _head(newest), 2)
    analysis = newest["analysis"]
    if analysis is None:
        say(console, "its text was erased", 2)
        return
    say(console, shown(analysis["summary"]), 2)
    for indent, line in _whole(analysis) if whole else _short(analysis):
        say(console, line, indent)


def _head(newest: Json) -> str:
    return (
        f"{newest['recommendation'].upper()}, confidence {newest['confidence']}, "
        f"by {newest['source']} ({newest['analyser']}), constitution {newest['constitution']}"
    )


def _short(analysis: Json) -> Iterator[tuple[int, str]]:
    """What is critical, all of it; of the rest what weighs most."""
    critical = [risk for risk in analysis["risks"] if risk["severity"] == "critical"]
    most = max(RISKS_SHOWN, len(critical))
    for risk in analysis["risks"][:most]:
        yield 2, _point(risk)
    more = len(analysis["risks"]) - most
    if more > 0:
        yield 2, f"and {more} more: `forge proposal advice` shows them"


def _whole(analysis: Json) -> Iterator[tuple[int, str]]:
    yield from _points("Risks", analysis["risks"])
    yield from _points("Benefits", analysis["benefits"])
    yield from _listed("Better would be", map(shown, analysis["modifications"]))
    yield from _listed("Principles", map(_score, analysis["scores"]))
    yield from _listed("Earlier proposals like it", map(_precedent, analysis["precedents"]))
    yield from _listed("In its texts", map(_signal, analysis["signals"]))


def _points(head: str, points: Sequence[Json]) -> Iterator[tuple[int, str]]:
    if points:
        yield 2, head
    for point in points:
        yield 4, _point(point)
        if point["quote"] is not None:
            yield 6, f"“{shown(point['quote'])}”"


def _listed(head: str, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines):
        if number == 0:
            yield 2, head
        yield 4, line


def _score(score: Json) -> str:
    name = score["principle"].replace("_", " ")
    return f"{score['score']:>3}  {name}: {shown(score['reasoning'])}"


def _precedent(one: Json) -> str:
    because = "" if one["because"] is None else f" ({shown(one['because'])})"
    title = shown(one["title"])
    return f"{one['proposal']} {one['outcome']}{because}, {one['likeness']:.0%} alike: {title}"


def _signal(signal: Json) -> str:
    return f"{signal['kind']} in the {signal['where']}: “{shown(signal['quote'])}”"


def _point(point: Json) -> str:
    principle = point["principle"].replace("_", " ")
    return f"{point['severity'].upper()} ({principle}): {shown(point['explanation'])}"
