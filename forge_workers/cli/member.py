"""`forge member`: who takes part, at which level, and who is held back for a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from forge_core.actions.additions import with_extensions
from forge_core.enforcement.power import voting_power
from forge_core.members.holdings import MEASURES
from forge_core.members.levels import TrustLevel
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import shown

MemberId = Annotated[str, typer.Argument(help="The member's id.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]

app = typer.Typer(no_args_is_help=True, help="Members, their levels, weight and restrictions.")


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
        until = f"{shown(one['until'])}, in real time"
        console.print(f"restricted until {until}, by {one['imposed_by']}: {reason}")
    print_rows(found["levels"], as_json=False, empty="no level was ever set")
    if found["delegations"]:
        print_rows(found["delegations"], as_json=False, empty="")


@app.command()
def power(
    member: MemberId,
    *,
    proposal: Annotated[
        str | None, typer.Option(help="As frozen when its voting opened, or would be now.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="By what this source says they hold, not by trust.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a member's ballot weighs, from what, and why it may weigh nothing."""
    if proposal is not None and source is not None:
        raise typer.BadParameter("a proposal has its own electorate; give --proposal or --source")
    with database(writes=False) as session:
        catalogue = with_extensions(session, CATALOGUE)
        found = voting_power(session, catalogue, member, proposal=proposal, source=source)
    if as_json:
        print_json(found)
        return
    for line in _power(found):
        standard_output().print(line, markup=False)


def _power(found: dict[str, Any]) -> Iterator[str]:
    yield f"{shown(found['member'])} weighs {found['weight']} by {found['strategy']}"
    for name, value in (found["by"] or {}).items():
        yield f"  {name.replace('_', ' ')}: {shown(value)}"
    if found["proposal"] is not None:
        on = found["proposal"]
        since = "frozen at opening" if on["frozen"] else "as opening it now would freeze"
        yield f"on {on['id']} ({on['status']}), {since}; voted: {on['choice'] or 'not yet'}"
    yield f"roles: {', '.join(found['roles']) or 'none'}"
    for edge in found["delegation"]["to"]:
        yield f"delegates {edge['scope']} to {shown(edge['delegate'])}"
    for edge in found["delegation"]["from"]:
        yield f"{edge['members']} members delegate {edge['scope']} to them"
    if found["why"] is not None:
        head = "weighs nothing" if found["can_vote"] else "no ballot is accepted of them now"
        yield f"{head}: {found['why']['code']}: {found['why']['message']}"


@app.command("report-holdings")
def report_holdings(
    source: Annotated[str, typer.Argument(help="The registered source that says so.")],
    holdings: Annotated[
        list[str],
        typer.Argument(
            metavar="MEMBER=COINS,MINUTES,TOKENS,USD|@FILE",
            help="Exact amounts, 0 where left out at the end; a file has one member a line.",
        ),
    ],
    acting: ActingMember,
) -> None:
    """Set what members hold, as an admin; it weighs where proposals name balance:SOURCE."""
    rows = [_holding(text) for given in holdings for text in _lines(given)]
    result = carry("members.report_holdings", acting, {"source": source, "holdings": rows})
    standard_output().print(f"{source} reported what {result['members']} members hold")


def _lines(given: str) -> list[str]:
    if not given.startswith("@"):
        return [given]
    try:
        text = Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"holdings: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _holding(text: str) -> list[str]:
    # Ids may hold anything but spaces; amounts have no equals sign.
    member, equals, amounts = text.rpartition("=")
    given = amounts.split(",")
    if not equals or not member or len(given) > len(MEASURES):
        raise typer.BadParameter(f"{text!r} is not MEMBER=COINS,MINUTES,TOKENS,USD")
    return [member, *given, *["0"] * (len(MEASURES) - len(given))]


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
    standard_output().print(
        f"{member} is restricted until {result['until']}, in real time", markup=False
    )


@app.command()
def release(member: MemberId, acting: ActingMember, *, reason: Reason) -> None:
    """End a restriction before its time."""
    carry("members.release", acting, {"member_id": member, "reason": reason})
    standard_output().print(f"{member} is released", markup=False)
