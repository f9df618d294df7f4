"""`forge vote`: one ballot."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from forge_core.errors import Refused
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.servers import ActingMember, client
from forge_workers.client import Ballot


class Choice(StrEnum):
    """What a ballot can say."""

    FOR = "for"
    AGAINST = "against"
    ABSTAIN = "abstain"


def vote(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    choice: Choice,
    member: ActingMember,
    *,
    as_json: AsJson = False,
) -> None:
    """Cast a ballot; a later one of the same member replaces it until voting closes."""
    with client() as sender:
        answer = sender.vote(Ballot(proposal_id=proposal, member_id=member, choice=choice.value))
    if answer.refusal is not None:
        raise Refused(answer.refusal, answer.message or "no reason was given")
    if as_json:
        print_json(
            {
                "command_id": answer.command_id,
                "ballot_id": answer.ballot_id,
                "accepted_at": answer.accepted_at,
            }
        )
    else:
        standard_output().print(f"accepted as ballot {answer.ballot_id} at {answer.accepted_at}")
