"""`forge token`: who may come in over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from forge_core.access import tokens
from forge_core.access.tokens import Scope
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_error, standard_output
from forge_workers.cli.servers import database
from forge_workers.words.values import shown

app = typer.Typer(no_args_is_help=True, help="Tokens, which open the HTTP gateway.")


@app.command()
def issue(
    holder: Annotated[str, typer.Argument(help="For whom, such as the name of a service.")],
    *,
    days: Annotated[int, typer.Option(min=1, max=tokens.LONGEST.days, help="How long.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Make a token that reads, and print it: it is shown this once, and kept nowhere."""
    with database() as session:
        issued = tokens.issue(session, holder, [Scope.READ], timedelta(days=days))
    if as_json:
        print_json({"id": issued.id, "token": issued.token, "expires_at": issued.expires_at})
        return
    told = f"{issued.id} for {holder}, until {shown(issued.expires_at)}"
    standard_error().print(told, markup=False)
    standard_output().print(issued.token, markup=False)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List tokens, newest first, without what would open."""
    with database() as session:
        rows = tokens.tokens(session, limit=limit)
    print_rows(rows, as_json=as_json, empty="there are no tokens")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="Its id, as `forge token list` has it.")],
) -> None:
    """Let a token open nothing any more, from the next call on."""
    with database() as session:
        tokens.revoke(session, token)
    standard_output().print(f"{token} opens nothing any more", markup=False)
