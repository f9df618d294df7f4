"""`forge worker|beat|flower|api`: the processes of a production installation, one each."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from typing import Annotated, Any, NoReturn

import typer

from forge_core.settings import VARIABLES, Settings
from forge_workers.ledger_events import declared_queues
from forge_workers.queues import QUEUES
from forge_workers.stack.house import CELERY, FLOWER, GATEWAY, beat_arguments

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}

_NAMES = tuple(queue.name for queue in QUEUES)


def worker(
    context: typer.Context,
    *,
    queues: Annotated[
        str, typer.Option(help="The queues this worker serves, separated by commas.")
    ] = ",".join(_NAMES),
    concurrency: Annotated[int, typer.Option(min=1, max=1_000, help="Pool processes.")] = 2,
) -> None:
    """Serve queues until stopped. Further options go to Celery."""
    declared_queues()  # what is wrong with them is said now, not by every run
    unknown = sorted(set(queues.split(",")) - set(_NAMES))
    if unknown:
        raise typer.BadParameter(f"unknown queue {unknown[0]!r}; known are {', '.join(_NAMES)}")
    _become(
        *CELERY,
        "worker",
        f"--queues={queues}",
        f"--concurrency={concurrency}",
        "--without-gossip",
        "--without-mingle",
        *context.args,
    )


def beat(context: typer.Context) -> None:
    """Send the periodic wake-ups; two at once are harmless. Further options go to Celery."""
    home = Settings.load().home
    home.mkdir(parents=True, exist_ok=True)
    _become(*beat_arguments(home / "beat-schedule"), *context.args)


def flower(context: typer.Context) -> None:
    """Show proposals, advice, queues, workers and tasks in the browser. Options go to Flower.

    Flower demands a password: give --conf=FILE with basic_auth, or --basic-auth=user:password.
    """
    named = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in context.args}
    if not named & {"conf", "basic_auth", "auth"}:
        raise typer.BadParameter(
            "Flower needs a password: --conf=FILE or --basic-auth=user:password"
        )
    _become(*FLOWER, *context.args, needed=("reader_database_url", "broker_url"))


def api(
    *,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port.")] = 8300,
) -> None:
    """Answer programs over HTTP, who carry a token. Put a proxy that speaks TLS before it."""
    _become(*GATEWAY, f"--host={host}", f"--port={port}", needed=("reader_database_url",))


def _become(*arguments: str, needed: Collection[str] = tuple(VARIABLES)) -> NoReturn:
    Settings.load(needed=needed)  # a missing address is one clear line here, and a traceback there
    sys.stdout.flush()
    os.execv(sys.executable, arguments)  # noqa: S606  # fixed program
