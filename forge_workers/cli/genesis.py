"""`forge genesis`: the first entries of a ledger name its founders, once."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.clock import parse_moment
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import parse_level, parse_role
from forge_workers.cli.output import standard_output
from forge_workers.cli.servers import database


def genesis(
    founders: Annotated[
        list[str],
        typer.Argument(
            metavar="ID:LEVEL[:ROLE,ROLE]...", help="For example alice:CORE:admin,guardian."
        ),
    ],
    *,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="A database whose clock can be moved. For ever.")
    ] = False,
    starts_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="A sandbox's first moment, such as 2026-01-01T00:00:00Z."
        ),
    ] = None,
) -> None:
    """Begin the ledger of an empty database with its founders, their levels and roles."""
    parsed = [_founder(text) for text in founders]
    with database() as session:
        found(session, parsed, sandbox=sandbox, starts_at=parse_moment(starts_at))
    kind = "sandbox" if sandbox else "production database"
    standard_output().print(f"founded a {kind} with {len(parsed)} founders")


def _founder(text: str) -> Founder:
    # Ids may hold colons themselves; level and roles cannot.
    identity, *rest = text.rsplit(":", 2)
    if len(rest) == 2 and rest[0] in {"CORE", "TRUSTED", "STANDARD", "SANDBOX"}:
        level, roles = rest[0], rest[1].split(",")
    else:
        identity, _, level = text.rpartition(":")
        roles = []
    if not identity:
        raise typer.BadParameter(f"{text!r} is not ID:LEVEL or ID:LEVEL:ROLE,ROLE")
    return Founder(
        identity, parse_level("level", level), tuple(parse_role("role", role) for role in roles)
    )
