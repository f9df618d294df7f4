"""`forge policy` and `forge overlay`: what governance has put in force."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_workers.cli import queries
from forge_workers.cli.output import AsJson, print_rows
from forge_workers.cli.servers import database

policy = typer.Typer(no_args_is_help=True, help="Policies in force.")
overlay = typer.Typer(no_args_is_help=True, help="Registered overlays.")


@policy.command("list")
def list_policies(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the policies in force, newest first; their whole text with --json."""
    with database() as session:
        rows = queries.policies(session, limit=limit)
    if not as_json:
        rows = [{key: row[key] for key in ("proposal_id", "title", "adopted_at")} for row in rows]
    print_rows(rows, as_json=as_json, empty="no policy was adopted yet")


@overlay.command("list")
def list_overlays(*, as_json: AsJson = False) -> None:
    """List the registered overlays with their versions."""
    with database() as session:
        rows = queries.overlays(session)
    print_rows(rows, as_json=as_json, empty="no overlay is registered yet")
