"""The report of a replay as tables for people."""

from __future__ import annotations

from collections import defaultdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forge_workers.replay.expected import PUBLISHED
from forge_workers.replay.report import Report, explained_by_threshold
from forge_workers.replay.rows import RowError
from forge_workers.replay.run import Refusal

OUR_RULE = (
    "approved when at least 30 % of the eligible weight took part, at least half of the weight for "
    "and against is for, and at least one member voted for"
)
MOST_LISTED = 20


def show(report: Report, console: Console) -> None:
    """Print outcomes, totals, the cross table with the published outcomes, and differences."""
    console.print(_outcomes(report))
    console.print(_totals(report))
    _cross_table(report, console)
    for difference in report.differences[:MOST_LISTED]:
        console.print(f"[red]differs[/] {escape(str(difference))}", soft_wrap=True)
    _more(len(report.differences), console)


def show_problems(report: Report, console: Console) -> None:
    """Print, on standard error, rows that were left out or refused and what they sum up to."""
    problems: list[RowError | Refusal] = [*report.source.errors, *report.run.refusals]
    for problem in problems[:MOST_LISTED]:
        console.print(escape(str(problem)), highlight=False, soft_wrap=True)
    _more(len(problems), console)
    for sentence in report.problems():
        console.print(f"[yellow]{escape(sentence)}[/]", highlight=False, soft_wrap=True)


def _outcomes(report: Report) -> Table:
    by_kind: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for identity, result in report.run.results.items():
        kind = report.source.proposals[identity].kind
        by_kind[kind][result.outcome or result.status] += 1
        by_kind[kind]["executed"] += result.status == "executed"
    table = Table(title=f"Outcomes of {report.source.name}", title_justify="left")
    table.add_column("kind")
    for column in ("proposals", "approved", "rejected", "executed"):
        table.add_column(column, justify="right")
    for kind in sorted(by_kind):
        counts = by_kind[kind]
        every = sum(count for outcome, count in counts.items() if outcome != "executed")
        row = (every, counts["approved"], counts["rejected"], counts["executed"])
        table.add_row(escape(kind or "-"), *(f"{count:,}" for count in row))
    return table


def _totals(report: Report) -> Table:
    run, total = report.run, len(report.source.proposals)
    published = sum(one.origin == PUBLISHED for one in report.expected.values())
    table = Table(title="Totals", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how many", justify="right")
    exactly = f"{report.proposals_matching:,} of {total:,}"
    table.add_row("proposals with exactly the expected for, against and abstain", exactly)
    table.add_row("  expected: published totals", f"{published:,}")
    table.add_row("  expected: our own count of the file", f"{total - published:,}")
    table.add_row("ballots sent", f"{run.ballots_sent:,}")
    table.add_row("ballot entries in the ledger", f"{run.ballot_entries:,}")
    table.add_row("duplicates suppressed", f"{run.duplicates_suppressed:,}")
    table.add_row("seconds", f"{run.seconds:,.1f}")
    table.add_row("ballots per second", f"{report.ballots_per_second:,.0f}")
    return table


def _cross_table(report: Report, console: Console) -> None:
    counted = report.outcomes()
    if not counted:
        console.print("The source publishes no outcomes to compare with.")
        return
    theirs = sorted({theirs for _, theirs in counted})
    table = Table(title="Our outcomes against the published ones", title_justify="left")
    table.add_column("ours")
    for outcome in theirs:
        table.add_column(escape(outcome), justify="right")
    for ours in sorted({ours for ours, _ in counted}):
        table.add_row(escape(ours), *(f"{counted[ours, outcome]:,}" for outcome in theirs))
    console.print(table)
    console.print(f"Our rule: {OUR_RULE}.", soft_wrap=True)
    compared, agreeing = explained_by_threshold(report.source, report.run)
    if compared:
        console.print(
            "Their rule: FOR is the largest side and reaches the proposal's own threshold; over "
            f"our totals it gives {agreeing:,} of their {compared:,} outcomes.",
            soft_wrap=True,
        )


def _more(count: int, console: Console) -> None:
    if count > MOST_LISTED:
        console.print(f"… and {count - MOST_LISTED:,} more")
