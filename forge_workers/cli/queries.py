"""What the reading commands read. Texts stand beside the ledger; an erased one reads as None."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.proposals.payloads import free_texts

Row = Mapping[str, Any]

_PROPOSALS = text("""
    SELECT id, type, track, status, proposer, title.body AS title, opened_at, closes_at,
        for_weight::text, against_weight::text, abstain_weight::text
    FROM proposals
    LEFT JOIN texts AS title ON title.commitment = proposals.title
    LEFT JOIN tallies ON tallies.proposal_id = proposals.id
    WHERE (CAST(:status AS text) IS NULL OR status = :status)
        AND (CAST(:type AS text) IS NULL OR type = :type)
    ORDER BY created_at DESC, id
    LIMIT :limit
""")

_PROPOSAL = text("""
    SELECT id, type, track, status, proposer, title.body AS title,
        description.body AS description, reason.body AS reason,
        convert_from(payload, 'UTF8') AS payload, encode(payload_hash, 'hex') AS payload_sha256,
        voting_hours, electorate, created_at, opened_at, closes_at, decided_at, eta, expires_at,
        lapses_at, ended_at, failure, end_reason.body AS end_reason, electorate_version,
        eligible_weight::text, eligible_members,
        weights, terms, decision,
        for_weight::text, against_weight::text, abstain_weight::text,
        for_ballots, against_ballots, abstain_ballots, forge_now() AS now
    FROM proposals
    LEFT JOIN texts AS title ON title.commitment = proposals.title
    LEFT JOIN texts AS description ON description.commitment = proposals.description
    LEFT JOIN texts AS reason ON reason.commitment = proposals.reason
    LEFT JOIN texts AS end_reason ON end_reason.commitment = proposals.end_reason
    LEFT JOIN tallies ON tallies.proposal_id = proposals.id
    WHERE id = :id
""")

# Others under way that change the same thing: both may be open, the present value decides.
_RIVALS = text("""
    WITH mine AS (
        SELECT id, type, convert_from(payload, 'UTF8')::jsonb AS payload FROM proposals
        WHERE id = :id AND type <> 'policy'
    )
    SELECT other.id, other.status, other.payload AS payload
    FROM mine, LATERAL (
        SELECT id, type, status, convert_from(payload, 'UTF8')::jsonb AS payload FROM proposals
        WHERE status IN ('draft', 'active', 'approved', 'queued') AND type <> 'policy'
        OFFSET 0
    ) AS other
    WHERE other.id <> mine.id AND (
        other.payload ->> 'key' = mine.payload ->> 'key'
        OR other.payload ->> 'member' = mine.payload ->> 'member'
        OR other.payload ->> 'overlay' = mine.payload ->> 'overlay'
    )
    ORDER BY other.id
    LIMIT 20
""")

_TEXTS = text("SELECT commitment, body FROM texts WHERE commitment = ANY(:commitments)")

# The index on subjects leaves ballots out, and so does this history: there may be a million.
_HISTORY = text("""
    SELECT id, kind, body ->> 'at' AS at, body ->> 'actor' AS actor, body -> 'data' AS data
    FROM (
        SELECT id, kind, convert_from(body, 'UTF8')::jsonb AS body
        FROM ledger_entries WHERE subject = :subject AND kind <> 'ballot.cast'
        ORDER BY id LIMIT 200
    ) AS entry
    ORDER BY id
""")

_MEMBERS = text("""
    SELECT id, level, active, admitted_at,
        array(SELECT role FROM member_roles WHERE member_id = id ORDER BY role) AS roles,
        (SELECT until FROM restrictions
            WHERE member_id = id AND until > clock_timestamp()) AS restricted_until
    FROM members
    WHERE (CAST(:id AS text) IS NULL OR id = :id)
        AND (CAST(:level AS text) IS NULL OR level = :level)
    ORDER BY id
    LIMIT :limit
""")
_LEVELS = text("""
    SELECT version, level, active, changed_at, cause FROM member_levels
    WHERE member_id = :id ORDER BY version
""")
_RESTRICTIONS = text("""
    SELECT imposed_at, until, imposed_by, texts.body AS reason
    FROM restrictions LEFT JOIN texts ON commitment = reason
    WHERE member_id = :id AND until > clock_timestamp()
""")
_DELEGATIONS = text("""
    SELECT delegator, scope, delegate, expires_at FROM delegations
    WHERE until_version IS NULL AND (delegator = :id OR delegate = :id)
        AND (expires_at IS NULL OR expires_at > forge_now())
    ORDER BY delegator, scope
""")

_SETTINGS = text("SELECT key, value, proposal_id, changed_at FROM setting_values")
_POLICIES = text("""
    SELECT proposal_id, title.body AS title, policy.body AS text, adopted_at
    FROM policies
    LEFT JOIN texts AS title ON title.commitment = policies.title
    LEFT JOIN texts AS policy ON policy.commitment = policies.text
    ORDER BY adopted_at DESC, proposal_id
    LIMIT :limit
""")
_OVERLAYS = text("""
    SELECT id, coalesce(texts.body, name) AS name, version, status, registered_by, proposal_id,
        changed_at
    FROM overlays LEFT JOIN texts ON commitment = name ORDER BY id
""")

_JOBS = text("""
    SELECT id, kind, key, state, attempt, created_at, not_before, lease_until, message
    FROM jobs
    WHERE (CAST(:state AS text) IS NULL OR state = :state)
        AND (CAST(:kind AS text) IS NULL OR kind = :kind)
    ORDER BY id DESC
    LIMIT :limit
""")
_JOB = text("""
    SELECT id, kind, key, once, state, actor, issuer, command_id, attempt, created_at, not_before,
        lease_until, finished_at, code, message, payload, result
    FROM jobs WHERE id = :id
""")
_DEAD_LETTERS = text("""
    SELECT id, received_at, queue, reason, headers, body FROM dead_letters
    ORDER BY id DESC LIMIT :limit
""")
_LEDGER_KEYS = text("""
    SELECT role, vkey, replaces, announced_at FROM ledger_keys ORDER BY announced_at, vkey
""")
_CLOCK = text("""
    SELECT forge_now() AS now, clock_timestamp() AS real, sandbox, clock_offset AS ahead
    FROM instance
""")


def proposals(
    session: Session, *, status: str | None, type_: str | None, limit: int
) -> Sequence[Row]:
    """List the newest proposals."""
    return _rows(session, _PROPOSALS, status=status, type=type_, limit=limit)


def proposal(session: Session, identity: str) -> dict[str, Any]:
    """Return one proposal with its payload and history, or refuse: PROPOSAL_UNKNOWN."""
    rows = _rows(session, _PROPOSAL, id=identity)
    if not rows:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {identity[:200]!r}")
    found = dict(rows[0])
    found["payload"] = _with_texts(session, found["type"], json.loads(found["payload"]))
    found["rivals"] = [dict(row) for row in _rows(session, _RIVALS, id=identity)]
    found["history"] = [dict(row) for row in _rows(session, _HISTORY, subject=identity)]
    return found


def _with_texts(session: Session, type_: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with its free texts in place of their commitments; an erased one is None."""
    keys = [key for key in free_texts(type_) if key in payload]
    rows = _rows(session, _TEXTS, commitments=[payload[key] for key in keys]) if keys else []
    known = {row["commitment"]: row["body"] for row in rows}
    return payload | {key: known.get(payload[key]) for key in keys}


def members(session: Session, *, level: str | None, limit: int) -> Sequence[Row]:
    """List members by id."""
    return _rows(session, _MEMBERS, id=None, level=level, limit=limit)


def member(session: Session, identity: str) -> dict[str, Any]:
    """Return one member with levels, restriction and delegations; MEMBER_UNKNOWN."""
    rows = _rows(session, _MEMBERS, id=identity, level=None, limit=1)
    if not rows:
        raise Refused("MEMBER_UNKNOWN", f"there is no member {identity[:200]!r}")
    return {
        **rows[0],
        "levels": [dict(row) for row in _rows(session, _LEVELS, id=identity)],
        "restrictions": [dict(row) for row in _rows(session, _RESTRICTIONS, id=identity)],
        "delegations": [dict(row) for row in delegations(session, identity)],
    }


def delegations(session: Session, identity: str) -> Sequence[Row]:
    """List the open delegations from and to a member."""
    return _rows(session, _DELEGATIONS, id=identity)


def changed_settings(session: Session) -> dict[str, Row]:
    """Return the settings that stand elsewhere than at their default, by key."""
    return {row["key"]: row for row in _rows(session, _SETTINGS)}


def policies(session: Session, *, limit: int) -> Sequence[Row]:
    """List the policies in force, newest first."""
    return _rows(session, _POLICIES, limit=limit)


def overlays(session: Session) -> Sequence[Row]:
    """List the registered overlays."""
    return _rows(session, _OVERLAYS)


def jobs(session: Session, *, state: str | None, kind: str | None, limit: int) -> Sequence[Row]:
    """List the newest jobs."""
    return _rows(session, _JOBS, state=state, kind=kind, limit=limit)


def job(session: Session, identity: int) -> Row:
    """Return one job, or refuse: JOB_UNKNOWN."""
    rows = _rows(session, _JOB, id=identity)
    if not rows:
        raise Refused("JOB_UNKNOWN", f"there is no job {identity}; finished jobs are pruned")
    return rows[0]


def dead_letters(session: Session, *, limit: int) -> Sequence[Row]:
    """List the newest messages that could not be processed."""
    return _rows(session, _DEAD_LETTERS, limit=limit)


def ledger_keys(session: Session) -> Sequence[Row]:
    """List the keys that the ledger names, oldest first."""
    return _rows(session, _LEDGER_KEYS)


def clock(session: Session) -> Row:
    """Return forge time, real time, and how far a sandbox is ahead; NO_GENESIS."""
    rows = _rows(session, _CLOCK)
    if not rows:
        raise Refused("NO_GENESIS", "this database has no founders yet; run `forge genesis`")
    return rows[0]


def _rows(session: Session, statement: Any, **parameters: object) -> list[Row]:
    return [dict(row._mapping) for row in run(session, statement, **parameters)]  # noqa: SLF001  # SQLAlchemy's own name for it
