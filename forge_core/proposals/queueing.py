"""Queueing: from approval, gates complete, to the time from which on execution is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from forge_core.clock import rfc3339
from forge_core.jobs.record import NewJob
from forge_core.ledger.entries import Entry, EntryKind
from forge_core.proposals.tracks import Terms

QUEUED = EntryKind.of(
    "proposal.queued",
    """
    UPDATE proposals SET status = 'queued', lapses_at = NULL, queued_count = queued_count + 1,
        eta = (data ->> 'eta')::timestamptz, expires_at = (data ->> 'expires_at')::timestamptz,
        ended_at = NULL, failure = NULL, end_reason = NULL
    FROM forge_entries(:ids) AS entry WHERE proposals.id = entry.subject
    """,
    version=2,
)


def queued(
    proposal: str,
    terms: Terms,
    now: datetime,
    without: Mapping[str, Sequence[str]] | None = None,
) -> Entry:
    """The entry that starts the timelock; its length was frozen when voting opened (INV-28).

    ``without``: the ``reviewers`` and ``yes_voters`` who counted no more when the gates were
    complete.
    """
    eta = now + terms.timelock
    data: dict[str, Any] = {"eta": rfc3339(eta), "expires_at": rfc3339(eta + terms.grace)}
    if without is not None and any(without.values()):
        data["without"] = without
    return Entry(QUEUED, now, "rule:timelock", proposal, data)


def execution_job(proposal: str) -> NewJob:
    """The job that executes a proposal; the sweep finds it again when it came to nothing."""
    return NewJob(
        "enforcement.execute", f"execute:{proposal}", {"proposal_id": proposal}, once=False
    )
