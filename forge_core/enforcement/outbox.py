"""The outbox: effects outside the database, at most once where the other side honours their key.

A row is written in the transaction that changes the value. It is delivered after the commit, with
no transaction open, under the key ``proposal/action/direction``, which never changes: a delivery
that was not confirmed is made again under the same key.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.capabilities.declaration import Change, Delivery
from forge_core.clock import forge_now
from forge_core.database import as_json, describe, run, transaction
from forge_core.enforcement.limits import time_limit
from forge_core.errors import Refused
from forge_core.failpoints import reach
from forge_core.jobs.lifecycle import back_off
from forge_core.jobs.record import wake
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.locks import lock_name, share_name

DELIVER = "enforcement.deliver"
LEASE = timedelta(seconds=30)
DELIVERY_SECONDS = 10.0
ATTEMPTS_MOST = 12

DELIVERED = EntryKind.of("effect.delivered")
UNDELIVERABLE = EntryKind.of("effect.undeliverable", texts=("message",))

_INSERT = text("""
    INSERT INTO outbox (proposal_id, action, direction, capability, before, after)
    VALUES (:proposal, :action, :direction, :capability, CAST(:before AS jsonb),
        CAST(:after AS jsonb))
""")
# Most looks find nothing, and write nothing.
_WAITING = text("""
    SELECT EXISTS (
        SELECT FROM outbox WHERE state = 'pending' AND not_before <= clock_timestamp()
    )
""")
# An undo waits for the delivery of what it undoes; within a target the order is the ledger's.
_CLAIM = text("""
    UPDATE outbox SET attempt = attempt + 1, not_before = clock_timestamp() + :lease
    WHERE (proposal_id, action, direction) IN (
        SELECT proposal_id, action, direction FROM outbox AS waiting
        WHERE state = 'pending' AND not_before <= clock_timestamp() AND NOT EXISTS (
            SELECT FROM outbox AS earlier
            WHERE earlier.capability = waiting.capability AND earlier.state = 'pending'
                AND earlier.created_at < waiting.created_at
        )
        ORDER BY created_at LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING proposal_id, action, direction, capability, before, after, attempt
""")
_FINISH = text("""
    UPDATE outbox SET state = :state, message = :message, finished_at = clock_timestamp()
    WHERE proposal_id = :proposal AND action = :action AND direction = :direction
        AND attempt = :attempt AND state = 'pending'
    RETURNING 1
""")
_AGAIN = text("""
    UPDATE outbox SET message = :message, not_before = clock_timestamp() + :delay
    WHERE proposal_id = :proposal AND action = :action AND direction = :direction
        AND attempt = :attempt AND state = 'pending'
""")
_REVIVE = text("""
    UPDATE outbox SET state = 'pending', attempt = 0, not_before = clock_timestamp(),
        finished_at = NULL
    WHERE proposal_id || '/' || action || '/' || direction = :effect AND state = 'dead'
        AND NOT EXISTS (
            SELECT FROM outbox AS later
            WHERE later.capability = outbox.capability
                AND (later.state = 'delivered' OR later.attempt > 0)
                AND later.created_at > outbox.created_at
        )
    RETURNING 1
""")


def hand_over(session: Session, change: Change) -> None:
    """Write down the effect to bring about; the primary key refuses a second one."""
    session.execute(
        _INSERT,
        {
            "proposal": change.origin,
            "action": change.action,
            "direction": change.direction,
            "capability": change.key,
            "before": as_json(change.before),  # type: ignore[arg-type]  # any JSON value
            "after": as_json(change.after),  # type: ignore[arg-type]  # any JSON value
        },
    )
    wake(session, DELIVER)


def deliver_next(engine: Engine, catalogue: Catalogue) -> bool:
    """Deliver one effect that waits; says whether there was one.

    Safe to run twice and on many workers: a row is taken by one at a time, and who is slower than
    its lease finishes nothing. The same effect may then be delivered again, under the same key.
    """
    with transaction(engine) as session:
        if not session.execute(_WAITING).scalar_one():
            return False
        share_name(session, DELIVER)
        taken = run(session, _CLAIM, lease=LEASE)
    if not taken:
        return False
    row = taken[0]
    if row.attempt > ATTEMPTS_MOST:
        with transaction(engine) as session:
            _end(session, row, "dead", "its worker was lost each time", UNDELIVERABLE)
        return True
    try:
        with time_limit(DELIVERY_SECONDS, row.capability):
            _deliver(catalogue, row)
    except Exception as error:  # noqa: BLE001  # recorded on the row, tried again, in the end dead
        with transaction(engine) as session:
            _failed(session, row, describe(error))
        return True
    reach("outbox.delivered")
    with transaction(engine) as session:
        _end(session, row, "delivered", None, DELIVERED)
    return True


def _deliver(catalogue: Catalogue, row: Row[tuple[object, ...]]) -> None:
    declared = catalogue.get(row.capability)
    if declared.deliver is None:
        raise Refused("UNKNOWN_CAPABILITY", f"{row.capability} delivers nothing any more")
    declared.deliver(Delivery(effect_key(row), row.capability, row.before, row.after))


def revive(session: Session, effect: str) -> None:
    """A person has an effect tried again. ``EFFECT_NOT_DEAD``, also if a later one got through."""
    lock_name(session, DELIVER)  # no later one is being taken while this looks whether it was
    if session.execute(_REVIVE, {"effect": effect}).one_or_none() is None:
        raise Refused(
            "EFFECT_NOT_DEAD",
            f"there is no effect {effect!r} that was given up and that no later one replaced",
        )
    wake(session, DELIVER)


def effect_key(row: Row[tuple[object, ...]]) -> str:
    """What the other side honours: the same key again is done already."""
    return f"{row.proposal_id}/{row.action}/{row.direction}"


def _failed(session: Session, row: Row[tuple[object, ...]], message: str) -> None:
    if row.attempt >= ATTEMPTS_MOST:
        _end(session, row, "dead", message, UNDELIVERABLE)
        return
    session.execute(_AGAIN, {**_named(row), "message": message, "delay": back_off(row.attempt)})


def _end(
    session: Session,
    row: Row[tuple[object, ...]],
    state: str,
    message: str | None,
    kind: EntryKind,
) -> None:
    ended = run(session, _FINISH, **_named(row), state=state, message=message)
    if not ended:
        return  # its lease ran out: whoever has it now says what became of it
    said = None if message is None else keep_texts(session, message)[0]
    data = {"effect": effect_key(row), "attempts": row.attempt, "message": said}
    append(session, [Entry(kind, forge_now(session), "rule:outbox", str(row.proposal_id), data)])


def _named(row: Row[tuple[object, ...]]) -> dict[str, object]:
    return {
        "proposal": row.proposal_id,
        "action": row.action,
        "direction": row.direction,
        "attempt": row.attempt,
    }
