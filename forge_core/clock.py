"""Forge time: the database's clock, which a sandbox may have moved forward.

``forge_now()`` rules deadlines, lifetimes and history; a step reads it once, after its locks, and
hands it on as an argument. Leases, back-off and sweeps run on real time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.text import shown

_NOW = text("SELECT forge_now()")
_SANDBOX = text("SELECT sandbox FROM instance")


def forge_now(session: Session) -> datetime:
    """The one reading of this step (timezone-aware, UTC, microseconds)."""
    return as_utc(session.execute(_NOW).scalar_one())


def is_sandbox(session: Session) -> bool:
    """Whether this database was founded as a sandbox; False before its genesis."""
    return bool(session.execute(_SANDBOX).scalar_one_or_none())


def as_utc(moment: datetime) -> datetime:
    """The same instant in UTC."""
    return moment.astimezone(UTC)


def parse_moment(value: object, *, name: str = "the time") -> datetime | None:
    """An RFC 3339 time as UTC; None stays None. ``name`` is what a message calls it.

    Raises ``Refused`` TIME_INVALID.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is not None:
            return as_utc(moment)
    except (ValueError, OverflowError):
        pass
    raise Refused(
        "TIME_INVALID",
        f"{name} is {shown(value)}; give date, time and offset from UTC, such as "
        "2027-01-05T12:00:00Z",
    )


@lru_cache(maxsize=256)  # a step's entries share few moments
def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with exactly six digits of fraction: one spelling for one instant."""
    return as_utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
