"""`forge policy`, `overlay`, `module`, `extension`: what governance has put in force."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_workers import queries
from forge_workers.cli.output import AsJson, print_rows
from forge_workers.cli.servers import database

policy = typer.Typer(no_args_is_help=True, help="Policies in force.")
overlay = typer.Typer(no_args_is_help=True, help="Registered overlays.")
module = typer.Typer(no_args_is_help=True, help="Modules: the targets of upgrades.")
extension = typer.Typer(no_args_is_help=True, help="What governance added to the registry.")


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


@module.command("list")
def list_modules(*, as_json: AsJson = False) -> None:
    """List the registered modules: version, owner, what governance controls, the way back."""
    with database() as session:
        rows = queries.modules(session)
    if not as_json:
        columns = ("name", "version", "owner", "governs", "rollback")
        rows = [{column: row[column] for column in columns} for row in rows]
    print_rows(rows, as_json=as_json, empty="no module is registered yet")


@extension.command("list")
def list_extensions(*, as_json: AsJson = False) -> None:
    """List parameters, features, types of proposal and sources that governance added."""
    with database() as session:
        rows = queries.extensions(session)
    if not as_json:
        rows = [
            {
                "name": row["name"],
                "kind": row["kind"],
                "description": row["declaration"]["description"],
                "added by": row["proposal_id"],
            }
            for row in rows
        ]
    print_rows(rows, as_json=as_json, empty="governance has added nothing yet")
