"""`forge jobs`: durable work, and what could not be done."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from forge_core.jobs.lifecycle import revive
from forge_workers import queries
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import database
from forge_workers.words.values import shown

JobId = Annotated[int, typer.Argument(help="The job's number.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]


class State(StrEnum):
    """Where a job can stand."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    DEAD = "dead"
    SUPERSEDED = "superseded"


app = typer.Typer(no_args_is_help=True, help="Durable jobs and dead letters.")


@app.command("list")
def list_(
    *,
    state: Annotated[State | None, typer.Option(help="Only this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as votes.recount.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    with database() as session:
        rows = queries.jobs(session, state=state.value if state else None, kind=kind, limit=limit)
    print_rows(rows if as_json else _short(rows), as_json=as_json, empty="no such job")


@app.command()
def show(job: JobId, *, as_json: AsJson = False) -> None:
    """Show one job with its payload and how it ended."""
    with database() as session:
        found = queries.job(session, job)
    if as_json:
        print_json(dict(found))
        return
    for key, value in found.items():
        standard_output().print(f"{key:>12}  {shown(value)}", markup=False)


@app.command()
def dead(*, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List jobs that were given up and messages that could not be processed."""
    with database() as session:
        rows = queries.jobs(session, state=State.DEAD.value, kind=None, limit=limit)
        letters = queries.dead_letters(session, limit=limit)
    if as_json:
        print_json(
            {"jobs": [dict(row) for row in rows], "messages": [dict(row) for row in letters]}
        )
        return
    print_rows(_short(rows), as_json=False, empty="no job was given up")
    print_rows(letters, as_json=False, empty="no message was left unprocessed")


@app.command()
def retry(job: JobId) -> None:
    """Give a dead job its attempts again; the next sweep wakes it."""
    with database() as session:
        kind = revive(session, job)
    standard_output().print(f"job {job} ({kind}) will be tried again", markup=False)


def _short(rows: Sequence[queries.Row]) -> list[queries.Row]:
    columns = ("id", "kind", "key", "state", "attempt", "created_at", "message")
    return [{column: row[column] for column in columns} for row in rows]
