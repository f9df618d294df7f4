"""Reaching the servers from a command: settings, the client, sessions for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import make_engine
from forge_core.errors import Unavailable
from forge_core.settings import VARIABLES, Settings
from forge_workers.client import GovernanceClient
from forge_workers.reading import reading, steady

ISSUER = "cli"
ANSWER_SECONDS = 30.0
_DATABASE_SECONDS = 5.0

ActingMember = Annotated[
    str,
    typer.Option("--as", metavar="MEMBER", envvar="FORGE_MEMBER", help="The acting member."),
]


@contextmanager
def client() -> Iterator[GovernanceClient]:
    """Give a client of the servers that environment or home name, for ballots."""
    # Given again, a ballot has a new command id and a higher number: it replaces the first.
    doubt = "whether the ballot was taken is not known; give it again: the last one counts"
    with _away(doubt), _client() as made:
        yield made


@contextmanager
def database(*, writes: bool = True) -> Iterator[Session]:
    """Give one transaction; `Unavailable` when there is no database.

    Without ``writes`` it sees one moment of everything, and the database lets it change nothing.
    """
    engine = make_engine(Settings.load().database_url, pool_size=1)
    try:
        with _away(), reading(engine if writes else steady(engine)) as session:
            yield session
    finally:
        engine.dispose()


def carry(kind: str, actor: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Send one command, wait for its answer and return the result; a refusal raises.

    `Unavailable` when there is no answer in 30 s; the command is kept and carried out later.
    """
    with _client() as sender:
        # Given again, a command has a new id: it would be carried out twice.
        with _away("whether the command was kept is not known; `forge jobs list` tells"):
            command_id = sender.command(kind, actor, payload)
        with _away("the command is kept; `forge jobs list` tells what became of it"):
            answer = sender.wait(command_id, ANSWER_SECONDS)
    return dict(answer.require_done())


def _client() -> GovernanceClient:
    return GovernanceClient(issuer=ISSUER, settings=Settings.load(), patience=_DATABASE_SECONDS)


@contextmanager
def _away(doubt: str = "") -> Iterator[None]:
    """A database that is away: say what is in doubt by that, and what starts an embedded one."""
    try:
        yield
    except Unavailable as error:
        if not isinstance(error.__cause__, DBAPIError):
            raise
        embedded = not os.environ.get(VARIABLES["database_url"])
        start = "if it is not running, `forge up` starts it" if embedded else ""
        more = "; ".join(filter(None, (start, doubt)))
        raise Unavailable(f"{error} ({more})" if more else str(error)) from error
