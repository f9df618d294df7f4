"""What takes two people: the level QUARANTINE, breaking glass, filling a CORE seat.

One proposes, another confirms. Quarantine and broken glass happen with the confirmation; a CORE
seat is filled after a timelock in which any CORE member may cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.self_brick import refuse_to_brick
from forge_core.actions.windows import windows
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now, rfc3339
from forge_core.errors import Refused
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.locks import lock_name
from forge_core.members.census import present_census
from forge_core.members.electorate import (
    MemberNow,
    level_changed,
    lock_version,
    members_now,
    require_member,
)
from forge_core.members.levels import Role, TrustLevel
from forge_core.proposals.draft import REASON_MOST
from forge_core.proposals.lifecycle import Status
from forge_core.proposals.locking import lock_proposals, require_proposal
from forge_core.text import require_id, require_text, shown


class JointKind(StrEnum):
    """What two people may do together."""

    QUARANTINE = "quarantine"
    BREAK_GLASS = "break_glass"
    CORE_SEAT = "core_seat"


CONFIRM_WITHIN = {
    JointKind.QUARANTINE: timedelta(hours=24),
    JointKind.BREAK_GLASS: timedelta(hours=24),
    JointKind.CORE_SEAT: timedelta(days=7),
}
SEAT_TIMELOCK = timedelta(days=7)

PROPOSED = EntryKind.of(
    "joint.proposed",
    """
    INSERT INTO joint_actions (id, kind, subject, status, reason, proposed_by, proposed_at,
        lapses_at)
    SELECT subject, data ->> 'kind', data ->> 'on', 'proposed', data ->> 'reason', actor, at,
        (data ->> 'lapses_at')::timestamptz
    FROM forge_entries(:ids)
    """,
    texts=("reason",),
)

CONFIRMED = EntryKind.of(
    "joint.confirmed",
    """
    UPDATE joint_actions SET status = data ->> 'status', confirmed_by = entry.actor,
        confirmed_at = entry.at, due_at = (data ->> 'due_at')::timestamptz,
        ended_at = CASE WHEN data ->> 'status' = 'done' THEN entry.at END
    FROM forge_entries(:ids) AS entry WHERE joint_actions.id = entry.subject
    """,
)

ENDED = EntryKind.of(
    "joint.ended",
    """
    UPDATE joint_actions SET status = data ->> 'status', ended_at = entry.at,
        failure = data ->> 'code'
    FROM forge_entries(:ids) AS entry WHERE joint_actions.id = entry.subject
    """,
    texts=("reason",),
)

_ACTION = text("""
    SELECT id, kind, subject, status, proposed_by, confirmed_by, lapses_at, due_at
    FROM joint_actions WHERE id = :id
""")
_OPEN = text("""
    SELECT id FROM joint_actions
    WHERE kind = :kind AND subject = :subject AND status IN ('proposed', 'confirmed')
""")


@dataclass(frozen=True)
class _Action:
    id: str
    kind: JointKind
    subject: str
    status: str
    proposed_by: str
    confirmed_by: str | None
    lapses_at: datetime | None
    due_at: datetime | None


def propose(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``joint.propose``: the first of two."""

    def decide(job: Job) -> Outcome:
        kind = _kind(job.payload.get("kind"))
        subject = require_id("subject", job.payload.get("subject"))
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        _require_power(session, kind, subject, job.actor)
        lock_name(session, f"joint:{kind}:{subject}")
        now = forge_now(session)
        _require_power(session, kind, subject, job.actor)
        _require_sense(session, kind, subject)
        if session.execute(_OPEN, {"kind": kind.value, "subject": subject}).first() is not None:
            raise Refused("JOINT_OPEN", f"a {kind} of {subject!r} is under way; confirm that one")
        id_ = f"j-{job.issuer}-{job.command_id}"
        data = {
            "kind": kind.value,
            "on": subject,
            "reason": keep_texts(session, reason)[0],
            "lapses_at": rfc3339(now + CONFIRM_WITHIN[kind]),
        }
        append(session, [Entry(PROPOSED, now, job.actor, id_, data, job.command)])
        return Outcome.done(joint_id=id_)

    return alone(jobs, decide)


def confirm(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``joint.confirm``: the second of two, another person than the first."""

    def decide(job: Job) -> Outcome:
        version = lock_version(session)
        action = _require_action(session, job.payload.get("joint_id"), "proposed")
        locked = lock_proposals(session, [action.subject])
        lock_name(session, f"joint:{action.kind}:{action.subject}")
        action = _require_action(session, action.id, "proposed")
        now = forge_now(session)
        _require_power(session, action.kind, action.subject, job.actor)
        if job.actor == action.proposed_by:
            raise Refused("SECOND_PERSON", "it takes another person than the one who proposed it")
        _require_power(session, action.kind, action.subject, action.proposed_by)
        if action.lapses_at is not None and now >= action.lapses_at:
            raise Refused("JOINT_LAPSED", "nobody confirmed it in time; propose it again")
        data: dict[str, Any] = {"status": "done"}
        entries: list[Entry] = []
        if action.kind is JointKind.CORE_SEAT:
            _require_sense(session, action.kind, action.subject)
            data = {"status": "confirmed", "due_at": rfc3339(now + SEAT_TIMELOCK)}
        elif action.kind is JointKind.BREAK_GLASS:
            require_proposal(locked, action.subject).require(Status.QUEUED)
            if not any(window.holds(now) for window in windows(session, now)):
                raise Refused("NOT_HELD", "no window is in force; there is no glass to break")
        else:
            entries = [
                _moved(
                    session, action, TrustLevel.QUARANTINE, version + 1, job.actor, now, catalogue
                )
            ]
        confirmed = Entry(CONFIRMED, now, job.actor, action.id, data, job.command)
        append(session, [confirmed])
        append(session, entries)
        return Outcome.done(joint_id=action.id, **data)

    return alone(jobs, decide)


def cancel(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``joint.cancel``: by any CORE member for a seat, else by any guardian."""

    def decide(job: Job) -> Outcome:
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        action = _require_action(session, job.payload.get("joint_id"), "proposed", "confirmed")
        lock_name(session, f"joint:{action.kind}:{action.subject}")
        action = _require_action(session, action.id, "proposed", "confirmed")
        member = require_member(members_now(session, [job.actor]), job.actor)
        _require_standing(action.kind, member)
        data = {"status": "cancelled", "reason": keep_texts(session, reason)[0]}
        now = forge_now(session)
        append(session, [Entry(ENDED, now, job.actor, action.id, data, job.command)])
        return Outcome.done()

    return alone(jobs, decide)


def settle(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``joint.settle``: fill a seat whose timelock is over, let the unconfirmed lapse.

    Found by the sweep and checked again here, so that running it twice changes nothing.
    """

    def decide(job: Job) -> Outcome:
        version = lock_version(session)
        action = _find(session, job.payload.get("joint_id"))
        if action is None:
            return Outcome.done()
        lock_name(session, f"joint:{action.kind}:{action.subject}")
        action = _find(session, action.id) or action
        now = forge_now(session)
        if action.status == "proposed" and action.lapses_at is not None and now >= action.lapses_at:
            _end(session, action, now, {"status": "lapsed"})
        elif action.status == "confirmed" and action.due_at is not None and now >= action.due_at:
            _fill(session, action, version + 1, now, catalogue)
        return Outcome.done()

    return alone(jobs, decide)


def _fill(
    session: Session, action: _Action, version: int, now: datetime, catalogue: Catalogue
) -> None:
    try:
        for name in (action.proposed_by, str(action.confirmed_by)):
            _require_still_core(session, name)
        actor = action.proposed_by
        entry = _moved(session, action, TrustLevel.CORE, version, actor, now, catalogue)
    except Refused as refusal:
        reason = keep_texts(session, refusal.message)[0]
        _end(session, action, now, {"status": "failed", "code": refusal.code, "reason": reason})
        return
    append(session, [entry])
    _end(session, action, now, {"status": "done"})


def _moved(  # the change and what it is checked against
    session: Session,
    action: _Action,
    after: TrustLevel,
    version: int,
    actor: str,
    now: datetime,
    catalogue: Catalogue,
) -> Entry:
    member = members_now(session, [action.subject]).get(action.subject)
    if member is None:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {action.subject!r}")
    if member.level is after:
        raise Refused("NO_CHANGE", f"{member.id!r} is at {after} already")
    if after is TrustLevel.CORE and (not member.active or member.level is TrustLevel.QUARANTINE):
        raise Refused("MEMBER_QUARANTINED", f"{member.id!r} cannot take a seat now")
    census, values = present_census(session), present_values(session, catalogue)
    refuse_to_brick(census, values, census.moved(member.level, after, member.roles), values)
    return level_changed(
        member.id,
        before=member.level,
        after=after,
        version=version,
        actor=actor,
        cause=f"joint action {action.id}",
        at=now,
    )


def _end(session: Session, action: _Action, now: datetime, data: dict[str, Any]) -> None:
    append(session, [Entry(ENDED, now, "rule:joint", action.id, data)])


def _kind(value: object) -> JointKind:
    for kind in JointKind:
        if value == kind:
            return kind
    raise Refused("JOINT_UNKNOWN", f"{shown(value)} is none of {', '.join(JointKind)}")


def _find(session: Session, id_: object) -> _Action | None:
    row = session.execute(_ACTION, {"id": id_}).one_or_none() if isinstance(id_, str) else None
    return None if row is None else _Action(**{**row._mapping, "kind": JointKind(row.kind)})  # noqa: SLF001  # Row's public name for itself as a mapping


def _require_action(session: Session, id_: object, *statuses: str) -> _Action:
    action = _find(session, id_)
    if action is None:
        raise Refused("JOINT_UNKNOWN", f"there is no joint action {shown(id_)}")
    if action.status not in statuses:
        raise Refused("JOINT_STATUS", f"it is {action.status}, not {' or '.join(statuses)}")
    return action


def _require_power(session: Session, kind: JointKind, subject: str, name: str) -> None:
    member = require_member(members_now(session, [name]), name)
    _require_standing(kind, member)
    if member.id == subject:
        raise Refused("OWN_RAISE", "nobody decides about themselves")


def _require_standing(kind: JointKind, member: MemberNow) -> None:
    if kind is JointKind.CORE_SEAT:
        if member.level is not TrustLevel.CORE:
            raise Refused("POWER_MISSING", "a CORE seat is the business of CORE members")
    elif Role.GUARDIAN not in member.roles:
        raise Refused("POWER_MISSING", f"a {kind} takes two members with the role guardian")


def _require_still_core(session: Session, name: str) -> None:
    """A restriction is one operator's: it delays commands, and undoes no decision of two."""
    member = members_now(session, [name]).get(name)
    if member is None or not member.active or member.level is not TrustLevel.CORE:
        raise Refused("POWER_MISSING", f"{name!r} is no CORE member any more")


def _require_sense(session: Session, kind: JointKind, subject: str) -> None:
    """What is plainly pointless is refused when it is proposed."""
    if kind is JointKind.BREAK_GLASS:
        return
    member = members_now(session, [subject]).get(subject)
    if member is None:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {subject!r}")
    if kind is JointKind.CORE_SEAT:
        member.require_may_act()
    wanted = TrustLevel.CORE if kind is JointKind.CORE_SEAT else TrustLevel.QUARANTINE
    if member.level is wanted:
        raise Refused("NO_CHANGE", f"{subject!r} is at {wanted} already")


DUE = Derivation(
    "joint actions to settle",
    text("""
        INSERT INTO jobs (kind, key, once, payload, actor)
        SELECT 'joint.settle', 'joint:' || id, false, jsonb_build_object('joint_id', id), 'system'
        FROM (
            SELECT id FROM joint_actions
            WHERE status = 'confirmed' AND due_at <= (SELECT forge_now())
            UNION ALL
            SELECT id FROM joint_actions
            WHERE status = 'proposed' AND lapses_at <= (SELECT forge_now())
        ) AS over
        WHERE NOT EXISTS (
            SELECT FROM jobs AS present WHERE present.key = 'joint:' || over.id
                AND present.state IN ('pending', 'running', 'dead')
        )
        ORDER BY id
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)
