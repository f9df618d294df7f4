"""`forge outbox`: effects outside the database, delivered after the change."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from forge_core.enforcement.outbox import revive
from forge_workers import queries
from forge_workers.cli import outlook
from forge_workers.cli.output import AsJson, print_rows, standard_output
from forge_workers.cli.servers import database


class State(StrEnum):
    """Where an effect can stand."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


app = typer.Typer(no_args_is_help=True, help="Effects outside the database.")


@app.command("list")
def list_(
    *,
    state: Annotated[State | None, typer.Option(help="Only this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest effects; those that were given up are dead."""
    with database() as session:
        rows = queries.outbox(session, state=state.value if state else None, limit=limit)
    if rows and not as_json:
        outlook.print_outbox(standard_output(), rows)
    else:
        print_rows(rows, as_json=as_json, empty="there is no such effect")


@app.command()
def retry(
    effect: Annotated[str, typer.Argument(metavar="PROPOSAL/ACTION/DIRECTION")],
) -> None:
    """Give a dead effect its attempts again; beat wakes its worker within seconds."""
    with database() as session:
        revive(session, effect)
    standard_output().print(f"{effect} will be delivered again", markup=False)
