"""`forge delegate`: whom a member's weight follows."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.clock import rfc3339
from forge_workers import queries
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database

Scope = Annotated[
    str, typer.Option(help="A type of proposal, or * for all that have no delegate of their own.")
]

app = typer.Typer(no_args_is_help=True, help="Delegate a member's weight.")


@app.command("set")
def set_(
    delegate: Annotated[str, typer.Argument(help="The member who votes instead.")],
    member: ActingMember,
    *,
    scope: Scope = "*",
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="For example 30d.")
    ] = None,
) -> None:
    """Let the acting member's weight follow another member from the next proposal on."""
    payload: dict[str, object] = {"delegate": delegate, "scope": scope}
    if lasting is not None:
        duration = parse_duration(lasting)
        with database() as session:
            payload["expires_at"] = rfc3339(queries.clock(session)["now"] + duration)
    carry("members.delegate", member, payload)
    standard_output().print(f"{member} delegates {scope} to {delegate}", markup=False)


@app.command()
def revoke(member: ActingMember, *, scope: Scope = "*") -> None:
    """End the acting member's delegation."""
    carry("members.revoke_delegation", member, {"scope": scope})
    standard_output().print(f"{member} delegates {scope} no longer", markup=False)


@app.command()
def show(
    member: Annotated[str, typer.Argument(help="The member's id.")], *, as_json: AsJson = False
) -> None:
    """List the open delegations from and to a member."""
    with database() as session:
        queries.member(session, member)
        rows = queries.delegations(session, member)
    print_rows(rows, as_json=as_json, empty=f"nobody delegates to or for {member}")
