"""The step of the treasury's command: an admin enters what came in."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import Entry, append
from forge_core.locks import lock_name
from forge_core.members.electorate import require_role
from forge_core.members.levels import Role
from forge_core.members.sources import require_source
from forge_core.text import require_id, shown
from forge_core.treasury.accounts import DEPOSITED, TREASURY


def deposit(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``treasury.deposit``: an amount above 0 from a registered source."""

    def decide(job: Job) -> Outcome:
        require_role(session, job.actor, Role.ADMIN)
        source = require_id("source", job.payload.get("source"))
        require_source(session, source)
        amount = parse_decimal(job.payload.get("amount"), name="amount")
        if amount <= 0:
            given = shown(job.payload.get("amount"))
            raise Refused("AMOUNT_NOT_POSITIVE", f"amount is {given}; give above 0")
        lock_name(session, TREASURY)
        data = {"amount": to_decimal_string(amount), "source": source}
        now = forge_now(session)
        append(session, [Entry(DEPOSITED, now, job.actor, TREASURY, data, job.command)])
        return Outcome.done(amount=data["amount"])

    return alone(jobs, decide)
