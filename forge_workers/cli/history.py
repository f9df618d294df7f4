"""`forge history`: every change that was executed or rolled back."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.clock import parse_moment
from forge_core.enforcement.history import LIMIT_MOST, changes
from forge_workers.cli import outlook, queries
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
            since=parse_moment(since),
            until=parse_moment(until),
            limit=limit,
            before=before,
        )
        page = queries.with_texts(session, page, {one["proposal"] for one in page["changes"]})
    if as_json:
        print_json(page)
    elif page["changes"]:
        outlook.print_history(standard_output(), page)
    else:
        standard_output().print("nothing of that kind was changed")
