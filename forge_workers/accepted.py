"""What accepting an issuer's ballots and commands has fixed: the entries that can be promised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.entries import Entry
from forge_core.ledger.received import received_entry
from forge_core.voting.ballots import ballot_entry

Ask = Callable[[Callable[[Session], Sequence[Row[Any]]]], Sequence[Row[Any]]]
"""Runs a question in a transaction of its own."""

_OWN_BALLOTS = text("""
    SELECT *, CAST(:issuer AS text) AS issuer
    FROM forge_own_ballots(:issuer, CAST(:ids AS uuid[]))
""")
_RECEIVE = text("""
    SELECT command_id, kind, received_at
    FROM forge_receive_commands(:issuer, CAST(:ids AS uuid[]))
""")


def accepted_entries(
    ask: Ask, issuer: str, command_ids: Sequence[UUID]
) -> dict[UUID, tuple[Entry, datetime]]:
    """The entry and the time of each that was accepted (or, of commands, received), by command id.

    A ballot's entry follows from what was accepted; that another command was received is written
    into the ledger here, once, however often it is asked.
    """
    ids = [str(id_) for id_ in command_ids]
    ballots = ask(lambda session: run(session, _OWN_BALLOTS, issuer=issuer, ids=ids))
    found = {row.command_id: (ballot_entry(row), row.accepted_at) for row in ballots}
    others = [str(id_) for id_ in command_ids if id_ not in found]
    if not others:
        return found
    received = ask(lambda session: run(session, _RECEIVE, issuer=issuer, ids=others))
    return found | {
        row.command_id: (
            received_entry(issuer, row.command_id, row.kind, row.received_at),
            row.received_at,
        )
        for row in received
    }
