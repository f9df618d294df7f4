"""Changes to come and changes made, as lines for people: simulation, standing, queue, history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forge_workers.words.standing import problem_line, standing_lines
from forge_workers.words.values import change_line, names, shown, when

Json = Mapping[str, Any]


def print_simulation(console: Console, simulation: Json) -> None:
    """What a proposal would do, what it takes, and who could decide about it."""
    classes = ", ".join(simulation["classes"]) or "unknown"
    say(
        console,
        f"{simulation['type']} by {simulation['proposer']}: class {classes}, "
        f"{simulation['track'] or 'no'} track",
    )
    print_changes(console, simulation)
    print_rivals(console, simulation["rivals"])
    _print_voters(console, simulation["electorate"], simulation["terms"])
    _print_reviewers(console, simulation["review"])
    if simulation["terms"] is not None:
        frozen = "frozen at opening" if simulation["frozen"] else "if opened now"
        console.print(terms_table(simulation["terms"], f"Terms, {frozen}"))
    if simulation.get("standing") is not None:
        print_standing(console, simulation["standing"])


def print_changes(console: Console, simulation: Json) -> None:
    """The exact change, or why there is none now."""
    if simulation["problem"] is not None:
        _refused(console, "Could not be executed now", [simulation["problem"]])
        return
    console.print("[bold]Executed now, it would change[/]")
    for change in simulation["changes"]:
        say(console, change_line(change), 2)
        for line in change["preview"]:
            say(console, shown(line), 4)


def print_rivals(console: Console, rivals: Sequence[Json]) -> None:
    """Others under way that change the same."""
    for rival in rivals:
        say(
            console,
            f"Changes the same: {rival['proposal']} ({rival['status']}, by {rival['proposer']})",
        )
        say(console, f"{', '.join(rival['targets'])}; the value present at execution decides", 2)


def print_standing(console: Console, standing: Json) -> None:
    """What is still missing, from whom, and until when."""
    for indent, line in standing_lines(standing):
        say(console, line, indent)
    if standing["missing"]:
        _refused(console, "Still missing", standing["missing"])


def print_queue(console: Console, rows: Sequence[Json]) -> None:
    """Queued proposals by eta, each with its change and what holds it."""
    for row in rows:
        title = row["title"] or "(erased)"
        console.print(f"[bold]{escape(shown(title))}[/]")
        say(console, f"{row['proposal']}  {row['type']} by {row['proposer']}")
        say(console, f"eta {when(row['eta'])}, expires {when(row['expires_at'])}")
        if row["may_run_at"] not in (None, row["eta"]):
            say(console, f"may run from {when(row['may_run_at'])}")
        print_changes(console, row)
        print_standing(console, row)
        console.print()


def print_history(console: Console, page: Json) -> None:
    """One page of changes, newest first."""
    for change in page["changes"]:
        say(console, f"{when(change['applied_at'])}  {change_line(change)}")
        position = "not sealed yet" if change["position"] is None else f"entry {change['position']}"
        took = "" if change["microseconds"] is None else f", {change['microseconds'] / 1_000:g} ms"
        by = f", by {change['actor']}"
        if change["direction"] == "undo":
            by = f": rolled back by {change['cause']} of {change['actor']}"
        say(
            console,
            f"{change['type'] or 'unknown'} {change['proposal']}, action {change['action']}"
            f"{by}; {position}{took}",
            4,
        )
    if page["next"] is not None:
        say(console, f"more: --before {page['next']}")


def print_windows(console: Console, rows: Sequence[Json]) -> None:
    """Times in which nothing is executed."""
    for row in rows:
        now = ", in force" if row["in_force"] else ""
        say(console, f"{row['kind']} {row['id']}{now}")
        say(console, f"from {shown(row['from_at'])} until {shown(row['until_at'])}", 2)
        why = f"by {row['proposal_id']}" if row["proposal_id"] else shown(row["reason"])
        say(console, f"imposed by {row['imposed_by']}: {why}", 2)


def print_joint_actions(console: Console, rows: Sequence[Json]) -> None:
    """What takes two people, and who they are."""
    for row in rows:
        say(console, f"{row['kind']} of {row['subject']}: {row['status'].upper()}")
        say(console, row["id"], 2)
        say(console, f"proposed by {row['proposed_by']}: {shown(row['reason'])}", 2)
        if row["confirmed_by"] is not None:
            say(console, f"confirmed by {row['confirmed_by']}", 2)
        until = {"proposed": ("lapses", "lapses_at"), "confirmed": ("due", "due_at")}
        if row["status"] in until:
            word, column = until[row["status"]]
            say(console, f"{word} {shown(row[column])}", 2)
        if row["failure"] is not None:
            say(console, f"failed: {row['failure']}", 2)


def print_outbox(console: Console, rows: Sequence[Json]) -> None:
    """Effects outside the database."""
    for row in rows:
        change = change_line({**row, "target": row["capability"]})
        say(console, f"{row['state'].upper()}  {change}")
        attempts = f"{row['effect']}, {row['attempt']} attempts"
        say(console, attempts + (f": {row['message']}" if row["message"] else ""), 4)


def terms_table(terms: Json, title: str) -> Table:
    """The terms that a proposal is held to."""
    table = Table("term", "value", title=title, title_justify="left")
    for term, value in terms.items():
        if value is not None:
            table.add_row(term.replace("_", " "), shown(value))
    return table


def say(console: Console, line: str, indent: int = 0) -> None:
    """Print one line without markup; what does not fit goes on below, indented."""
    for part in Text(line).wrap(console, max(console.width - indent, 20)):
        console.print(" " * indent + part.plain.rstrip(), markup=False, soft_wrap=True)


def _refused(console: Console, head: str, problems: Sequence[Json]) -> None:
    console.print(f"[bold yellow]{head}[/]")
    for problem in problems:
        say(console, problem_line(problem), 2)


def _print_voters(console: Console, electorate: Json, terms: Json | None) -> None:
    if electorate["problem"] is not None:
        say(console, f"Nobody could vote: {electorate['problem']}")
        return
    roll = "all members" if electorate["name"] is None else electorate["name"]
    quorum = "" if terms is None else f"; quorum {terms['quorum']} of that"
    say(
        console,
        f"Could vote: {roll}, {electorate['members']:,} members with weight "
        f"{electorate['weight']}{quorum}",
    )
    for level in electorate["levels"]:
        say(
            console,
            f"{level['level']:<9} {level['members']:>7,} members, {level['weight']} each, "
            f"{level['total']} together",
            2,
        )


def _print_reviewers(console: Console, review: Json) -> None:
    if review["needed"] is None:
        console.print("No code review on this track", markup=False)
        return
    say(
        console,
        f"Could review: {names(review['able'])} ({len(review['able'])}; "
        f"{review['needed']} are needed)",
    )
