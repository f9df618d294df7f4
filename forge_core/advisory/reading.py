"""Reading what a proposal is about: its texts, what it would do now, and what it would meet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import Frame
from forge_core.actions.payloads import parse_payload
from forge_core.actions.planning import Step, plan
from forge_core.actions.present import Present
from forge_core.actions.rollback import undone_proposals
from forge_core.advisory.matter import Bounds, Change, Matter, Record, Rival, number_of
from forge_core.advisory.precedents import precedents_of, twins_of
from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.proposals.basis import basis_of, undone_by
from forge_core.treasury.accounts import TREASURY, balance

_PROPOSALS = text("""
    SELECT id, type, track, proposer, coalesce(title.body, '') AS title,
        coalesce(description.body, '') AS description, coalesce(reason.body, '') AS reason,
        convert_from(payload, 'UTF8') AS payload,
        proposals.title AS title_commitment, proposals.description AS description_commitment
    FROM proposals
    LEFT JOIN texts AS title ON title.commitment = proposals.title
    LEFT JOIN texts AS description ON description.commitment = proposals.description
    LEFT JOIN texts AS reason ON reason.commitment = proposals.reason
    WHERE id = ANY(:ids) ORDER BY id
""")
_TEXTS = text("SELECT commitment, body FROM texts WHERE commitment = ANY(:commitments)")
_RECORD = text("""
    SELECT count(*) FILTER (WHERE status = 'executed') AS executed,
        count(*) FILTER (WHERE status = 'rolled_back') AS rolled_back,
        count(*) FILTER (WHERE status = 'rejected') AS rejected,
        count(*) FILTER (WHERE status = 'failed') AS failed
    FROM proposals WHERE proposer = :proposer AND id <> :besides
""")
_RIVALS = text("""
    SELECT DISTINCT id, status FROM proposal_targets JOIN proposals ON id = proposal_id
    WHERE target IN (SELECT target FROM proposal_targets WHERE proposal_id = :id)
        AND id <> :id AND status IN ('draft', 'active', 'approved', 'queued')
    ORDER BY id LIMIT 20
""")
_SET_BEFORE = text("SELECT before, after FROM effects WHERE target = :target LIMIT 1000")
_PROVIDERS = text("""
    SELECT capability, array_agg(id ORDER BY id) AS overlays
    FROM overlays, jsonb_array_elements_text(provides) AS capability
    WHERE status = 'ACTIVE' GROUP BY capability
""")
_HOLDERS = text("SELECT role, array_agg(member_id) AS members FROM member_roles GROUP BY role")


def read_matters(session: Session, catalogue: Catalogue, ids: Sequence[str]) -> list[Matter]:
    """The matters of these proposals, by id."""
    rows = run(session, _PROPOSALS, ids=list(ids)) if ids else ()
    if not rows:
        return []
    catalogue = with_extensions(session, catalogue)
    providers = {row.capability: frozenset(row.overlays) for row in run(session, _PROVIDERS)}
    holders = {row.role: frozenset(row.members) for row in run(session, _HOLDERS)}
    treasury = balance(session, TREASURY)
    keys = frozenset(capability.key for capability in catalogue)
    return [
        _matter(
            session,
            catalogue,
            row,
            providers=providers,
            holders=holders,
            treasury=treasury,
            keys=keys,
        )
        for row in rows
    ]


def _matter(session: Session, catalogue: Catalogue, row: Row[Any], **world: Any) -> Matter:
    record = session.execute(_RECORD, {"proposer": row.proposer, "besides": row.id}).one()
    steps, classes, problem = _planned(session, catalogue, row)
    own: Mapping[str, Rival] = {
        rival.id: Rival(rival.id, rival.status, 0.0, True)
        for rival in run(session, _RIVALS, id=row.id)
    }
    twins = {twin.proposal: twin for twin in twins_of(session, row.id, row.title, row.description)}
    rivals = [
        Rival(id_, one.status, twins[id_].likeness if id_ in twins else 0.0, id_ in own)
        for id_, one in sorted({**twins, **own}.items())
    ]
    return Matter(
        id=row.id,
        type=row.type,
        track=row.track,
        classes=classes,
        proposer=row.proposer,
        title=row.title,
        description=row.description,
        reason=row.reason,
        actions=_actions(session, row.payload, _text_fields(catalogue, row.type)),
        changes=tuple(_change(session, step) for step in steps),
        problem=None if problem is None else problem.message,
        record=Record(record.executed, record.rolled_back, record.rejected, record.failed),
        rivals=tuple(rivals),
        precedents=tuple(precedents_of(session, row.id, row.title, row.description)),
        **world,
    )


def _planned(
    session: Session, catalogue: Catalogue, row: Row[Any]
) -> tuple[Sequence[Step], frozenset[str], Refused | None]:
    """What it would do now, as execution would plan it; without a change, why not."""
    now = forge_now(session)
    try:
        payload = parse_payload(row.type, json.loads(row.payload), catalogue)
        undone = undone_proposals(session, undone_by(payload))
        classes = frozenset(map(str, basis_of(payload, catalogue, undone).classes))
    except Refused as refusal:
        return (), frozenset(), refusal
    frame = Frame(row.id, row.proposer, now, row.title_commitment, row.description_commitment)
    try:
        return plan(Present(session, catalogue, now), catalogue, payload, frame), classes, None
    except Refused as refusal:
        return (), classes, refusal


def _text_fields(catalogue: Catalogue, type_: str) -> frozenset[str]:
    """The fields of such a payload that hold commitments; none of a type that is gone."""
    return frozenset(catalogue.kind(type_).model.TEXTS if type_ in catalogue.types else ())


def _actions(
    session: Session, payload: str, fields: frozenset[str]
) -> tuple[Mapping[str, Any], ...]:
    """The payload's actions, with their texts instead of the commitments to them.

    In no other field: what a proposer writes there may be the commitment to somebody else's text.
    """
    plain = json.loads(payload)
    actions = plain.get("actions", [plain])
    named = [action[field] for action in actions for field in fields if field in action]
    texts = {row.commitment: row.body for row in run(session, _TEXTS, commitments=named)}
    return tuple(
        {key: texts.get(value, value) if key in fields else value for key, value in action.items()}
        for action in actions
    )


def _change(session: Session, step: Step) -> Change:
    planned, declared = step.planned, step.planned.capability
    if declared is None:
        return Change(planned.target, planned.before, planned.after)
    bounds = None
    if declared.type in ("integer", "decimal"):
        bounds = Bounds(parse_decimal(declared.least), parse_decimal(declared.most))
    known = [number_of(declared.default), number_of(planned.before)]
    for row in run(session, _SET_BEFORE, target=planned.target):
        known += [number_of(row.before), number_of(row.after)]
    numbers: list[Fraction] = [number for number in known if number is not None]
    return Change(
        planned.target,
        planned.before,
        planned.after,
        key=declared.key,
        klass=declared.klass.value,
        default=declared.default,
        bounds=bounds,
        lowest=min(numbers, default=None),
        highest=max(numbers, default=None),
    )
