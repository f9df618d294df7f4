"""A proposal as prose and tables: why it was decided as it was, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forge_core.enforcement.standing import LIVE
from forge_workers.cli import outlook
from forge_workers.cli.advice_outlook import print_advice
from forge_workers.words.standing import INSTANTS, set_aside_line
from forge_workers.words.values import shown, squeezed


def explain(proposal: dict[str, Any], console: Console) -> None:
    """Print everything about one proposal."""
    console.print(f"[bold]{escape(shown(proposal['title']))}[/]")
    console.print(
        f"{proposal['id']}  {proposal['type']} on the {proposal['track']} track, "
        f"proposed by {proposal['proposer']}: {proposal['status'].upper()}",
        markup=False,
    )
    if proposal["failure"] or proposal["end_reason"]:
        ended = [shown(part) for part in (proposal["failure"], proposal["end_reason"]) if part]
        console.print("Reason: " + ": ".join(ended), markup=False)
    _in_their_words(
        console, "(erased)" if proposal["description"] is None else proposal["description"]
    )
    if proposal["reason"]:
        console.print("Reason given", markup=False)
        _in_their_words(console, proposal["reason"])
    if proposal["payload"]:
        console.print(f"Changes: {shown(proposal['payload'])}", markup=False)
    print_advice(console, proposal["advice"])
    outlook.print_rivals(console, proposal["rivals"])
    if proposal["status"] in LIVE:
        outlook.print_changes(console, proposal["simulation"])
    outlook.print_standing(console, proposal["standing"])
    if proposal["effects"]:
        console.print("[bold]Changed[/]")
        outlook.print_history(console, {"changes": proposal["effects"], "next": None})
    console.print(_deadlines(proposal))
    if proposal["opened_at"] is not None:
        console.print(_tally(proposal))
    if proposal["decision"] is not None:
        for line in _decision(proposal["decision"]):
            console.print(line, soft_wrap=True)
    if proposal["terms"] is not None:
        console.print(_terms(proposal))
    console.print(_history(proposal))


def _in_their_words(console: Console, text: str) -> None:
    """What a proposer wrote cannot be taken for what the house says."""
    for line in squeezed(text).splitlines():
        for part in Text(line).wrap(console, max(console.width - 2, 20)) or [Text("")]:
            console.print(f"│ {part.plain.rstrip()}", markup=False, soft_wrap=True)


def _deadlines(proposal: dict[str, Any]) -> Table:
    table = Table("when", "forge time", title="Deadlines", title_justify="left")
    for column, meaning in INSTANTS.items():
        if proposal[column] is not None:
            table.add_row(meaning, shown(proposal[column]))
    table.add_row("now", shown(proposal["now"]))
    return table


def _tally(proposal: dict[str, Any]) -> Table:
    table = Table("side", title="Tally", title_justify="left")
    table.add_column("weight", justify="right")
    table.add_column("ballots", justify="right")
    for side in ("for", "against", "abstain"):
        weight, ballots = proposal[f"{side}_weight"], proposal[f"{side}_ballots"]
        table.add_row(side, shown(weight), shown(ballots))
    eligible = f"{shown(proposal['eligible_members'])} members"
    table.add_row("eligible", shown(proposal["eligible_weight"]), eligible)
    return table


def _decision(decision: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]Decision: {escape(str(decision['outcome']))}[/]"
    for check in decision["checks"]:
        mark = "[green]✓[/]" if check["held"] else "[red]✗[/]"
        yield f"  {mark} {escape(check['explanation'])}"
    if aside := set_aside_line(decision):
        yield f"  {aside}"


def _terms(proposal: dict[str, Any]) -> Table:
    table = outlook.terms_table(proposal["terms"], "Terms, frozen at opening")
    roll = proposal["electorate"] or f"all members, version {proposal['electorate_version']}"
    table.add_row("electorate", escape(shown(roll)))
    for level, weight in (proposal["weights"] or {}).items():
        table.add_row(f"weight of {level}", weight)
    return table


def _history(proposal: dict[str, Any]) -> Table:
    table = Table("entry", "what", "forge time", "by", title="History", title_justify="left")
    for entry in proposal["history"]:
        table.add_row(
            str(entry["id"]), entry["kind"], shown(entry["at"]), escape(shown(entry["actor"]))
        )
    return table
