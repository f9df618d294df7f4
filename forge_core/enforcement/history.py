"""The history of execution: every change that was made or undone, newest first, page by page."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import parse_moment, rfc3339
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.text import refuse_unstorable, shown

LIMIT_MOST: Final = 1_000
_INDEX: Final = re.compile("[0-9]{1,9}", re.ASCII)

# A rollback's own changes are the undone effects of the proposal that its payload names. Filters
# that are not given fold away when the statement is planned, and leave the index to the others.
_CHANGES = text("""
    SELECT done.proposal_id AS proposal, coalesce(done.cause, done.proposal_id) AS cause,
        done.action, done.direction, done.type, done.target, done.before, done.after,
        by.proposer AS actor, done.applied_at, placed.position, done.microseconds
    FROM effects AS done
    LEFT JOIN proposals AS by ON by.id = coalesce(done.cause, done.proposal_id)
    LEFT JOIN LATERAL (
        SELECT ledger_order.position
        FROM ledger_entries AS entry JOIN ledger_order ON entry_id = entry.id
        WHERE entry.subject = done.proposal_id AND entry.kind <> 'ballot.cast'
            AND entry.kind = CASE done.direction
                WHEN 'apply' THEN 'proposal.executed' ELSE 'proposal.rolled_back'
            END
    ) AS placed ON true
    WHERE (CAST(:proposal AS text) IS NULL OR (
            done.proposal_id IN (:proposal, (
                SELECT convert_from(payload, 'UTF8')::jsonb ->> 'proposal' FROM proposals
                WHERE id = :proposal AND type = 'rollback'
            ))
            AND :proposal IN (done.proposal_id, done.cause)
        ))
        AND (CAST(:target AS text) IS NULL OR done.target = :target)
        AND (CAST(:type AS text) IS NULL OR done.type = :type)
        AND (CAST(:actor AS text) IS NULL OR by.proposer = :actor)
        AND (CAST(:since AS timestamptz) IS NULL OR done.applied_at >= :since)
        AND (CAST(:until AS timestamptz) IS NULL OR done.applied_at < :until)
        AND (CAST(:before_at AS timestamptz) IS NULL OR
            (done.applied_at, done.proposal_id, done.action, done.direction)
            < (:before_at, :before_id, CAST(:before_action AS integer), :before_direction))
    ORDER BY done.applied_at DESC, done.proposal_id DESC, done.action DESC, done.direction DESC
    LIMIT :limit
""")


def changes(  # noqa: PLR0913  # one keyword a filter
    session: Session,
    *,
    proposal: str | None = None,
    target: str | None = None,
    type: str | None = None,  # noqa: A002  # the field's own name
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    before: str | None = None,
) -> dict[str, Any]:
    """One page as plain JSON: ``changes``, and ``next`` to give as ``before`` (None at the end).

    ``proposal`` finds what it changed and what was undone of that, or what it undid. ``actor``
    proposed the ``cause``: the proposal itself, or its rollback. ``since`` is in, ``until`` is not.
    ``position`` is that of the entry in the ledger, None until it is sealed; ``microseconds``
    what the whole execution took. A page has up to ``limit`` changes, 0 to 1,000; pages that follow
    one another neither repeat nor leave out what was there when the first one was read.

    Raises VALUE_OUT_OF_RANGE, CURSOR_INVALID, TIME_INVALID, TEXT_NUL, TEXT_SURROGATE.
    """
    if isinstance(limit, bool) or not 0 <= limit <= LIMIT_MOST:
        raise Refused(
            "VALUE_OUT_OF_RANGE", f"limit is {shown(limit)}; 0 to {LIMIT_MOST:,} is allowed"
        )
    filters = {"proposal": proposal, "target": target, "type": type, "actor": actor}
    for name, given in {**filters, "before": before}.items():
        if given is not None:
            refuse_unstorable(name, given)
    if limit == 0:
        return {"changes": [], "next": None}
    at, id_, action, direction = (None,) * 4 if before is None else _place(before)
    place = {"at": at, "id": id_, "action": action, "direction": direction}
    rows = run(
        session,
        _CHANGES,
        **filters,
        since=since,
        until=until,
        **{f"before_{key}": value for key, value in place.items()},
        limit=limit + 1,
    )
    found = [
        {**row._mapping, "applied_at": rfc3339(row.applied_at)}  # noqa: SLF001  # Row's public name for itself as a mapping
        for row in rows[:limit]
    ]
    return {"changes": found, "next": _cursor(found[-1]) if len(rows) > limit else None}


def _cursor(change: dict[str, Any]) -> str:
    return "/".join(str(change[k]) for k in ("applied_at", "proposal", "action", "direction"))


def _place(cursor: str) -> tuple[datetime | None, str, int, str]:
    """What ``_cursor`` wrote down."""
    at, _, rest = cursor.partition("/")
    match rest.rsplit("/", 2):
        case [id_, action, ("apply" | "undo") as direction] if _INDEX.fullmatch(action):
            return parse_moment(at, name="the time in `before`"), id_, int(action), direction
    raise Refused("CURSOR_INVALID", f"{shown(cursor)} is not the `next` of a page")
