"""The steps of the members' commands: admit, restrict, delegate, import, erase and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from forge_core.clock import as_utc, forge_now, is_sandbox
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, JobKind, Outcome
from forge_core.ledger.erasure import erase
from forge_core.ledger.instance import advance_clock
from forge_core.members import delegation, imported, restrictions
from forge_core.members.electorate import (
    Admission,
    MemberNow,
    admit,
    lock_version,
    members_now,
    require_member,
)
from forge_core.members.levels import Role, TrustLevel, parse_level
from forge_core.text import require_id, require_text, shown

REASON_MOST = 2_000
MOST_AT_ONCE = 10_000

Decide = Callable[[Session, Job], Outcome]


def _step(decide: Decide) -> Callable[[Session, Sequence[Job]], list[Outcome]]:
    """These steps take one job a transaction: each locks the electorate or a member's row."""

    def step(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
        (job,) = jobs
        try:
            return [decide(session, job)]
        except Refused as refusal:
            return [Outcome.refused(refusal)]

    return step


def _admit(session: Session, job: Job) -> Outcome:
    """Outside a sandbox an admin admits at SANDBOX or STANDARD; a sandbox lifts that."""
    version = lock_version(session) + 1
    _require_role(session, job.actor, Role.ADMIN)
    given = _list(job, "members")
    source = require_id("source", job.payload.get("source"))
    highest = TrustLevel.CORE if is_sandbox(session) else TrustLevel.STANDARD
    admissions = [_admission(item, source, highest) for item in given]
    admit(session, admissions, actor=job.actor, at=forge_now(session), version=version)
    return Outcome.done(admitted=len(admissions))


def _admission(item: object, source: str, highest: TrustLevel) -> Admission:
    if not isinstance(item, dict):
        raise Refused("PAYLOAD_WRONG_TYPE", f"a member is an object with an id, not {shown(item)}")
    level = parse_level("level", item.get("level", TrustLevel.SANDBOX))
    if level > highest or level is TrustLevel.QUARANTINE:
        raise Refused("LEVEL_NOT_GRANTED", f"members are admitted at SANDBOX to {highest}")
    return Admission(require_id("member", item.get("id")), level, source)


def _restrict(session: Session, job: Job) -> Outcome:
    actor = _require_role(session, job.actor, Role.OPERATOR)
    seconds = job.payload.get("seconds", 3_600)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or abs(seconds) > 10**9:
        raise Refused("PAYLOAD_WRONG_TYPE", "seconds is a whole number")
    until = restrictions.restrict(
        session,
        require_id("member_id", job.payload.get("member_id")),
        actor=actor.id,
        reason=_reason(job),
        lasting=timedelta(seconds=seconds),
        at=forge_now(session),
        command=job.command,
    )
    return Outcome.done(until=until.isoformat())


def _release(session: Session, job: Job) -> Outcome:
    actor = _require_role(session, job.actor, Role.OPERATOR)
    restrictions.release(
        session,
        require_id("member_id", job.payload.get("member_id")),
        actor=actor.id,
        reason=_reason(job),
        at=forge_now(session),
        command=job.command,
    )
    return Outcome.done()


def _delegate(session: Session, job: Job, *, scopes: frozenset[str]) -> Outcome:
    delegation.delegate_to(
        session,
        job.actor,
        require_id("delegate", job.payload.get("delegate")),
        scope=_scope(job, scopes),
        expires_at=_moment(job.payload.get("expires_at")),
        command=job.command,
    )
    return Outcome.done()


def _revoke(session: Session, job: Job, *, scopes: frozenset[str]) -> Outcome:
    delegation.revoke(session, job.actor, scope=_scope(job, scopes), command=job.command)
    return Outcome.done()


def _import(session: Session, job: Job) -> Outcome:
    _require_role(session, job.actor, Role.ADMIN)
    roll = _list(job, "roll")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in roll):
        raise Refused("PAYLOAD_WRONG_TYPE", "a roll is a list of [member, weight] pairs")
    imported.import_roll(
        session,
        require_id("electorate", job.payload.get("electorate")),
        [(member, weight) for member, weight in roll],
        last=job.payload.get("last") is True,
        actor=job.actor,
        at=forge_now(session),
        command=job.command,
    )
    return Outcome.done(voters=len(roll))


def _erase(session: Session, job: Job) -> Outcome:
    _require_role(session, job.actor, Role.ADMIN)
    erase(
        session,
        job.payload.get("commitment"),
        actor=job.actor,
        reason=_reason(job),
        command=job.command,
    )
    return Outcome.done()


def _advance(session: Session, job: Job) -> Outcome:
    """``seconds`` forward, or ``to`` a time; a time that is reached already changes nothing."""
    _require_role(session, job.actor, Role.ADMIN)
    to = _moment(job.payload.get("to"))
    if to is not None:
        by = to - forge_now(session)
        if by <= timedelta(0):
            return Outcome.done(now=forge_now(session).isoformat())
    else:
        seconds = job.payload.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int) or abs(seconds) > 10**11:
            raise Refused("PAYLOAD_WRONG_TYPE", "give seconds (a whole number) or to (a time)")
        by = timedelta(seconds=seconds)
    return Outcome.done(now=advance_clock(session, actor=job.actor, by=by).isoformat())


def job_kinds(proposal_types: Sequence[str]) -> tuple[JobKind, ...]:
    """The members' kinds; delegation is scoped by the types of proposal that exist."""
    scopes = frozenset((delegation.GENERAL, *proposal_types))
    steps: dict[str, Decide] = {
        "members.admit": _admit,
        "members.restrict": _restrict,
        "members.release": _release,
        "members.delegate": lambda session, job: _delegate(session, job, scopes=scopes),
        "members.revoke_delegation": lambda session, job: _revoke(session, job, scopes=scopes),
        "members.import_electorate": _import,
        "clock.advance": _advance,
        "ledger.erase_text": _erase,
    }
    return tuple(
        JobKind(name, queue="proposals", step=_step(decide), together=False)
        for name, decide in steps.items()
    )


def _require_role(session: Session, actor: str, role: Role) -> MemberNow:
    member = require_member(members_now(session, [actor]), actor)
    if role not in member.roles:
        raise Refused("POWER_MISSING", f"this takes the role {role}; {actor!r} does not have it")
    return member


def _list(job: Job, key: str) -> list[Any]:
    value = job.payload.get(key)
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_AT_ONCE:
        raise Refused("PAYLOAD_WRONG_TYPE", f"{key} is a list of 1 to {MOST_AT_ONCE:,} items")
    return value


def _reason(job: Job) -> str:
    return require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)


def _scope(job: Job, scopes: frozenset[str]) -> str:
    scope = job.payload.get("scope", delegation.GENERAL)
    if not isinstance(scope, str) or scope not in scopes:
        raise Refused("SCOPE_UNKNOWN", f"scope is one of {', '.join(sorted(scopes))}")
    return scope


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise Refused("TIME_INVALID", "a time names its offset from UTC, for example ...Z")
        return as_utc(moment)
    except (ValueError, OverflowError) as error:
        raise Refused("TIME_INVALID", f"{shown(value)} is no RFC 3339 time") from error
