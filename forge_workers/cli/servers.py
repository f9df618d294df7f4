"""Reaching the servers from a command: settings, the client, sessions for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from forge_core.database import make_engine
from forge_core.settings import Settings
from forge_workers.client import GovernanceClient
from forge_workers.reading import reading

ISSUER = "cli"
ANSWER_SECONDS = 30.0
_DATABASE_SECONDS = 5.0

ActingMember = Annotated[
    str,
    typer.Option("--as", metavar="MEMBER", envvar="FORGE_MEMBER", help="The acting member."),
]


@contextmanager
def client() -> Iterator[GovernanceClient]:
    """Give a client of the servers that environment or home name."""
    with GovernanceClient(
        issuer=ISSUER, settings=Settings.load(), patience=_DATABASE_SECONDS
    ) as made:
        yield made


@contextmanager
def database(*, writes: bool = True) -> Iterator[Session]:
    """Give one transaction; `Unavailable` when there is no database.

    Without ``writes`` it sees one moment of everything, and the database lets it change nothing.
    """
    engine = make_engine(Settings.load().database_url, pool_size=1)
    steady = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with reading(engine if writes else engine.execution_options(**steady)) as session:
            yield session
    finally:
        engine.dispose()


def carry(kind: str, actor: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Send one command, wait for its answer and return the result; a refusal raises.

    `Unavailable` when there is no answer in 30 s; the command is kept and carried out later.
    """
    with client() as sender:
        answer = sender.wait(sender.command(kind, actor, payload), ANSWER_SECONDS)
    return dict(answer.require_done())
