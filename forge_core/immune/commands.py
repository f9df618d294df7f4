"""What people may do themselves: each takes a role and a reason, and is an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from forge_core.clock import as_utc, forge_now
from forge_core.errors import Refused
from forge_core.immune.answering import lock_immune
from forge_core.immune.containing import (
    CONTAINING,
    contain,
    end_responses,
    lock_overlay,
    move,
    state_of,
)
from forge_core.immune.containment import Stage, released
from forge_core.immune.detectors.addresses import normalised
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.incidents import close_one, open_incident, open_one, pauses_until
from forge_core.immune.pending import confirm_action, pending_action
from forge_core.immune.responses import (
    Response,
    ended_entry,
    filed,
    in_force,
    real_now,
    response_id,
    tell,
)
from forge_core.immune.rulebook import Rung
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import append, keep_texts
from forge_core.members.electorate import require_role
from forge_core.members.levels import Role
from forge_core.members.restrictions import release as release_member
from forge_core.members.restrictions import restrict
from forge_core.overlays.register import require_overlay
from forge_core.text import require_id, require_text, shown

REASON_MOST: Final = 2_000
HOLD: Final = timedelta(hours=24)
BLOCK: Final = timedelta(hours=1)
THROTTLE: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=30)
CONFIRMED: Final = "what the immune system found, confirmed by two operators"
HALT: Final = timedelta(hours=1)
HALT_LONGEST: Final = timedelta(hours=24)


@dataclass(frozen=True)
class _Order:
    """One command being carried out, with the lock held."""

    session: Session
    job: Job
    at: datetime
    now: datetime

    @property
    def reason(self) -> str:
        return require_text("reason", self.job.payload.get("reason"), least=1, most=REASON_MOST)

    def target(self, *kinds: str) -> Subject:
        """Whom it is about. Raises ``Refused`` TARGET_TYPE_UNKNOWN."""
        kind = self.job.payload.get("target_type")
        if kind not in kinds:
            raise Refused(
                "TARGET_TYPE_UNKNOWN",
                f"target_type is {shown(kind)}; for {self.job.kind} it is {' or '.join(kinds)}",
            )
        given = self.job.payload.get("target_id")
        if kind == "address":
            return Subject(kind, normalised(given))
        return Subject(str(kind), require_id("target_id", given))

    def lasting(self, default: timedelta, longest: timedelta) -> timedelta:
        """For how long. Raises ``Refused`` PAYLOAD_WRONG_TYPE, DURATION_OUT_OF_RANGE."""
        seconds = self.job.payload.get("seconds", int(default.total_seconds()))
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            raise Refused("PAYLOAD_WRONG_TYPE", "seconds is a whole number")
        if not 0 < seconds <= longest.total_seconds():
            hours = int(longest.total_seconds()) // 3_600
            most = f"{hours // 24} d" if hours > 24 else f"{hours} h"
            raise Refused("DURATION_OUT_OF_RANGE", f"it is at least a second and at most {most}")
        return timedelta(seconds=seconds)

    def respond(self, subject: Subject, rung: Rung, until: datetime | None) -> str:
        """The response of a person, with their reason; what is confirmed has its evidence."""
        id_ = response_id(str(self.job.command), rung)
        name = str(filed(self.session, subject, new=True))
        given = self.job.payload.get("reason")
        reason = None if given is None else keep_texts(self.session, self.reason)[0]
        response = Response(id_, subject.kind, name, rung, self.now, until, reason=reason)
        actor, command = self.job.actor, self.job.command
        append(self.session, [response.entry(at=self.at, actor=actor, command=command)])
        tell(self.session)
        return id_

    def end(self, id_: str, *, address: str | None = None) -> None:
        """End a response before its time; of an address the entry says its commitment."""
        entry = ended_entry(
            self.session,
            id_,
            address=address,
            now=self.now,
            at=self.at,
            actor=self.job.actor,
            reason=self.reason,
            command=self.job.command,
        )
        append(self.session, [entry])
        tell(self.session)


Carry = Callable[[_Order], Outcome]


def _quarantine(order: _Order) -> Outcome:
    return _contained(order, order.target("overlay"), Rung.QUARANTINE)


def _hold(order: _Order) -> Outcome:
    """An overlay until somebody releases it; a member for a time, from new commands."""
    subject = order.target("overlay", "member")
    if subject.kind == "overlay":
        return _contained(order, subject, Rung.HOLD)
    return _restricted(order, subject, order.lasting(HOLD, LONGEST))


def _require_containable(session: Session, subject: Subject, rung: Rung) -> None:
    lock_overlay(session, subject.id)
    if require_overlay(session, subject.id).status != "ACTIVE":
        raise Refused("OVERLAY_RETIRED", f"overlay {subject.id!r} is out of service already")
    stage = state_of(session, subject.id).stage
    if stage is Stage.HELD or (rung is Rung.QUARANTINE and stage is not Stage.ACTIVE):
        raise Refused("CONTAINED_ALREADY", f"overlay {subject.id!r} is {stage} already")


def _contained(order: _Order, subject: Subject, rung: Rung) -> Outcome:
    session = order.session
    _require_containable(session, subject, rung)
    response = order.respond(subject, rung, None)
    contain(session, subject.id, rung, response, actor=order.job.actor, now=order.now)
    until = state_of(session, subject.id).until
    return Outcome.done(response=response, until=None if until is None else _shown(until))


def _restricted(order: _Order, subject: Subject, lasting: timedelta) -> Outcome:
    until = restrict(
        order.session,
        subject.id,
        actor=order.job.actor,
        reason=order.job.payload.get("reason") or CONFIRMED,
        lasting=lasting,
        at=order.at,
        command=order.job.command,
    )
    response = order.respond(subject, Rung.RESTRICT, until)
    return Outcome.done(response=response, until=_shown(until))


def _release(order: _Order) -> Outcome:
    """Nothing that came before a release counts any more."""
    subject = order.target("overlay", "member", "address")
    if subject.kind == "address":
        return _unblocked(order, subject)
    if subject.kind == "member":
        job = order.job
        responses = [row.id for row in in_force(order.session, subject)]
        release_member(
            order.session,
            subject.id,
            actor=job.actor,
            reason=order.reason,
            at=order.at,
            command=job.command,
        )
        for id_ in responses:
            order.end(id_)
        tell(order.session)
        return Outcome.done()
    lock_overlay(order.session, subject.id)
    state = state_of(order.session, subject.id)
    ended = end_responses(
        order.session,
        subject.id,
        (*CONTAINING, Rung.THROTTLE),
        now=order.now,
        actor=order.job.actor,
        reason=order.reason,
        command=order.job.command,
    )
    if state.stage is Stage.ACTIVE and not ended:
        raise Refused("NOT_CONTAINED", f"overlay {subject.id!r} is neither contained nor throttled")
    after = released(state, order.now)
    if state.stage is not Stage.ACTIVE:
        move(
            order.session,
            subject.id,
            after,
            actor=order.job.actor,
            command=order.job.command,
        )
    tell(order.session)
    return Outcome.done()


def _block(order: _Order) -> Outcome:
    """A second block never shortens the first."""
    subject = order.target("address")
    until = order.now + order.lasting(BLOCK, LONGEST)
    present = [row.until_at for row in in_force(order.session, subject) if row.rung == Rung.BLOCK]
    until = max([until, *present])
    return Outcome.done(
        response=order.respond(subject, Rung.BLOCK, until),
        until=_shown(until),
    )


def _unblock(order: _Order) -> Outcome:
    return _unblocked(order, order.target("address"))


def _unblocked(order: _Order, subject: Subject) -> Outcome:
    blocks = [row.id for row in in_force(order.session, subject) if row.rung == Rung.BLOCK]
    if not blocks:
        raise Refused("NOT_BLOCKED", "this address is not blocked")
    for id_ in blocks:
        order.end(id_, address=filed(order.session, subject))
    return Outcome.done(ended=len(blocks))


def _confirm(order: _Order) -> Outcome:
    """The second person's confirmation does what was pending; all is checked before anything."""
    job = order.job
    id_ = require_id("action", job.payload.get("action"))
    pending = pending_action(order.session, id_, actor=job.actor)
    subject, rung = Subject(pending.subject_kind, pending.subject), Rung(pending.rung)
    contains = subject.kind == "overlay" and rung in CONTAINING
    lasting = order.lasting(HOLD if subject.kind == "member" else THROTTLE, LONGEST)
    if contains:
        _require_containable(order.session, subject, rung)
    confirm_action(order.session, id_, actor=job.actor, at=order.at, command=job.command)
    if pending.first_by is None:
        return Outcome.done(status="confirmed by one")
    if contains:
        _contained(order, subject, rung)
    elif subject.kind == "member":
        _restricted(order, subject, lasting)
    else:
        order.respond(subject, rung, order.now + lasting)
    return Outcome.done(status="done")


def _halt(order: _Order) -> Outcome:
    """The kill switch: nothing is done automatically for a time; what is in force stays."""
    until = order.now + order.lasting(HALT, HALT_LONGEST)
    present = open_incident(order.session, "halt", "immune")
    if present is not None:
        # A second halt never shortens the first.
        until = max(until, pauses_until(order.session, present) or until)
        close_one(order.session, present, actor=order.job.actor, command=order.job.command)
    id_ = open_one(
        order.session,
        "halt",
        "immune",
        {},
        pauses_until=until,
        actor=order.job.actor,
        reason=order.reason,
        command=order.job.command,
    )
    return Outcome.done(incident=id_, until=_shown(until))


def _resume(order: _Order) -> Outcome:
    """Ends a halt, and the pause after a systemic incident."""
    ended = 0
    for kind, about in (("halt", "immune"), ("systemic", "overlays")):
        id_ = open_incident(order.session, kind, about)  # type: ignore[arg-type]  # both are kinds
        if id_ is not None:
            close_one(
                order.session,
                id_,
                actor=order.job.actor,
                reason=order.reason,
                command=order.job.command,
            )
            ended += 1
    if not ended:
        raise Refused("NOT_HALTED", "nothing pauses the immune system")
    return Outcome.done(ended=ended)


def _shown(moment: datetime) -> str:
    return as_utc(moment).isoformat()


def _step(carry: Carry) -> Callable[[Session, Sequence[Job]], list[Outcome]]:
    """These steps take one job a transaction; role and reason are checked before anything."""

    def step(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
        def decide(job: Job) -> Outcome:
            require_role(session, job.actor, Role.OPERATOR)
            lock_immune(session)
            order = _Order(session, job, forge_now(session), real_now(session))
            if job.kind != "immune.confirm" or "reason" in job.payload:
                _ = order.reason
            # Some of what refuses is only asked on the way: nothing of it may stay.
            with session.begin_nested():
                return carry(order)

        return alone(jobs, decide)

    return step


STEPS: Final[Mapping[str, Callable[[Session, Sequence[Job]], list[Outcome]]]] = {
    "immune.quarantine": _step(_quarantine),
    "immune.hold": _step(_hold),
    "immune.release": _step(_release),
    "immune.block": _step(_block),
    "immune.unblock": _step(_unblock),
    "immune.confirm": _step(_confirm),
    "immune.halt": _step(_halt),
    "immune.resume": _step(_resume),
}
"""The step of each command. Running one twice is safe: the job ends with it."""
