"""Commands received: said in the ledger when somebody wants a receipt, whatever is decided."""

from __future__ import annotations

from datetime import datetime

from forge_core.clock import as_utc
from forge_core.ledger.entries import Entry, EntryKind

# Written by forge_receive_commands() when a receipt is asked for; it makes no rows.
COMMAND_RECEIVED = EntryKind.of("command.received")


def received_entry(issuer: str, command_id: object, kind: str, received_at: datetime) -> Entry:
    """The entry that says that a command was received, to the byte."""
    command = f"{issuer}/{command_id}"
    return Entry(
        kind=COMMAND_RECEIVED,
        at=as_utc(received_at),
        actor=f"issuer:{issuer}",
        subject=f"command:{command}",
        data={"kind": kind},
        command=command,
    )
