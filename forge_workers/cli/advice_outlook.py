"""Advice on a proposal as lines for people: the short of it first, what is critical always."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

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
    if analysis["error"] is not None:
        say(console, f"no model's: {shown(analysis['error'])}", 2)
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
    for one in analysis["dissent"]:
        yield 2, f"otherwise thinks {_opinion(one)}"
    more = len(analysis["risks"]) - most
    if more > 0:
        yield 2, f"and {more} more: `forge proposal advice` shows them"


def _whole(analysis: Json) -> Iterator[tuple[int, str]]:
    yield from _points("Risks", analysis["risks"])
    yield from _listed("Otherwise think", map(_opinion, analysis["dissent"]))
    yield from _points("Benefits", analysis["benefits"])
    yield from _listed("Better would be", map(shown, analysis["modifications"]))
    yield from _listed("Principles", map(_score, analysis["scores"]))
    yield from _listed("Earlier proposals like it", map(_precedent, analysis["precedents"]))
    yield from _listed("In its texts", map(_signal, analysis["signals"]))
    yield from _listed("Read in other ways", map(_opinion, analysis["readings"]))
    if analysis["model"] is not None:
        yield 2, _effort(analysis)


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


def _opinion(one: Json) -> str:
    sure = f"{one['recommendation'].upper()}, confidence {one['confidence']}"
    return f"{shown(one['of'])}: {sure}. {shown(one['summary'])}"


def _effort(analysis: Json) -> str:
    usage = analysis["usage"]
    tokens = sum(number for name, number in usage.items() if name.endswith("tokens"))
    dropped = analysis["dropped_quotes"]
    quotes = f"; {dropped} quotes were dropped: they are not in the proposal" if dropped else ""
    return (
        f"{shown(analysis['model'])}, {shown(analysis['prompt'])}: {usage['calls']} calls, "
        f"{tokens:,} tokens, {usage['latency_ms'] / 1_000:.1f} s{quotes}"
    )


def _point(point: Json) -> str:
    principle = point["principle"].replace("_", " ")
    return f"{point['severity'].upper()} ({principle}): {shown(point['explanation'])}"


def print_earlier(console: Console, earlier: Json | None) -> None:
    """What came of earlier advice like it."""
    if earlier is None:
        say(console, "No proposal that was so advised is decided yet.", 2)
        return
    say(
        console,
        f"So far {earlier['source']} said {earlier['recommendation']} of {earlier['given']} that "
        f"are decided: {earlier['approved']} were approved, {earlier['executed']} executed, "
        f"{earlier['rolled_back']} rolled back; Brier score {earlier['brier']:.2f}",
        2,
    )


def print_status(console: Console, status: Json) -> None:
    """Whether a model is asked, what it took, and what came of earlier advice."""
    terms, now = status["terms"], status["now"]
    say(console, _asking(terms))
    say(console, _standing(terms, now), 2)
    if now["paused_seconds"] is not None:
        say(console, f"The service fails: nobody is asked for {now['paused_seconds']} s.", 2)
    if status["days"]:
        console.print(_days(status["days"]))
    for reason, times in status["failures"].items():
        say(console, f"{times} fell back: {shown(reason)}", 2)
    if not status["calibration"]:
        say(console, "No proposal that was advised on is decided yet.")
        return
    console.print(_calibration(status["calibration"]))
    for source, score in status["brier"].items():
        say(console, f"Brier score of {source}: {score} (0 is always right, 0.25 knows nothing)", 2)


def _asking(terms: Json) -> str:
    if terms["mode"] == "off":
        return "No model is asked: advice.model has mode off. Rules advise."
    who = {"single": "one adviser", "council": "a council in one call"}
    members = who.get(terms["mode"], "a council with a call for each member")
    return (
        f"Where a worker has a key, {terms['model']} is asked as {members}, effort "
        f"{terms['effort']}, {terms['seconds']} s a call."
    )


def _standing(terms: Json, now: Json) -> str:
    return (
        f"{now['under_way']} of {terms['at_once']} turns are taken; of today's tokens "
        f"{now['spent']:,} of {terms['tokens_a_day']:,}."
    )


def _days(days: Sequence[Json]) -> Table:
    heads = ("day", "model", "asked", "failed", "calls", "tokens", "of them cached", "half within",
             "99 % within", "cost")  # fmt: skip
    table = Table(*heads, title="What it took", title_justify="left")
    for day in days:
        table.add_row(
            day["day"], shown(day["model"]), str(day["consultations"]), str(day["failed"]),
            str(day["calls"]), f"{day['tokens']:,}", f"{day['cache_read_tokens']:,}",
            _seconds(day["half_ms"]), _seconds(day["slowest_ms"]), day["cost"] or "no price set",
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


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1_000:.1f} s"
