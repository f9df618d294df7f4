"""`forge proposal` from a draft to its decision, and the decision explained."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from forge_core.advisory import report
from forge_core.errors import Refused, Unavailable
from forge_core.proposals.lifecycle import Status, reachable
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli import explanation
from forge_workers.cli.advice_outlook import print_advice, print_earlier
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output, warn
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.advice import NONE_YET

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
        str,
        typer.Option(
            metavar="JSON|@FILE",
            help='What is to change; for a policy {"text": …}, or {} to adopt the description.',
        ),
    ] = "{}",
    reason: Annotated[str, typer.Option(help="Up to 2,000 characters.")] = "",
    voting_hours: Annotated[
        int | None,
        typer.Option(
            help="From the track's voting_hours_least (see `forge setting list`) to 168; always 4 "
            "for an emergency; a sandbox allows more. The track's default otherwise."
        ),
    ] = None,
    electorate: Annotated[
        str | None,
        typer.Option(help="An imported electorate or balance:SOURCE, instead of all members."),
    ] = None,
    predecessor: Annotated[
        str | None, typer.Option(metavar="PROPOSAL", help="One to be executed before this.")
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
        "payload": parse_payload(payload),
    }
    if voting_hours is not None:
        command["voting_hours"] = voting_hours
    if electorate is not None:
        command["electorate"] = electorate
    if predecessor is not None:
        command["predecessor"] = predecessor
    result = carry("proposals.create", member, command)
    if activate_:
        result |= activate_now(str(result["proposal_id"]), member)
    print_created(result, as_json=as_json)


@app.command()
def activate(proposal: ProposalId, member: ActingMember, *, as_json: AsJson = False) -> None:
    """Open voting on a draft; electorate and thresholds are frozen here."""
    result = activate_now(proposal, member)
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
    """Show a proposal: text, change, terms, gates, deadlines, tally, decision, history."""
    with database(writes=False) as session:
        found = queries.proposal(session, proposal)
    if as_json:
        print_json(found)
    else:
        explanation.explain(found, standard_output())


@app.command("advice")
def show_advice(proposal: ProposalId, *, as_json: AsJson = False) -> None:
    """Show the whole advice on a proposal; it decides nothing. With --json all that was given."""
    with database(writes=False) as session:
        found = queries.advice(session, proposal)
        earlier = report.earlier(session, proposal, found[0]) if found else None
    if as_json:
        print_json(found)
    elif found:
        print_advice(standard_output(), found, whole=True)
        print_earlier(standard_output(), earlier)
    else:
        standard_output().print(NONE_YET)


@app.command()
def wait(
    proposal: ProposalId,
    status: Annotated[Status, typer.Argument(help="Where it shall stand.")],
    *,
    timeout: Annotated[str, typer.Option(help="How long at most, for example 90s.")] = "60s",
) -> None:
    """Wait until a proposal stands at a status, for scripts; refused when it can no longer."""
    deadline = time.monotonic() + parse_duration(timeout).total_seconds()
    while True:
        with database(writes=False) as session:
            now = queries.status(session, proposal)
        if now is status:
            return
        if status not in reachable(now):
            raise Refused("PROPOSAL_STATUS", f"{proposal} is {now} and cannot become {status}")
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{proposal} is still {now}, after {timeout}; `forge doctor` says more"
            )
        time.sleep(0.2)


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


def print_created(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the new proposal's id, and on stderr what its simulation warned of."""
    if as_json:
        print_json(result)
        return
    if "warning" in result:
        warn(f"executed now it would fail with {result['code']}: {result['warning']}")
    standard_output().print(result["proposal_id"], markup=False)


def activate_now(proposal: str, member: str) -> dict[str, Any]:
    """Open voting on a draft; the result says until when."""
    return carry("proposals.activate", member, {"proposal_id": proposal})


def parse_payload(given: str) -> Any:
    """Read JSON from an option or the file that it names; `typer.BadParameter`."""
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
