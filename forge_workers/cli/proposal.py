"""`forge proposal`: from a draft to its decision, and the decision explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from forge_core.proposals.lifecycle import Status
from forge_core.wiring import CATALOGUE
from forge_workers.cli import explanation, queries
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database

ProposalId = Annotated[str, typer.Argument(help="The proposal's id.")]

app = typer.Typer(no_args_is_help=True, help="Proposals and what became of them.")


@app.command()
def create(  # noqa: PLR0913  # one option a field of a proposal
    member: ActingMember,
    *,
    type_: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            # The core refuses an unknown type by name; here it is only completed.
            autocompletion=lambda: list(CATALOGUE.types),
            help=f"What it sets out to change: {', '.join(CATALOGUE.types)}.",
        ),
    ],
    title: Annotated[str, typer.Option(help="1 to 200 characters.")],
    description: Annotated[str, typer.Option(help="1 to 10,000 characters.")],
    payload: Annotated[
        str, typer.Option(metavar="JSON|@FILE", help="What is to change; {} for a policy.")
    ] = "{}",
    reason: Annotated[str, typer.Option(help="Up to 2,000 characters.")] = "",
    voting_hours: Annotated[
        int | None, typer.Option(help="1 to 168; the track's default otherwise.")
    ] = None,
    electorate: Annotated[
        str | None, typer.Option(help="An imported electorate, instead of all members.")
    ] = None,
    activate_: Annotated[bool, typer.Option("--activate", help="Open it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a draft; voting begins with `forge proposal activate`."""
    command: dict[str, Any] = {
        "type": type_,
        "title": title,
        "description": description,
        "reason": reason,
        "payload": _payload(payload),
    }
    if voting_hours is not None:
        command["voting_hours"] = voting_hours
    if electorate is not None:
        command["electorate"] = electorate
    result = carry("proposals.create", member, command)
    if activate_:
        result |= _activate(str(result["proposal_id"]), member)
    if as_json:
        print_json(result)
    else:
        standard_output().print(result["proposal_id"], markup=False)


@app.command()
def activate(proposal: ProposalId, member: ActingMember, *, as_json: AsJson = False) -> None:
    """Open voting on a draft; electorate and thresholds are frozen here."""
    result = _activate(proposal, member)
    if as_json:
        print_json(result)
    else:
        standard_output().print(f"{proposal} is open until {result['closes_at']}", markup=False)


@app.command()
def cancel(
    proposal: ProposalId,
    member: ActingMember,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
) -> None:
    """End a proposal: its proposer up to the close of voting, a guardian up to execution."""
    carry("proposals.cancel", member, {"proposal_id": proposal, "reason": reason})
    standard_output().print(f"{proposal} is cancelled", markup=False)


@app.command()
def show(proposal: ProposalId, *, as_json: AsJson = False) -> None:
    """Show a proposal: text, terms, deadlines, tally, the decision explained, its history."""
    with database() as session:
        found = queries.proposal(session, proposal)
    if as_json:
        print_json(found)
    else:
        explanation.explain(found, standard_output())


@app.command("list")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only this status.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List proposals, newest first."""
    with database() as session:
        rows = queries.proposals(
            session,
            status=status.value if status else None,
            type_=type_,
            limit=limit,
        )
    if not as_json:
        rows = [_short(row) for row in rows]
    print_rows(rows, as_json=as_json, empty="there are no such proposals")


def _activate(proposal: str, member: str) -> dict[str, Any]:
    return carry("proposals.activate", member, {"proposal_id": proposal})


def _payload(given: str) -> Any:
    if given.startswith("@"):
        try:
            given = Path(given[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"--payload: {error}") from None
    try:
        return json.loads(given, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--payload is not JSON: {error}") from None


def _short(row: queries.Row) -> dict[str, Any]:
    sides = (row["for_weight"], row["against_weight"], row["abstain_weight"])
    title = row["title"] or "(erased)"
    return {
        "id": row["id"],
        "type": row["type"],
        "status": row["status"],
        "for / against / abstain": " / ".join(side or "0" for side in sides),
        "closes at": row["closes_at"],
        "title": title if len(title) <= 60 else title[:60] + "…",
    }
