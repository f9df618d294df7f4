"""Windows in which nothing is executed: freezing and thawing by a guardian, and whom they stop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.windows import TARGET, WINDOW_ENDED, Window, imposed, windows
from forge_core.clock import as_utc, forge_now, parse_moment
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.steps import alone
from forge_core.ledger.entries import Entry, append, keep_texts
from forge_core.locks import lock_name
from forge_core.members.electorate import require_role
from forge_core.members.levels import Role
from forge_core.proposals.draft import REASON_MOST
from forge_core.proposals.locking import LockedProposal
from forge_core.text import require_text

FREEZE_MOST = timedelta(days=14)
BEGIN_MOST = timedelta(days=90)

_GLASS = text("""
    SELECT subject, max(confirmed_at) AS broken_at FROM joint_actions
    WHERE kind = 'break_glass' AND status = 'done' AND subject = ANY(:ids)
    GROUP BY subject
""")


def freeze(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``enforcement.freeze``: no execution from a time until a time, with a reason."""

    def decide(job: Job) -> Outcome:
        require_role(session, job.actor, Role.GUARDIAN)
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        lock_name(session, TARGET)
        now = forge_now(session)
        from_at = parse_moment(job.payload.get("from")) or now
        until_at = parse_moment(job.payload.get("until"))
        if until_at is None or not now <= from_at < until_at:
            raise Refused("WINDOW_INVALID", "a freeze begins now or later and ends after that")
        if until_at - from_at > FREEZE_MOST or from_at - now > BEGIN_MOST:
            raise Refused(
                "WINDOW_INVALID", "a freeze lasts at most 14 days and begins within 90 days"
            )
        window = Window(f"w-{job.issuer}-{job.command_id}", "freeze", from_at, until_at)
        more = {"reason": keep_texts(session, reason)[0]}
        append(session, [imposed(window, actor=job.actor, at=now, more=more, command=job.command)])
        return Outcome.done(window=window.id, until=until_at.isoformat())

    return alone(jobs, decide)


def thaw(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``enforcement.thaw``: end a freeze early. A pause ends by ``resume``."""

    def decide(job: Job) -> Outcome:
        require_role(session, job.actor, Role.GUARDIAN)
        reason = require_text("reason", job.payload.get("reason"), least=1, most=REASON_MOST)
        lock_name(session, TARGET)
        now = forge_now(session)
        named = [w for w in windows(session, now) if w.id == job.payload.get("window")]
        if not named or named[0].kind != "freeze":
            raise Refused("WINDOW_UNKNOWN", "there is no such freeze in force or to come")
        data = {"reason": keep_texts(session, reason)[0]}
        append(session, [Entry(WINDOW_ENDED, now, job.actor, named[0].id, data, job.command)])
        return Outcome.done()

    return alone(jobs, decide)


def stopping(
    session: Session,
    catalogue: Catalogue,
    proposals: Sequence[LockedProposal],
    known: Sequence[Window],
) -> dict[str, list[Window]]:
    """Which of the ``known`` windows stop each proposal, by its id.

    A pause does not stop emergencies and rollbacks, and no window stops what two guardians broke
    the glass for after it began.
    """
    ids = [proposal.id for proposal in proposals]
    rows = run(session, _GLASS, ids=ids) if known else ()
    broken = {row.subject: as_utc(row.broken_at) for row in rows}

    def stops(window: Window, proposal: LockedProposal) -> bool:
        broken_at = broken.get(proposal.id)
        if broken_at is not None and broken_at >= window.from_at:
            return False
        return window.kind != "pause" or proposal.type not in _unpaused(catalogue)

    return {
        proposal.id: [window for window in known if stops(window, proposal)]
        for proposal in proposals
    }


def is_stopped(
    session: Session, catalogue: Catalogue, proposal: LockedProposal, now: datetime
) -> bool:
    """Whether a window in force forbids executing this proposal now."""
    known = windows(session, now)
    return any(w.holds(now) for w in stopping(session, catalogue, [proposal], known)[proposal.id])


def elapsed(catalogue: Catalogue) -> Derivation:
    """What is due, waits for nobody, and no window stops: `stopping` as the sweep asks it."""
    return Derivation(
        "elapsed timelocks",
        text("""
            INSERT INTO jobs (kind, key, once, payload, actor)
            SELECT 'enforcement.execute', 'execute:' || id, false,
                jsonb_build_object('proposal_id', id), 'system'
            FROM proposals AS waiting
            WHERE status = 'queued' AND eta <= (SELECT forge_now())
                AND expires_at + forge_held(eta, (SELECT forge_now())) > (SELECT forge_now())
                AND (predecessor IS NULL OR EXISTS (
                    SELECT FROM proposals AS first
                    WHERE first.id = waiting.predecessor AND first.status = 'executed'
                ))
                AND NOT EXISTS (
                    SELECT FROM execution_windows AS held
                    WHERE held.from_at <= (SELECT forge_now())
                        AND held.until_at > (SELECT forge_now())
                        AND NOT (held.kind = 'pause' AND waiting.type = ANY(:unpaused))
                        AND NOT EXISTS (
                            SELECT FROM joint_actions
                            WHERE joint_actions.kind = 'break_glass' AND status = 'done'
                                AND subject = waiting.id AND confirmed_at >= held.from_at
                        )
                )
                AND NOT EXISTS (
                    SELECT FROM jobs AS present WHERE present.key = 'execute:' || waiting.id
                        AND present.state IN ('pending', 'running', 'dead')
                )
            ORDER BY eta, id
            LIMIT :limit
            ON CONFLICT DO NOTHING
            RETURNING kind
        """).bindparams(unpaused=_unpaused(catalogue)),
    )


def _unpaused(catalogue: Catalogue) -> list[str]:
    return [name for name in catalogue.types if not catalogue.kind(name).paused]
