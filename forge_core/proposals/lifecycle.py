"""The states of a proposal, the only ways between them, and when an interval ends.

Design section 7 and 8; INV-01 to INV-03 and INV-06. The database enforces the same table.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from forge_core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta


class Status(StrEnum):
    """Where a proposal stands."""

    DRAFT = "draft"
    ACTIVE = "active"
    APPROVED = "approved"
    REJECTED = "rejected"
    QUEUED = "queued"
    EXECUTED = "executed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ROLLED_BACK = "rolled_back"


EDGES: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Status.DRAFT: frozenset({Status.ACTIVE, Status.CANCELLED, Status.EXPIRED}),
        Status.ACTIVE: frozenset({Status.APPROVED, Status.REJECTED, Status.CANCELLED}),
        Status.APPROVED: frozenset({Status.QUEUED, Status.CANCELLED, Status.EXPIRED}),
        Status.QUEUED: frozenset(
            {Status.EXECUTED, Status.FAILED, Status.CANCELLED, Status.EXPIRED}
        ),
        Status.FAILED: frozenset({Status.QUEUED, Status.CANCELLED}),
        Status.EXECUTED: frozenset({Status.ROLLED_BACK}),
        Status.REJECTED: frozenset(),
        Status.CANCELLED: frozenset(),
        Status.EXPIRED: frozenset(),
        Status.ROLLED_BACK: frozenset(),
    }
)
"""INV-01: from each status, every status it may go to. ``failed → queued`` is an audited retry."""

FINAL: Final = frozenset(status for status, following in EDGES.items() if not following)
"""INV-02: no command changes a proposal in one of these."""


def edge_pairs() -> tuple[tuple[str, str], ...]:
    """The table as sorted (from, to) pairs, for the database's own copy of the rule."""
    return tuple(sorted((str(a), str(b)) for a, following in EDGES.items() for b in following))


def reachable(now: Status) -> frozenset[Status]:
    """Where a proposal may yet come to stand, on whatever way."""
    found: set[Status] = set()
    waiting = [now]
    while waiting:
        following = EDGES[waiting.pop()] - found
        found |= following
        waiting += following
    return frozenset(found)


def check_edge(now: Status, then: Status) -> None:
    """Raise ``Refused`` EDGE_REFUSED unless a proposal may go from ``now`` to ``then``."""
    if then in EDGES[now]:
        return
    allowed = ", ".join(status for status in Status if status in EDGES[now])
    raise Refused(
        "EDGE_REFUSED",
        f"a proposal that is {now} cannot become {then}; "
        + (f"it can become {allowed}" if allowed else f"{now} is final"),
    )


def ballot_in_time(accepted_at: datetime, closes_at: datetime) -> bool:
    """A ballot accepted in the very microsecond of ``closes_at`` still counts."""
    return accepted_at <= closes_at


def close_due(now: datetime, closes_at: datetime) -> bool:
    """Closing is due only after the last instant at which a ballot is in time."""
    return now > closes_at


def execution_due(now: datetime, eta: datetime) -> bool:
    """The timelock is over from ``eta`` on."""
    return now >= eta


def execution_expired(now: datetime, eta: datetime, grace: timedelta) -> bool:
    """From ``eta + grace`` on a queued proposal may no longer be executed."""
    return now >= eta + grace


def lifetime_over(now: datetime, since: datetime, lifetime: timedelta) -> bool:
    """A draft, or an approval whose gates stay open, lapses from ``since + lifetime`` on."""
    return now >= since + lifetime
