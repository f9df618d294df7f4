"""Advice on a terminal: the short of it first, what is critical always."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from forge_workers.cli.outlook import say
from forge_workers.words import advice as words
from forge_workers.words.values import shown

Json = Mapping[str, Any]


def print_advice(console: Console, advice: Sequence[Json], *, whole: bool = False) -> None:
    """The newest advice; ``whole`` with every point, score and precedent."""
    if not advice:
        return
    newest = advice[0]
    console.print(f"[bold]Advice[/] [dim]({words.ADVISORY})[/]")
    say(console, words.head(newest), 2)
    analysis = newest["analysis"]
    if analysis is None:
        say(console, "its text was erased", 2)
        return
    if analysis["error"] is not None:
        say(console, f"no model's: {shown(analysis['error'])}", 2)
    say(console, shown(analysis["summary"]), 2)
    for indent, line in _whole(analysis) if whole else _short(analysis):
        say(console, line, indent)


def _short(analysis: Json) -> Iterator[tuple[int, str]]:
    risks = words.in_short(analysis)
    for risk in risks:
        yield from _point(risk, 2)
    for one in analysis["dissent"]:
        yield 2, f"otherwise thinks {words.opinion(one)}"
    more = len(analysis["risks"]) - len(risks)
    if more > 0:
        yield 2, f"and {more} more: `forge proposal advice` shows them"


def _whole(analysis: Json) -> Iterator[tuple[int, str]]:
    yield from _points("Risks", analysis["risks"])
    yield from _listed("Otherwise think", map(words.opinion, analysis["dissent"]))
    yield from _points("Benefits", analysis["benefits"])
    yield from _listed("Better would be", map(shown, analysis["modifications"]))
    yield from _listed("Principles", map(_score, analysis["scores"]))
    yield from _listed("Earlier proposals like it", map(_precedent, analysis["precedents"]))
    yield from _listed("In its texts", map(words.signal, analysis["signals"]))
    yield from _listed("Read in other ways", map(words.opinion, analysis["readings"]))
    if effort := words.effort(analysis):
        yield 2, effort


def _points(head: str, points: Sequence[Json]) -> Iterator[tuple[int, str]]:
    if points:
        yield 2, head
    for point in points:
        yield from _point(point, 4)


def _point(point: Json, indent: int) -> Iterator[tuple[int, str]]:
    yield indent, words.point(point)
    if point["quote"] is not None:
        yield indent + 2, f"“{shown(point['quote'])}”"


def _listed(head: str, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines):
        if number == 0:
            yield 2, head
        yield 4, line


def _score(score: Json) -> str:
    return f"{score['score']:>3}  {words.principle(score)}: {shown(score['reasoning'])}"


def _precedent(one: Json) -> str:
    return f"{one['proposal']} {words.precedent(one)}"


def print_earlier(console: Console, earlier: Json | None) -> None:
    """What came of earlier advice like it."""
    say(console, words.earlier(earlier), 2)


def print_status(console: Console, status: Json) -> None:
    """Whether a model is asked, what it took, and what came of earlier advice."""
    say(console, words.asking(status["terms"]))
    for line in words.standing(status):
        say(console, line, 2)
    if status["days"]:
        console.print(_days(status["days"]))
    for line in words.fallbacks(status):
        say(console, line, 2)
    if not status["calibration"]:
        say(console, "No proposal that was advised on is decided yet.")
        return
    console.print(_calibration(status["calibration"]))
    for line in words.scores(status):
        say(console, line, 2)


def _days(days: Sequence[Json]) -> Table:
    heads = ("day", "model", "asked", "failed", "calls", "tokens", "of them cached", "half within",
             "99 % within", "cost")  # fmt: skip
    table = Table(*heads, title="What it took", title_justify="left")
    for day in days:
        table.add_row(
            day["day"], shown(day["model"]), str(day["consultations"]), str(day["failed"]),
            str(day["calls"]), f"{day['tokens']:,}", f"{day['cache_read_tokens']:,}",
            words.seconds(day["half_ms"]), words.seconds(day["slowest_ms"]), words.cost(day),
        )  # fmt: skip
    return table


def _calibration(rows: Sequence[Json]) -> Table:
    heads = ("source", "recommendation", "given", "approved", "executed", "rolled back")
    table = Table(*heads, title="What came of it", title_justify="left")
    for row in rows:
        table.add_row(
            row["source"], row["recommendation"], str(row["given"]), str(row["approved"]),
            str(row["executed"]), str(row["rolled_back"]),
        )  # fmt: skip
    return table
