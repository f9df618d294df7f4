"""`forge freeze`, `forge thaw` and `forge windows`: times in which nothing is executed."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.clock import as_utc, parse_moment, rfc3339
from forge_workers import queries
from forge_workers.cli import outlook
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import when

Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


def freeze(
    member: ActingMember,
    *,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="At most 14d.")],
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Its begin; now otherwise.")
    ] = None,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Freeze execution for a time, as a guardian; grace does not run meanwhile."""
    duration = parse_duration(lasting)
    payload = {"reason": reason}
    from_at = parse_moment(begin, name="--from")
    if from_at is None:
        with database() as session:
            from_at = as_utc(queries.clock(session)["now"])
    else:
        payload["from"] = rfc3339(from_at)
    try:
        payload["until"] = rfc3339(from_at + duration)
    except OverflowError:
        raise typer.BadParameter("--for: it would end later than any time") from None
    result = carry("enforcement.freeze", member, payload)
    if as_json:
        print_json(result)
    else:
        until = when(result["until"])
        standard_output().print(f"{result['window']} lasts until {until}", markup=False)


def thaw(
    window: Annotated[str, typer.Argument(help="The freeze's id.")],
    member: ActingMember,
    *,
    reason: Reason,
) -> None:
    """End a freeze before its time, as a guardian. A pause ends by an emergency's resume."""
    carry("enforcement.thaw", member, {"window": window, "reason": reason})
    standard_output().print(f"{window} is over", markup=False)


def windows(
    *,
    past: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List freezes and pauses that are in force or to come."""
    with database() as session:
        rows = queries.windows(session, past=past, limit=limit)
    if rows and not as_json:
        outlook.print_windows(standard_output(), rows)
    else:
        print_rows(rows, as_json=as_json, empty="execution is neither frozen nor paused")
