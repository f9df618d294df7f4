"""`forge replay`: past votings through the pipeline of a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forge_core.settings import Settings
from forge_workers.cli.output import AsJson, print_json, standard_error, standard_output
from forge_workers.replay import tables
from forge_workers.replay.sandbox import servers
from forge_workers.replay.session import SAMPLE, replay_source
from forge_workers.replay.source import Source, read


def replay(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Holds proposals.csv[.gz] and votes.csv[.gz]; default: a small sample."
        ),
    ] = SAMPLE,
    *,
    as_json: AsJson = False,
) -> None:
    """Send every ballot of a dataset through a sandbox, in its real order, and compare.

    Uses the running stack, which has to be a sandbox, else a private one for as long as it takes.
    Exit status 0: everything as expected; 1: rows were left out or totals differ.
    """
    source = read(directory)
    console = standard_error()
    with servers(console) as settings:
        status = show_replay(source, settings, console, as_json=as_json)
    raise typer.Exit(status)


def show_replay(source: Source, settings: Settings, progress: Console, *, as_json: bool) -> int:
    """Replay, print the report on stdout and problems on stderr; return the exit status."""
    report = replay_source(source, settings, progress)
    if as_json:
        print_json(report.to_json())
    else:
        tables.show(report, standard_output())
    tables.show_problems(report, standard_error())
    return 1 if report.problems() else 0
