"""Creating proposals: everything that can be wrong is refused before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Value
from forge_core.capabilities.registry import Registry
from forge_core.capabilities.values import present_values
from forge_core.clock import forge_now, is_sandbox, rfc3339
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome
from forge_core.jobs.steps import each
from forge_core.ledger.canonical import canonical_bytes
from forge_core.ledger.entries import Entry, EntryKind, append, keep_texts
from forge_core.members.electorate import MemberNow, members_now, require_member
from forge_core.proposals.draft import Draft, check_draft
from forge_core.proposals.payloads import (
    Configuration,
    Payload,
    TrustAdjustment,
    payload_bytes,
    payload_hash,
)
from forge_core.proposals.tracks import changes_parameter, terms_for
from forge_core.proposals.types import check_may_propose
from forge_core.text import require_id

KEYS = {"type", "title", "description", "reason", "payload", "voting_hours", "electorate"}

CREATED = EntryKind.of(
    "proposal.created",
    """
    INSERT INTO proposals (id, type, status, proposer, title, description, reason, payload,
        payload_hash, track, voting_hours, electorate, created_at, lapses_at)
    SELECT subject, data ->> 'type', 'draft', actor, data ->> 'title', data ->> 'description',
        data ->> 'reason', convert_to(data ->> 'payload', 'UTF8'),
        decode(data ->> 'payload_hash', 'hex'), data ->> 'track',
        (data ->> 'voting_hours')::integer, data ->> 'electorate', at,
        (data ->> 'lapses_at')::timestamptz
    FROM forge_entries(:ids)
    """,
    """
    INSERT INTO tallies (proposal_id) SELECT subject FROM forge_entries(:ids)
    """,
    version=2,
    texts={"title": 1, "description": 1, "reason": 1, "payload_texts": 2},
)

_ELECTORATES = text("""
    SELECT id FROM imported_electorates WHERE id = ANY(:ids) AND sealed_at IS NOT NULL
""")


def create(session: Session, jobs: Sequence[Job], *, registry: Registry) -> list[Outcome]:
    """The step of ``proposals.create``. Safe to repeat: ids are unique, the job ends with it."""
    known = members_now(session, [job.actor for job in jobs])
    named = [job.payload.get("electorate") for job in jobs]
    sealed = {
        row.id for row in run(session, _ELECTORATES, ids=[e for e in named if isinstance(e, str)])
    }
    values = present_values(session, registry)
    sandbox = is_sandbox(session)
    now = forge_now(session)
    entries: list[Entry] = []

    def decide(job: Job) -> Outcome:
        draft = _check(job, known, sealed, registry, values, sandbox=sandbox)
        entry = _entry(session, job, draft, registry, values, now)
        entries.append(entry)
        return Outcome.done(proposal_id=entry.subject)

    outcomes = each(jobs, decide)
    append(session, entries)
    return outcomes


def proposal_id(issuer: str, command_id: str) -> str:
    """Deterministic: a command, whose content never changes, names one proposal.

    The content is not hashed into it: a guess at a text that was erased could be tried against it.
    """
    digest = hashlib.sha256(canonical_bytes({"issuer": issuer, "command": command_id}))
    return "p-" + digest.hexdigest()[:32]


def _check(
    job: Job,
    known: dict[str, MemberNow],
    sealed: set[str],
    registry: Registry,
    values: dict[str, Value],
    *,
    sandbox: bool,
) -> Draft:
    unknown = sorted(set(job.payload) - KEYS)
    if unknown:
        raise Refused("COMMAND_UNKNOWN_KEY", f"unknown: {unknown[0]!r}; known are {sorted(KEYS)}")
    draft = check_draft(
        type=job.payload.get("type"),
        title=job.payload.get("title"),
        description=job.payload.get("description"),
        payload=job.payload.get("payload"),
        reason=job.payload.get("reason", ""),
        voting_hours=job.payload.get("voting_hours"),
        registry=registry,
        values=values,
        caps_lifted=sandbox,
    )
    if isinstance(draft.payload, Configuration):
        draft = replace(draft, payload=_against_present(draft.payload, values))
    proposer = require_member(known, job.actor)
    check_may_propose(proposer.level, draft.type)
    if isinstance(draft.payload, TrustAdjustment):
        _refuse_own_raise(draft.payload, proposer)
    electorate = job.payload.get("electorate")
    if electorate is not None and require_id("electorate", electorate) not in sealed:
        raise Refused("ELECTORATE_UNKNOWN", f"there is no sealed electorate {electorate!r}")
    return draft


def _against_present(payload: Configuration, values: dict[str, Value]) -> Configuration:
    """Without an ``old_value`` the proposal is against the present one; execution compares."""
    if payload.old_value is not None:
        return payload
    present = values[payload.key]
    if present == payload.new_value:
        raise Refused("NO_CHANGE", f"{payload.key} is {present} already")
    return Configuration(key=payload.key, new_value=payload.new_value, old_value=present)


def _refuse_own_raise(payload: TrustAdjustment, proposer: MemberNow) -> None:
    if payload.member == proposer.id and payload.new_trust > payload.current_trust:
        raise Refused("OWN_RAISE", "nobody proposes to raise their own trust level")


def _entry(
    session: Session,
    job: Job,
    draft: Draft,
    registry: Registry,
    values: dict[str, Value],
    now: datetime,
) -> Entry:
    terms = terms_for(
        draft.track,
        values,
        voting_hours=draft.voting_hours,
        changes_parameter=changes_parameter(draft.payload, registry),
    )
    title, description, reason = keep_texts(session, draft.title, draft.description, draft.reason)
    payload, payload_texts = _committed(session, draft.payload)
    data = {
        "type": draft.type.value,
        "track": draft.track.value,
        "voting_hours": draft.voting_hours,
        "title": title,
        "description": description,
        "reason": reason,
        "payload": payload_bytes(payload).decode(),
        "payload_hash": payload_hash(payload),
        "payload_texts": payload_texts,
        "electorate": job.payload.get("electorate"),
        "lapses_at": rfc3339(now + terms.draft_lifetime),
    }
    id_ = proposal_id(str(job.issuer), str(job.command_id))
    return Entry(CREATED, now, job.actor, id_, data, job.command)


def _committed(session: Session, payload: Payload) -> tuple[Payload, list[str]]:
    """The payload with commitments in place of its free texts, and these commitments."""
    texts = {key: text for key in payload.TEXTS if (text := getattr(payload, key)) is not None}
    kept = keep_texts(session, *texts.values()) if texts else []
    return payload.model_copy(update=dict(zip(texts, kept, strict=True))), kept
