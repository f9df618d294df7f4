"""`forge treasury`: what it holds, whom it paid, and what comes in."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_workers import queries
from forge_workers.cli.output import AsJson, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database

app = typer.Typer(no_args_is_help=True, help="The treasury and the accounts it pays.")


@app.command()
def show(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the treasury's balance and those of the accounts it has paid."""
    with database() as session:
        rows = queries.accounts(session, limit=limit)
    print_rows(rows, as_json=as_json, empty="nothing has come in yet")


@app.command()
def deposit(
    amount: Annotated[str, typer.Argument(help="An exact decimal above 0.")],
    member: ActingMember,
    *,
    source: Annotated[str, typer.Option(help="A registered source.")],
) -> None:
    """Enter what came in, as an admin."""
    result = carry("treasury.deposit", member, {"amount": amount, "source": source})
    standard_output().print(f"{result['amount']} came in from {source}", markup=False)
