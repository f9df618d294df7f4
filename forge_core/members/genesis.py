"""Genesis: the first entries of a ledger name the founders with levels and roles, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, forge_now
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.locks import lock_name
from forge_core.members.electorate import Admission, admit
from forge_core.members.levels import Role, TrustLevel
from forge_core.members.roles import ROLE_GRANTED
from forge_core.text import require_id

FOUNDED = EntryKind.of(
    "ledger.founded",
    """
    INSERT INTO instance (id, sandbox, founded_at, clock_offset)
    SELECT 1, (data ->> 'sandbox')::boolean, at,
        make_interval(secs => coalesce((data ->> 'clock_offset')::bigint, 0) / 1000000.0)
    FROM forge_entries(:ids)
    """,
    """
    INSERT INTO electorate (id, version, core, trusted, standard, sandbox, quarantine)
    VALUES (1, 0, 0, 0, 0, 0, 0)
    """,
)

_FOUNDED = text("SELECT EXISTS (SELECT FROM instance)")


@dataclass(frozen=True)
class Founder:
    """A member that the ledger begins with."""

    id: str
    level: TrustLevel
    roles: tuple[Role, ...] = ()


def found(
    session: Session,
    founders: Sequence[Founder],
    *,
    sandbox: bool,
    starts_at: datetime | None = None,
) -> None:
    """Begin the ledger. Refused: ``ALREADY_FOUNDED``, ``NO_FOUNDERS``, and what ``admit`` refuses.

    The sandbox flag is set here, in the first entry, and never again. A sandbox's clock may start
    at another time than now (``starts_at``); ``NOT_A_SANDBOX`` elsewhere.
    """
    if starts_at is not None and not sandbox:
        raise Refused("NOT_A_SANDBOX", "only a sandbox's clock may start at another time than now")
    # Two at once: the second waits here and then sees the first one's instance.
    lock_name(session, "genesis")
    if session.execute(_FOUNDED).scalar_one():
        raise Refused(
            "ALREADY_FOUNDED",
            "this ledger has its founders; to begin another, use another FORGE_HOME",
        )
    if not founders:
        raise Refused("NO_FOUNDERS", "name at least one founder, for example alice:CORE:admin")
    names = [require_id("founder", founder.id) for founder in founders]
    now = forge_now(session)
    data: dict[str, Any] = {"sandbox": sandbox, "founders": names}
    if starts_at is not None:
        data["clock_offset"] = str((starts_at - now) // timedelta(microseconds=1))
        now = as_utc(starts_at)
    append(session, [Entry(FOUNDED, now, "genesis", "ledger", data)])
    admissions = [Admission(founder.id, founder.level, "genesis") for founder in founders]
    admit(session, admissions, actor="genesis", at=now, version=1)
    append(
        session,
        [
            Entry(
                kind=ROLE_GRANTED,
                at=now,
                actor="genesis",
                subject=founder.id,
                data={"role": role.value},
            )
            for founder in founders
            for role in founder.roles
        ],
    )


def is_founded(session: Session) -> bool:
    """Whether this database has its genesis."""
    return bool(session.execute(_FOUNDED).scalar_one())
