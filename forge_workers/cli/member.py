"""`forge member`: who takes part, at which level, and who is held back for a while."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from forge_core.members.levels import TrustLevel
from forge_workers.cli import queries
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, print_rows, shown, standard_output
from forge_workers.cli.servers import ActingMember, carry, database

MemberId = Annotated[str, typer.Argument(help="The member's id.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]

app = typer.Typer(no_args_is_help=True, help="Members, their levels and restrictions.")


@app.command()
def add(
    members: Annotated[list[str], typer.Argument(help="One or more ids.")],
    acting: ActingMember,
    *,
    level: Annotated[TrustLevel, typer.Option(help="Trust level to begin at.")] = (
        TrustLevel.SANDBOX
    ),
    source: Annotated[str, typer.Option(help="Where they come from.")] = "cli",
) -> None:
    """Admit members; all of them, or none if one is refused."""
    admission = [{"id": member, "level": level.value} for member in members]
    carry("members.admit", acting, {"members": admission, "source": source})
    standard_output().print(f"admitted {len(members)} at {level.value}")


@app.command("list")
def list_(
    *,
    level: Annotated[TrustLevel | None, typer.Option(help="Only this level.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List members by id."""
    with database() as session:
        rows = queries.members(session, level=level.value if level else None, limit=limit)
    print_rows(rows, as_json=as_json, empty="there are no members")


@app.command()
def show(member: MemberId, *, as_json: AsJson = False) -> None:
    """Show a member: level with history, roles, restriction, delegations."""
    with database() as session:
        found = queries.member(session, member)
    if as_json:
        print_json(found)
        return
    console = standard_output()
    restricted = found["restrictions"]
    console.print(f"[bold]{escape(shown(found['id']))}[/]  {found['level']}")
    console.print(f"roles: {', '.join(found['roles']) or 'none'}")
    console.print(f"active: {'yes' if found['active'] else 'no'}")
    for one in restricted:
        reason = escape(shown(one["reason"]))
        console.print(f"restricted until {shown(one['until'])} by {one['imposed_by']}: {reason}")
    print_rows(found["levels"], as_json=False, empty="no level was ever set")
    if found["delegations"]:
        print_rows(found["delegations"], as_json=False, empty="")


@app.command()
def restrict(
    member: MemberId,
    acting: ActingMember,
    *,
    reason: Reason,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="At most 30d.")] = "1h",
) -> None:
    """Refuse a member's new commands for a while; ballots and weight stay untouched."""
    seconds = int(parse_duration(lasting).total_seconds())
    payload = {"member_id": member, "reason": reason, "seconds": seconds}
    result = carry("members.restrict", acting, payload)
    standard_output().print(f"{member} is restricted until {result['until']}", markup=False)


@app.command()
def release(member: MemberId, acting: ActingMember, *, reason: Reason) -> None:
    """End a restriction before its time."""
    carry("members.release", acting, {"member_id": member, "reason": reason})
    standard_output().print(f"{member} is released", markup=False)
