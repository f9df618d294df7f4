"""What is read for commands, pages and the gateway; a text that was erased reads as None."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.advisory import report
from forge_core.database import run
from forge_core.enforcement import history
from forge_core.enforcement.history import LIMIT_MOST
from forge_core.enforcement.simulation import simulate_proposal
from forge_core.errors import Refused
from forge_core.proposals.lifecycle import Status
from forge_core.wiring import CATALOGUE

Row = Mapping[str, Any]
Json = TypeVar("Json", bound=dict[str, Any] | list[Any])

_PROPOSALS = text("""
    SELECT id, type, track, status, proposer, title.body AS title, opened_at, closes_at,
        for_weight::text, against_weight::text, abstain_weight::text,
        advised.recommendation AS advice, advised.source AS advised_by
    FROM proposals
    LEFT JOIN texts AS title ON title.commitment = proposals.title
    LEFT JOIN tallies ON tallies.proposal_id = proposals.id
    LEFT JOIN LATERAL (
        SELECT recommendation, source FROM advice WHERE proposal_id = proposals.id
        ORDER BY number DESC LIMIT 1
    ) AS advised ON true
    WHERE (CAST(:status AS text) IS NULL OR status = :status)
        AND (CAST(:type AS text) IS NULL OR type = :type)
        AND (CAST(:before AS text) IS NULL OR (created_at, proposals.id) < (
            SELECT created_at, id FROM proposals WHERE id = :before
        ))
    ORDER BY created_at DESC, proposals.id DESC
    LIMIT :limit
""")

_STATUS = text("SELECT status FROM proposals WHERE id = :id")
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

# A proposal's own texts, and those in its payload: nobody else's commitment is ever read as a text.
_TEXTS = text("""
    WITH committed AS (
        SELECT unnest(ARRAY[title, description]) AS commitment FROM proposals WHERE id = ANY(:ids)
        UNION
        SELECT jsonb_array_elements_text(body #> '{data,payload_texts}')
        FROM (
            SELECT convert_from(body, 'UTF8')::jsonb AS body FROM ledger_entries
            WHERE subject = ANY(:ids) AND kind = 'proposal.created'
        ) AS created
        WHERE jsonb_typeof(body #> '{data,payload_texts}') = 'array'
    )
    SELECT commitment, body FROM committed LEFT JOIN texts USING (commitment)
""")

_TITLES = text("""
    SELECT id, body AS title FROM proposals LEFT JOIN texts ON commitment = title
    WHERE id = ANY(:ids)
""")

# The index on subjects leaves ballots out, and so does this history: there may be a million.
_HISTORY = text("""
    SELECT id, kind, body ->> 'at' AS at, body ->> 'actor' AS actor, body -> 'data' AS data
    FROM (
        SELECT id, kind, convert_from(body, 'UTF8')::jsonb AS body
        FROM ledger_entries WHERE subject = :subject AND kind <> 'ballot.cast'
        ORDER BY id DESC LIMIT 200
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
    SELECT id, coalesce(texts.body, name) AS name, version, trust, status, registered_by,
        proposal_id, changed_at
    FROM overlays LEFT JOIN texts ON commitment = name ORDER BY id
""")

_MODULES = text("""
    SELECT name, version, owner, governs, rollback, proposal_id, changed_at FROM modules
    ORDER BY name
""")
_EXTENSIONS = text("""
    SELECT name, kind, declaration, proposal_id, added_at FROM extensions ORDER BY name
""")
_ACCOUNTS = text("""
    SELECT id, balance::text FROM accounts ORDER BY id <> 'treasury', id LIMIT :limit
""")
_WINDOWS = text("""
    SELECT execution_windows.id, kind, from_at, until_at,
        from_at <= forge_now() AND until_at > forge_now() AS in_force,
        imposed_by, proposal_id, texts.body AS reason
    FROM execution_windows LEFT JOIN texts ON commitment = reason
    WHERE :past OR until_at > forge_now()
    ORDER BY until_at DESC, execution_windows.id LIMIT :limit
""")
_JOINT = text("""
    SELECT id, kind, subject, status, proposed_by, confirmed_by, lapses_at, due_at,
        proposed_at, confirmed_at, ended_at, failure, texts.body AS reason
    FROM joint_actions LEFT JOIN texts ON commitment = reason
    WHERE (CAST(:id AS text) IS NULL OR id = :id)
        AND (NOT :under_way OR status IN ('proposed', 'confirmed'))
    ORDER BY proposed_at DESC, id LIMIT :limit
""")
_OUTBOX = text("""
    SELECT proposal_id || '/' || action || '/' || direction AS effect, capability, before, after,
        state, attempt, not_before, created_at, finished_at, message
    FROM outbox WHERE (CAST(:state AS text) IS NULL OR state = :state)
    ORDER BY created_at DESC, proposal_id, action LIMIT :limit
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
    session: Session,
    *,
    status: str | None,
    type_: str | None,
    limit: int,
    before: str | None = None,
) -> Sequence[Row]:
    """List the newest proposals, or the newest that are older than the one given as ``before``."""
    return _rows(session, _PROPOSALS, status=status, type=type_, limit=limit, before=before)


def proposal(session: Session, identity: str) -> dict[str, Any]:
    """Return one proposal with its payload and history, or refuse: PROPOSAL_UNKNOWN."""
    rows = _rows(session, _PROPOSAL, id=identity)
    if not rows:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {identity[:200]!r}")
    found = dict(rows[0])
    simulation = simulate_proposal(session, CATALOGUE, identity)
    found["rivals"], found["standing"] = simulation["rivals"], simulation["standing"]
    found["simulation"] = {key: simulation[key] for key in ("changes", "problem")}
    found["effects"] = history.changes(session, proposal=identity, limit=LIMIT_MOST)["changes"]
    found["advice"] = report.advice_on(session, identity)
    found["history"] = [dict(row) for row in _rows(session, _HISTORY, subject=identity)]
    readable = {"payload": json.loads(found["payload"])}
    readable |= {key: found[key] for key in ("simulation", "effects")}
    changes = [*found["effects"], *found["simulation"]["changes"]]
    about = {identity, *(change["proposal"] for change in changes)}
    return found | with_texts(session, readable, about)


def status(session: Session, identity: str) -> Status:
    """Return where a proposal stands, or refuse: PROPOSAL_UNKNOWN."""
    rows = _rows(session, _STATUS, id=identity)
    if not rows:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {identity[:200]!r}")
    return Status(rows[0]["status"])


def advice(session: Session, identity: str) -> list[dict[str, Any]]:
    """Return the advice on a proposal, newest first, or refuse: PROPOSAL_UNKNOWN."""
    status(session, identity)
    return report.advice_on(session, identity)


def titles(session: Session, identities: Sequence[str]) -> dict[str, str | None]:
    """Return the titles of these proposals; an erased one is None."""
    return {row["id"]: row["title"] for row in _rows(session, _TITLES, ids=list(identities))}


def with_texts(session: Session, document: Json, proposals: Iterable[str]) -> Json:
    """The document with these proposals' texts in place of their commitments; erased ones None."""
    known = {row["commitment"]: row["body"] for row in _rows(session, _TEXTS, ids=list(proposals))}

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read(item) for key, item in value.items()}
        if isinstance(value, list):
            return [read(item) for item in value]
        return known.get(value, value) if isinstance(value, str) else value

    return cast("Json", read(document))


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


def modules(session: Session) -> Sequence[Row]:
    """List the registered modules."""
    return _rows(session, _MODULES)


def extensions(session: Session) -> Sequence[Row]:
    """List what governance added to the registry."""
    return _rows(session, _EXTENSIONS)


def accounts(session: Session, *, limit: int) -> Sequence[Row]:
    """List the treasury and the accounts it has paid."""
    return _rows(session, _ACCOUNTS, limit=limit)


def windows(session: Session, *, past: bool, limit: int) -> Sequence[Row]:
    """List freezes and pauses that are in force or to come, or all of them."""
    return _rows(session, _WINDOWS, past=past, limit=limit)


def joint_actions(session: Session, *, under_way: bool, limit: int) -> Sequence[Row]:
    """List the newest joint actions."""
    return _rows(session, _JOINT, id=None, under_way=under_way, limit=limit)


def joint_action(session: Session, identity: str) -> Row:
    """Return one joint action, or refuse: JOINT_UNKNOWN."""
    rows = _rows(session, _JOINT, id=identity, under_way=False, limit=1)
    if not rows:
        raise Refused("JOINT_UNKNOWN", f"there is no joint action {identity[:200]!r}")
    return rows[0]


def outbox(session: Session, *, state: str | None, limit: int) -> Sequence[Row]:
    """List the newest effects outside the database."""
    return _rows(session, _OUTBOX, state=state, limit=limit)


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
