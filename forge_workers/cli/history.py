"""`forge history`: every change that was executed or rolled back."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy.orm import Session

from forge_core.actions import setting
from forge_core.actions.additions import with_extensions
from forge_core.actions.targets import Target
from forge_core.clock import parse_moment
from forge_core.enforcement.history import LIMIT_MOST, changes
from forge_core.errors import Refused
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli import outlook
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.servers import database


def history(  # noqa: PLR0913  # one option a filter
    *,
    proposal: Annotated[str | None, typer.Option(help="What it changed or rolled back.")] = None,
    target: Annotated[
        str | None, typer.Option(help="What was changed, such as setting:difficulty.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    actor: Annotated[str | None, typer.Option("--by", help="Who proposed the change.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    limit: Annotated[int, typer.Option(min=0, max=LIMIT_MOST, help="At most so many.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="NEXT", help="The next page, as this one named it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List executed changes, newest first: old and new value, by whom, where in the ledger."""
    with database(writes=False) as session:
        page = changes(
            session,
            proposal=proposal,
            target=target,
            type=type_,
            actor=actor,
            since=parse_moment(since, name="--since"),
            until=parse_moment(until, name="--until"),
            limit=limit,
            before=before,
        )
        if not page["changes"]:
            _require_known(session, proposal=proposal, target=target, type_=type_, actor=actor)
        page = queries.with_texts(session, page, {one["proposal"] for one in page["changes"]})
    if as_json:
        print_json(page)
    elif page["changes"]:
        outlook.print_history(standard_output(), page)
    else:
        standard_output().print("nothing of that kind was changed")


def _require_known(
    session: Session,
    *,
    proposal: str | None,
    target: str | None,
    type_: str | None,
    actor: str | None,
) -> None:
    """Refuse what nothing is found for because there is no such thing.

    ``PROPOSAL_UNKNOWN``, ``UNKNOWN_PROPOSAL_TYPE``, ``TARGET_UNKNOWN``, ``UNKNOWN_CAPABILITY``,
    ``MEMBER_UNKNOWN``: only members propose, so a rule changes nothing that is listed here.
    """
    catalogue = with_extensions(session, CATALOGUE)
    if proposal is not None:
        queries.status(session, proposal)
    if type_ is not None:
        catalogue.kind(type_)
    if actor is not None:
        queries.member(session, actor)
    if target is None:
        return
    named = Target.parse(target)
    if target == setting.target(named.id):
        catalogue.get(named.id)
    if target in catalogue:
        raise Refused(
            "TARGET_UNKNOWN",
            f"a target begins with its register; did you mean {setting.target(target)}?",
        )
