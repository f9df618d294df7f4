"""`forge proposal` from approval to its change and back: simulate, review, sign off, roll back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forge_core.enforcement import simulation
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli import outlook
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.proposal import ProposalId, activate_now, parse_payload, print_created
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import when

Comment = Annotated[str, typer.Option(help="What was found; up to 2,000 characters, kept.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


def simulate(  # noqa: PLR0913  # one option a field of a proposal
    proposal: Annotated[str | None, typer.Argument(help="Its id; or give --type.")] = None,
    member: Annotated[
        str | None,
        typer.Option("--as", metavar="MEMBER", envvar="FORGE_MEMBER", help="Who would propose it."),
    ] = None,
    *,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Of one that is not there yet.")
    ] = None,
    title: Annotated[str, typer.Option(help="Its title, where that matters.")] = "",
    description: Annotated[str, typer.Option(help="Its description.")] = "",
    payload: Annotated[
        str, typer.Option(metavar="JSON|@FILE", help="What would change; as for `create`.")
    ] = "{}",
    voting_hours: Annotated[int | None, typer.Option(help="As for `create`.")] = None,
    electorate: Annotated[
        str | None, typer.Option(help="An imported electorate, or balance:SOURCE.")
    ] = None,
    predecessor: Annotated[
        str | None, typer.Option(metavar="PROPOSAL", help="One to be executed before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what executing a proposal now would change, and what it takes until then.

    Nothing is written. What creating it would be refused with is refused here.
    """
    if (proposal is None) == (type_ is None):
        raise typer.BadParameter("give a proposal's id, or the --type of one that is not there yet")
    if proposal is None and member is None:
        raise typer.BadParameter("--as says who would propose it")
    given = parse_payload(payload)
    with database(writes=False) as session:
        if proposal is not None:
            found = simulation.simulate_proposal(session, CATALOGUE, proposal)
        else:
            found = simulation.simulate(
                session,
                CATALOGUE,
                proposer=str(member),
                type=type_,
                payload=given,
                title=title,
                description=description,
                voting_hours=voting_hours,
                electorate=electorate,
                predecessor=predecessor,
            )
        about = {proposal or "", *(change["proposal"] for change in found["changes"])}
        found = queries.with_texts(session, found, about)
    if as_json:
        print_json(found)
    else:
        outlook.print_simulation(standard_output(), found)


def review(
    proposal: ProposalId,
    member: ActingMember,
    *,
    approves: Annotated[bool, typer.Option("--approve", help="The verdict: yes.")] = False,
    rejects: Annotated[bool, typer.Option("--reject", help="The verdict: no.")] = False,
    comment: Comment,
    as_json: AsJson = False,
) -> None:
    """Review the code of an approved proposal; a reviewer's last word counts."""
    if approves == rejects:
        raise typer.BadParameter("give exactly one of --approve and --reject")
    given = {"proposal_id": proposal, "approves": approves, "comment": comment}
    _say_gates(proposal, carry("enforcement.review", member, given), as_json=as_json)


def sign_off(proposal: ProposalId, member: ActingMember, *, as_json: AsJson = False) -> None:
    """Agree to the implementation, as one of those who voted for it."""
    result = carry("enforcement.sign_off", member, {"proposal_id": proposal})
    _say_gates(proposal, result, as_json=as_json)


def rollback(  # one option a field of a proposal
    proposal: ProposalId,
    member: ActingMember,
    *,
    title: Annotated[str | None, typer.Option(help="1 to 200 characters.")] = None,
    description: Annotated[str | None, typer.Option(help="1 to 10,000 characters.")] = None,
    reason: Annotated[str, typer.Option(help="Up to 2,000 characters.")] = "",
    activate: Annotated[bool, typer.Option("--activate", help="Open it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Propose to put back everything that an executed proposal changed."""
    command = {
        "type": "rollback",
        "title": title or f"Roll back {proposal}",
        "description": description or f"Put back what {proposal} changed.",
        "reason": reason,
        "payload": {"proposal": proposal},
    }
    result = carry("proposals.create", member, command)
    if activate:
        result |= activate_now(str(result["proposal_id"]), member)
    print_created(result, as_json=as_json)


def retry(proposal: ProposalId, member: ActingMember, *, reason: Reason) -> None:
    """Queue a failed proposal again; neither eta nor expiry move."""
    carry("enforcement.retry", member, {"proposal_id": proposal, "reason": reason})
    standard_output().print(f"{proposal} is queued again", markup=False)


def queue(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List queued proposals by eta, with what each would change and what holds it."""
    with database(writes=False) as session:
        rows = simulation.queue(session, CATALOGUE, limit=limit)
        titles = queries.titles(session, [row["proposal"] for row in rows])
        about = [
            id_
            for row in rows
            for id_ in (row["proposal"], *(c["proposal"] for c in row["changes"]))
        ]
        rows = queries.with_texts(session, rows, about)
    rows = [{"title": titles.get(row["proposal"]), **row} for row in rows]
    if as_json:
        print_json(rows)
    elif rows:
        outlook.print_queue(standard_output(), rows)
    else:
        standard_output().print("nothing is queued")


def _say_gates(proposal: str, result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    elif result["status"] == "queued":
        eta = when(result["eta"])
        standard_output().print(f"{proposal} is queued; eta {eta}", markup=False)
    else:
        standard_output().print(f"kept; {result['missing']}: {result['why']}", markup=False)
