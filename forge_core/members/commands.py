"""The steps of the members' commands: admit, restrict, delegate, import, erase and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from forge_core.clock import forge_now, is_sandbox, parse_moment
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, JobKind, Outcome
from forge_core.jobs.steps import alone
from forge_core.ledger.erasure import erase
from forge_core.ledger.instance import advance_clock
from forge_core.members import delegation, holdings, imported, restrictions
from forge_core.members.electorate import Admission, admit, lock_version, require_role
from forge_core.members.levels import Role, TrustLevel, parse_level
from forge_core.members.sources import is_source
from forge_core.text import require_id, require_text, shown

REASON_MOST = 2_000
MOST_AT_ONCE = 10_000

Decide = Callable[[Session, Job], Outcome]


def _step(decide: Decide) -> Callable[[Session, Sequence[Job]], list[Outcome]]:
    """These steps take one job a transaction: each locks the electorate or a member's row."""
    return lambda session, jobs: alone(jobs, partial(decide, session))


def _admit(session: Session, job: Job) -> Outcome:
    """At SANDBOX, or STANDARD from a registered source; a sandbox lifts that."""
    version = lock_version(session) + 1
    require_role(session, job.actor, Role.ADMIN)
    given = _list(job, "members")
    source = require_id("source", job.payload.get("source"))
    highest = TrustLevel.STANDARD if is_source(session, source) else TrustLevel.SANDBOX
    if is_sandbox(session):
        highest = TrustLevel.CORE
    admissions = [_admission(item, source, highest) for item in given]
    admit(session, admissions, actor=job.actor, at=forge_now(session), version=version)
    return Outcome.done(admitted=len(admissions))


def _admission(item: object, source: str, highest: TrustLevel) -> Admission:
    if not isinstance(item, dict):
        raise Refused("PAYLOAD_WRONG_TYPE", f"a member is an object with an id, not {shown(item)}")
    level = parse_level("level", item.get("level", TrustLevel.SANDBOX))
    if level > highest or level is TrustLevel.QUARANTINE:
        raise Refused(
            "LEVEL_NOT_GRANTED",
            f"members are admitted at SANDBOX to {highest}; at STANDARD from a registered source",
        )
    return Admission(require_id("member", item.get("id")), level, source)


def _restrict(session: Session, job: Job) -> Outcome:
    actor = require_role(session, job.actor, Role.OPERATOR)
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
    actor = require_role(session, job.actor, Role.OPERATOR)
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
        expires_at=parse_moment(job.payload.get("expires_at")),
        command=job.command,
    )
    return Outcome.done()


def _revoke(session: Session, job: Job) -> Outcome:
    """For whatever scope there is an edge, also of a type that is there no more."""
    scope = require_id("scope", job.payload.get("scope", delegation.GENERAL))
    delegation.revoke(session, job.actor, scope=scope, command=job.command)
    return Outcome.done()


def _import(session: Session, job: Job) -> Outcome:
    require_role(session, job.actor, Role.ADMIN)
    roll = _list(job, "roll")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in roll):
        raise Refused("PAYLOAD_WRONG_TYPE", "a roll is a list of [member, weight] pairs")
    imported.import_roll(
        session,
        require_id("electorate", job.payload.get("electorate")),
        [(member, weight) for member, weight in roll],
        last=job.payload.get("last") is True,
        source=job.payload.get("source"),
        actor=job.actor,
        at=forge_now(session),
        command=job.command,
    )
    return Outcome.done(voters=len(roll))


def _report(session: Session, job: Job) -> Outcome:
    require_role(session, job.actor, Role.ADMIN)
    rows = _list(job, "holdings")
    if not all(isinstance(row, list) and len(row) == 1 + len(holdings.MEASURES) for row in rows):
        measures = ", ".join(holdings.MEASURES)
        raise Refused("PAYLOAD_WRONG_TYPE", f"holdings is a list of [member, {measures}]")
    holdings.report(
        session,
        require_id("source", job.payload.get("source")),
        rows,
        actor=job.actor,
        at=forge_now(session),
        command=job.command,
    )
    return Outcome.done(members=len(rows))


def _erase(session: Session, job: Job) -> Outcome:
    require_role(session, job.actor, Role.ADMIN)
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
    require_role(session, job.actor, Role.ADMIN)
    to = parse_moment(job.payload.get("to"))
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


def job_kinds(scopes: Callable[[Session], Sequence[str]]) -> tuple[JobKind, ...]:
    """The members' kinds; delegation is scoped by the types of proposal that exist then."""

    def scoped(session: Session) -> frozenset[str]:
        return frozenset((delegation.GENERAL, *scopes(session)))

    steps: dict[str, Decide] = {
        "members.admit": _admit,
        "members.restrict": _restrict,
        "members.release": _release,
        "members.delegate": lambda session, job: _delegate(session, job, scopes=scoped(session)),
        "members.revoke_delegation": _revoke,
        "members.import_electorate": _import,
        "members.report_holdings": _report,
        "clock.advance": _advance,
        "ledger.erase_text": _erase,
    }
    return tuple(
        JobKind(name, queue="proposals", step=_step(decide), together=False)
        for name, decide in steps.items()
    )


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
