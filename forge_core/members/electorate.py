"""Membership and levels: every change goes through the electorate row, whose lock orders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry, EntryKind, append
from forge_core.members.levels import Role, TrustLevel
from forge_core.text import require_id

# The counts follow from the members the entries name: one statement changes both.
_COUNTED = """
    UPDATE electorate SET
        version = changed.version,
        core = electorate.core + changed.core,
        trusted = electorate.trusted + changed.trusted,
        standard = electorate.standard + changed.standard,
        sandbox = electorate.sandbox + changed.sandbox,
        quarantine = electorate.quarantine + changed.quarantine
    FROM (
        SELECT
            max(version) AS version,
            coalesce(sum(step) FILTER (WHERE level = 'CORE'), 0) AS core,
            coalesce(sum(step) FILTER (WHERE level = 'TRUSTED'), 0) AS trusted,
            coalesce(sum(step) FILTER (WHERE level = 'STANDARD'), 0) AS standard,
            coalesce(sum(step) FILTER (WHERE level = 'SANDBOX'), 0) AS sandbox,
            coalesce(sum(step) FILTER (WHERE level = 'QUARANTINE'), 0) AS quarantine
        FROM counted
    ) AS changed
"""

ADMITTED = EntryKind.of(
    "member.admitted",
    f"""
    WITH entry AS MATERIALIZED (
        SELECT subject, at, data ->> 'level' AS level, (data ->> 'version')::bigint AS version,
            data ->> 'source' AS source
        FROM forge_entries(:ids)
    ), admitted AS (
        INSERT INTO members (id, level, active, admitted_at, version)
        SELECT subject, level, true, at, version FROM entry
    ), history AS (
        INSERT INTO member_levels (member_id, version, level, active, changed_at, cause)
        SELECT subject, version, level, true, at, 'admitted from ' || source FROM entry
    ), counted AS (SELECT version, level, 1 AS step FROM entry)
    {_COUNTED}
    """,  # noqa: S608  # built from constants
)

LEVEL_CHANGED = EntryKind.of(
    "member.level_changed",
    f"""
    WITH entry AS MATERIALIZED (
        SELECT subject, at, data ->> 'before' AS before, data ->> 'after' AS after,
            (data ->> 'version')::bigint AS version, data ->> 'cause' AS cause
        FROM forge_entries(:ids)
    ), changed_member AS (
        UPDATE members SET level = entry.after, version = entry.version
        FROM entry WHERE members.id = entry.subject
    ), history AS (
        INSERT INTO member_levels (member_id, version, level, active, changed_at, cause)
        SELECT subject, version, after, true, at, cause FROM entry
    ), counted AS (
        SELECT version, before AS level, -1 AS step FROM entry
        UNION ALL SELECT version, after, 1 FROM entry
    )
    {_COUNTED}
    """,  # noqa: S608  # built from constants
)

# Actors of entries that are no members.
RESERVED = frozenset({"genesis", "system"})
RESERVED_PREFIXES = ("rule:", "issuer:")

_LOCK = text("SELECT version FROM electorate FOR UPDATE")
_VERSION = text("SELECT version FROM electorate")
_SHARE = text("""
    SELECT version, core, trusted, standard, sandbox, quarantine FROM electorate FOR SHARE
""")
_MEMBERS = text("""
    SELECT members.id, members.level, members.active,
        restrictions.until AS restricted_until,
        coalesce(
            (SELECT array_agg(role) FROM member_roles WHERE member_id = members.id), '{}'
        ) AS roles
    FROM members LEFT JOIN restrictions
        ON restrictions.member_id = members.id AND restrictions.until > clock_timestamp()
    WHERE members.id = ANY(:ids)
""")


@dataclass(frozen=True)
class MemberNow:
    """A member as of now, with what decides whether a new command of theirs is heard."""

    id: str
    level: TrustLevel
    active: bool
    restricted_until: datetime | None
    roles: frozenset[str]

    def at(self, level: TrustLevel) -> MemberNow:
        """The same member at another level."""
        return replace(self, level=level)

    def holding(self, roles: frozenset[str]) -> MemberNow:
        """The same member with other roles."""
        return replace(self, roles=roles)

    def require_may_act(self) -> None:
        """Refuse new commands of inactive, quarantined and restricted members, by name."""
        if not self.active:
            raise Refused("MEMBER_INACTIVE", f"member {self.id!r} is not active")
        if self.level is TrustLevel.QUARANTINE:
            raise Refused("MEMBER_QUARANTINED", f"member {self.id!r} is at level QUARANTINE")
        if self.restricted_until is not None:
            until = f"{self.restricted_until:%F %T %Z}, in real time"
            raise Refused("MEMBER_RESTRICTED", f"member {self.id!r} is restricted until {until}")


def members_now(session: Session, ids: Sequence[str]) -> dict[str, MemberNow]:
    """The members among ``ids``, by id."""
    rows = run(session, _MEMBERS, ids=sorted(set(ids)))
    return {
        row.id: MemberNow(
            row.id, TrustLevel(row.level), row.active, row.restricted_until, frozenset(row.roles)
        )
        for row in rows
    }


def require_member(known: dict[str, MemberNow], id_: str) -> MemberNow:
    """The member, able to act; ``MEMBER_UNKNOWN`` and the refusals of ``require_may_act``."""
    member = known.get(id_)
    if member is None:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {id_!r}")
    member.require_may_act()
    return member


def require_role(session: Session, actor: str, role: Role) -> MemberNow:
    """The member, able to act and holding the role; else ``POWER_MISSING`` and its like."""
    member = require_member(members_now(session, [actor]), actor)
    if role not in member.roles:
        raise Refused("POWER_MISSING", f"this takes the role {role}; {actor!r} does not have it")
    return member


def lock_version(session: Session) -> int:
    """Lock the electorate for a change; the change carries the version returned plus one."""
    version = session.execute(_LOCK).scalar_one_or_none()
    if version is None:
        raise Refused("NO_GENESIS", "this database has no founders yet; run `forge genesis`")
    return int(version)


def present_version(session: Session) -> int:
    """The electorate's version now; whoever changes it holds the lock."""
    return int(session.execute(_VERSION).scalar_one_or_none() or 0)


def share_electorate(session: Session) -> Row[Any]:
    """Freeze version and members per level against changes until this transaction ends."""
    row = session.execute(_SHARE).one_or_none()
    if row is None:
        raise Refused("NO_GENESIS", "this database has no founders yet; run `forge genesis`")
    return row


@dataclass(frozen=True)
class Admission:
    """Somebody to admit, at a level, from a named source."""

    id: str
    level: TrustLevel
    source: str


def admit(
    session: Session, admissions: Sequence[Admission], *, actor: str, at: datetime, version: int
) -> None:
    """Admit members under one new electorate version. ``MEMBER_EXISTS`` names those there.

    ``version`` comes from ``lock_version`` plus one: the caller holds the electorate's lock.
    """
    ids = [require_id("member", admission.id) for admission in admissions]
    reserved = [id_ for id_ in ids if id_ in RESERVED or id_.startswith(RESERVED_PREFIXES)]
    if reserved:
        raise Refused("ID_RESERVED", f"{reserved[0]!r} is a name of the house itself")
    if len(set(ids)) != len(ids):
        raise Refused("MEMBER_TWICE", "one admission names a member twice")
    known = members_now(session, ids)
    if known:
        raise Refused("MEMBER_EXISTS", f"already admitted: {', '.join(sorted(known)[:5])}")
    append(
        session,
        [
            Entry(
                kind=ADMITTED,
                at=at,
                actor=actor,
                subject=admission.id,
                data={
                    "level": admission.level.value,
                    "version": str(version),
                    "source": admission.source,
                },
            )
            for admission in admissions
        ],
    )


def level_changed(  # one keyword for each thing an entry says
    member_id: str,
    *,
    before: TrustLevel,
    after: TrustLevel,
    version: int,
    actor: str,
    cause: str,
    at: datetime,
) -> Entry:
    """The entry that sets a level from ``version`` on; ballots already cast keep their weight.

    The caller holds the electorate's lock, has compared ``before`` under it, and made sure that
    somebody can still govern.
    """
    data = {
        "before": before.value,
        "after": after.value,
        "version": str(version),
        "cause": cause,
    }
    return Entry(LEVEL_CHANGED, at, actor, member_id, data)
