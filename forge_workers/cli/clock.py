"""`forge clock`: forge time, and moving it in a sandbox."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_workers import queries
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import shown

app = typer.Typer(no_args_is_help=True, help="The clock that rules deadlines.")


@app.command()
def show(*, as_json: AsJson = False) -> None:
    """Show forge time, and how far a sandbox is ahead of real time."""
    with database() as session:
        clock = queries.clock(session)
    if as_json:
        print_json({**clock, "ahead": clock["ahead"].total_seconds()})
        return
    console = standard_output()
    console.print(f"forge time {shown(clock['now'])}")
    if clock["sandbox"]:
        console.print(f"a sandbox, {clock['ahead']} ahead of real time")
    else:
        console.print("production: the clock cannot be moved")


# What begins with a minus is a duration to refuse, not an option.
@app.command(context_settings={"ignore_unknown_options": True})
def advance(
    duration: Annotated[str, typer.Argument(help="For example 14d, 36h, 90m or 30s.")],
    acting: ActingMember,
) -> None:
    """Move a sandbox's clock forward; there is no way back."""
    if duration.startswith("-"):
        raise typer.BadParameter(f"{shown(duration)}: the clock only moves forward")
    seconds = int(parse_duration(duration).total_seconds())
    result = carry("clock.advance", acting, {"seconds": seconds})
    standard_output().print(f"forge time is now {result['now']}")
