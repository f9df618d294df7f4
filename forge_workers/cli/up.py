"""`forge up`: the embedded stack, and the demo in it."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.settings import Settings
from forge_workers.cli.output import standard_error
from forge_workers.cli.replay import show_replay
from forge_workers.replay.session import SAMPLE
from forge_workers.replay.source import read
from forge_workers.stack.up import run_stack


def up(
    *,
    demo: Annotated[
        bool, typer.Option("--demo", help="Replay a small sample of real votes first.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop after the demo.")] = False,
) -> None:
    """Run PostgreSQL, broker, workers, beat, Flower and the HTTP gateway until Ctrl-C."""
    if once and not demo:
        raise typer.BadParameter("--once stops after the demo; give --demo as well")
    statuses = [0]

    def show_demo(settings: Settings) -> None:
        statuses.append(show_replay(read(SAMPLE), settings, standard_error(), as_json=False))

    status = run_stack(demo=show_demo if demo else None, once=once)
    raise typer.Exit(max(status, *statuses))
