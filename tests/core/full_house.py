"""Whole paths, previews and the state that they compare, for tests of what proposals do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import Frame
from forge_core.actions.payloads import parse_payload
from forge_core.actions.planning import Step, plan
from forge_core.actions.present import Present
from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.clock import forge_now
from forge_core.ledger.entries import append
from forge_core.tables import DERIVED
from tests.conftest import TEMPLATE, TestServers
from tests.core.conftest import _house
from tests.core.factories import FULL_FOUNDERS, Answer, House, found_house

HISTORY = frozenset({
    "ballots",
    "effective_ballots",
    "effects",
    "instance",
    "member_levels",
    "proposal_targets",
    "proposals",
    "reviews",
    "sign_offs",
    "tallies",
})  # fmt: skip
"""Derived tables that tell how things came about, and not how they stand."""

ONWARD = {
    "electorate": {"version"},
    "members": {"version"},
    "modules": {"changed_at", "proposal_id"},
    "overlays": {"changed_at", "proposal_id"},
    "setting_values": {"changed_at"},
}
"""Columns that go on when something is put back: the number or author of the latest change."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Case:
    """A proposal whose effect is known.

    ``before`` are proposals that go first. ``shows`` is a query; its rows are ``was`` before the
    execution and ``then`` after it, where ``{id}`` is the proposal's.
    """

    type: str
    payload: Mapping[str, Any]
    shows: str = ""
    was: Sequence[tuple[Any, ...]] = ()
    then: Sequence[tuple[Any, ...]] = ()
    proposer: str = "carl"
    before: Sequence[Case] = ()

    @property
    def given(self) -> dict[str, Any]:
        return {"type": self.type, "payload": self.payload}

    def expected(self, proposal: str) -> list[tuple[Any, ...]]:
        return [
            tuple(v.format(id=proposal) if isinstance(v, str) else v for v in row)
            for row in self.then
        ]


def queued(house: House, proposer: str = "carl", **given: Any) -> str:
    """On whatever track: approved, its gates complete, its timelock running or over."""
    proposal = house.open(proposer, **given)
    house.approve(proposal)
    house.end_voting(proposal)
    if house.status(proposal) == "approved":
        house.through_gates(proposal)
    assert house.status(proposal) == "queued", house.image(proposal)
    return proposal


def carried(house: House, proposer: str = "carl", **given: Any) -> str:
    """To the end of its timelock, and executed if it can be."""
    proposal = queued(house, proposer, **given)
    house.ripen(proposal)
    return proposal


def done(house: House, proposer: str = "carl", **given: Any) -> str:
    """Carried, and executed."""
    proposal = carried(house, proposer, **given)
    assert house.status(proposal) == "executed", house.image(proposal)
    return proposal


def play(house: House, case: Case) -> str:
    """The proposals that go before, and then the case's own, executed."""
    prepare(house, case)
    return done(house, case.proposer, **case.given)


def prepare(house: House, case: Case) -> None:
    """What goes before; the treasury has something to pay from."""
    if case.type == "treasury_allocation":
        house.do("treasury.deposit", "cora", source="tests", amount="100")
    for earlier in case.before:
        play(house, earlier)


def undo(house: House, proposal: str, proposer: str = "carl") -> str:
    """A rollback of it, executed if it can be."""
    return carried(house, proposer, type="rollback", payload={"proposal": proposal})


def tried(house: House, proposer: str = "carl", **given: Any) -> Answer:
    """The answer to creating such a proposal."""
    form = {"title": "A title", "description": "What for."}
    return house.command("proposals.create", proposer, {**form, **given})


def warned(house: House, proposer: str = "carl", **given: Any) -> str | None:
    """The code that its simulation gives at creation; None when it could be executed."""
    answer = tried(house, proposer, **given)
    assert answer.state == "done", answer
    return answer.result.get("code")


# How things stand


def standing(house: House) -> Rows:
    """Every derived row that says how things are now, and until when execution is paused."""
    rows = {
        table: [_without(row, ONWARD.get(table, set())) for row in found]
        for table, found in house.derived_rows().items()
        if table not in HISTORY and table != "execution_windows"  # an ended one stays, for grace
    }
    paused = house.one("SELECT max(until_at) FROM execution_windows WHERE until_at > forge_now()")
    return {**rows, "paused": [{"until": paused}]}


def now_rows(house: House) -> Mapping[str, Any]:
    """The derived rows that a preview foretells, with every column."""
    return {name: rows for name, rows in house.derived_rows().items() if name not in HISTORY}


def _without(row: Mapping[str, Any], columns: set[str]) -> Mapping[str, Any]:
    return {name: value for name, value in row.items() if name not in columns}


def effects(house: House, proposal: str, direction: str = "apply") -> list[dict[str, Any]]:
    """What an executed proposal changed, as it was recorded, in the order of its actions."""
    rows = house.sql(
        "SELECT action, type, target, before, after FROM effects"
        " WHERE proposal_id = %s AND direction = %s ORDER BY action",
        proposal,
        direction,
    )
    return [
        dict(zip(("action", "type", "target", "before", "after"), r, strict=True)) for r in rows
    ]


# Previews


@dataclass(frozen=True)
class Preview:
    """What a plan without locks says: its effects, and the rows as they would stand."""

    effects: list[dict[str, Any]]
    rows: Mapping[str, list[Any]]


def preview(house: House, proposal: str) -> Preview:
    """Plan it as of now; the entries are folded, looked at, and rolled back."""
    with Session(house.app) as session:
        steps = planned(session, house.catalogue, proposal)
        append(session, [entry for step in steps for entry in step.planned.entries])
        rows = {
            table.name: [
                json.loads(row, parse_float=Decimal, parse_int=Decimal)
                for row in session.execute(
                    text(f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY t")
                ).scalars()
            ]
            for table in DERIVED
            if table.name not in HISTORY
        }
        session.rollback()
    return Preview([_effect(index, step) for index, step in enumerate(steps)], rows)


def planned(session: Session, catalogue: Catalogue, proposal: str) -> Sequence[Step]:
    """The plan of a stored proposal, on a present without locks."""
    row = session.execute(
        text(
            "SELECT id, type, proposer, title, description, payload FROM proposals WHERE id = :id"
        ),
        {"id": proposal},
    ).one()
    catalogue = with_extensions(session, catalogue)
    payload = parse_payload(row.type, json.loads(bytes(row.payload)), catalogue)
    now = forge_now(session)
    frame = Frame(row.id, row.proposer, now, row.title, row.description)
    return plan(Present(session, catalogue, now), catalogue, payload, frame)


def _effect(index: int, step: Step) -> dict[str, Any]:
    done, undoes = step.planned, step.undoes
    return {
        "action": index if undoes is None else undoes.index,
        "type": None if undoes is None else undoes.type,
        "target": done.target,
        "before": done.before,
        "after": done.after,
    }


@contextmanager
def clock_stopped(house: House, at: datetime | None = None) -> Iterator[datetime]:
    """Within the block ``forge_now()`` says one and the same time."""
    running = house.one("SELECT pg_get_functiondef('forge_now()'::regprocedure)")
    at = at or house.one("SELECT forge_now()")
    house.freeze_clock(at)
    try:
        yield at
    finally:
        house.sql(running)


def ripe(house: House, proposal: str) -> None:
    """Its timelock is over and its execution waits."""
    house.advance_to(house.column(proposal, "eta"))
    house.sweep()


# A platform of the tests' own


def platform_key(key: str = "platform.colour", **declared: Any) -> Capability:
    """An ordinary integer from 0 to 100, with whatever hooks are given."""
    form = {
        "klass": CapabilityClass.ORDINARY,
        "description": "a platform's own",
        "type": "integer",
        "default": 1,
        "least": 0,
        "most": 100,
    }
    return Capability(key=key, **{**form, **declared})


# Execution jobs


def send(house: House, proposal: str, actor: str = "mallory") -> tuple[str, str | None]:
    """Straight to the execution step, by a job of its own; its state and code.

    What the house itself had in mind for its proposals is put aside before.
    """
    house.sql(
        "UPDATE jobs SET state = 'superseded' WHERE state = 'pending'"
        " AND kind = 'enforcement.execute'"
    )
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor)"
        " VALUES ('enforcement.execute', 'sent:' || gen_random_uuid(), true,"
        " jsonb_build_object('proposal_id', %s::text), %s)",
        proposal,
        actor,
    )
    house.perform("enforcement.execute")
    (row,) = house.sql(
        "SELECT state, code FROM jobs WHERE key LIKE 'sent:%%' ORDER BY id DESC LIMIT 1"
    )
    return row


def due_again(house: House) -> None:
    """What waits for its back-off waits no longer."""
    house.sql("UPDATE jobs SET not_before = clock_timestamp() WHERE state = 'pending'")


def reason(house: House, proposal: str) -> str:
    """Why a proposal failed or was cancelled, in words."""
    return str(
        house.one(
            "SELECT body FROM proposals JOIN texts ON commitment = end_reason WHERE id = %s",
            proposal,
        )
    )


# What the types of proposal do


def setting(key: str, new: object, type_: str = "configuration", **given: Any) -> Case:
    """A key at its default, set to another value."""
    return Case(
        type_,
        {"key": key, "new_value": new},
        f"SELECT value, version, proposal_id FROM setting_values WHERE key = '{key}'",
        then=[(new, 1, "{id}")],
        **given,
    )


def extension(kind: str, name: str, **declaration: Any) -> Case:
    table = "modules" if kind == "module" else "extensions"
    return Case(
        "registry_extension",
        {"kind": kind, "name": name, "declaration": declaration},
        f"SELECT name, proposal_id FROM {table}",
        then=[(name, "{id}")],
    )


def level(member: str, before: str, after: str, proposer: str = "carl") -> Case:
    """A member of one level, moved to another."""
    return Case(
        "trust_adjustment",
        {"member": member, "current_trust": before, "new_trust": after},
        f"SELECT level FROM members WHERE id = '{member}'",
        [(before,)],
        [(after,)],
        proposer,
    )


ORDINARY = {"klass": "ordinary", "description": "What it is."}
REGISTRATION = Case(
    "overlay_registration",
    {"overlay": "scout", "name": "Scout", "version": "1.0.0", "max_execution_ms": 250},
    "SELECT id, version, status, trust, max_execution_ms, registered_by FROM overlays",
    then=[("scout", "1.0.0", "ACTIVE", "SANDBOX", 250, "stan")],
    proposer="stan",
)
MODULE = extension(
    "module", "ledger", version="1.0.0", owner="cora", governs="Its version.", rollback="By hand."
)
PARAMETER = extension("parameter", "colour", type="integer", default=1, least=0, most=9, **ORDINARY)
SWITCH = extension("feature", "lanterns", description="Lights at night.")
SOURCE = extension("source", "bank", description="The bank.")
GRANT = extension(
    "proposal_type",
    "grant_award",
    trust="STANDARD",
    fields={"why": "text", "to": "id", "sum": "decimal", "years": "integer", "public": "boolean"},
    **ORDINARY,
)
AWARD = {"why": "Good work.", "to": "sam", "sum": "12.50", "years": 2, "public": True}
PAUSES = (
    "SELECT proposal_id, until_at - from_at FROM execution_windows"
    " WHERE from_at <= forge_now() AND until_at > forge_now()"
)
PAUSE = Case(
    "emergency",
    {"action": "pause", "hours": 168},
    PAUSES,
    then=[("{id}", timedelta(hours=168))],
)
BALANCES = "SELECT id, balance FROM accounts WHERE balance <> 0 ORDER BY id"
ROLES = "SELECT member_id FROM member_roles WHERE role = '{}' ORDER BY 1"
FEATURES = "SELECT key, value FROM setting_values ORDER BY key"

CASES: Mapping[str, Case] = {
    "an ordinary setting": setting("rate_limit.CORE", 20_000),
    "a protocol parameter": setting("difficulty", 5),
    "a decimal": setting("block_reward", "12.5"),
    "a setting set before": Case(
        "configuration",
        {"key": "difficulty", "new_value": 6, "old_value": 5},
        "SELECT value, version FROM setting_values",
        [(5, 1)],
        [(6, 2)],
        before=[setting("difficulty", 5)],
    ),
    "several settings": Case(
        "configuration",
        {
            "actions": [
                {"key": "min_airdrop_amount", "new_value": 100},
                {"key": "max_airdrop_amount", "new_value": "100.5"},
                {"key": "rate_limit.CORE", "new_value": 1},
            ]
        },
        FEATURES,
        then=[
            ("max_airdrop_amount", "100.5"),
            ("min_airdrop_amount", "100"),
            ("rate_limit.CORE", 1),
        ],
    ),
    "a policy": Case(
        "policy",
        {"text": "Be kind."},
        "SELECT proposal_id, action, body FROM policies JOIN texts ON commitment = policies.text",
        then=[("{id}", 0, "Be kind.")],
        proposer="tara",
    ),
    "a policy in its description": Case(
        "policy",
        {},
        "SELECT proposal_id, body FROM policies JOIN texts ON commitment = policies.text",
        then=[("{id}", "What for.")],
        proposer="tara",
    ),
    "several policies": Case(
        "policy",
        {"actions": [{"text": "Be kind."}, {"text": "Be quick."}, {}]},
        "SELECT action, body FROM policies JOIN texts ON commitment = policies.text ORDER BY 1",
        then=[(0, "Be kind."), (1, "Be quick."), (2, "What for.")],
        proposer="tara",
    ),
    "a member raised": level("sam", "SANDBOX", "STANDARD"),
    "a member lowered": level("stan", "STANDARD", "SANDBOX"),
    "a member quarantined": level("stan", "STANDARD", "QUARANTINE"),
    "a seat taken away": level("cleo", "CORE", "TRUSTED", "tara"),
    "several members": Case(
        "trust_adjustment",
        {
            "actions": [
                {"member": "stan", "current_trust": "STANDARD", "new_trust": "TRUSTED"},
                {"member": "sam", "current_trust": "SANDBOX", "new_trust": "QUARANTINE"},
            ]
        },
        "SELECT core, trusted, standard, sandbox, quarantine FROM electorate",
        [(3, 12, 1, 1, 0)],
        [(3, 13, 0, 0, 1)],
    ),
    "an overlay's trust": Case(
        "trust_adjustment",
        {"overlay": "scout", "current_trust": "SANDBOX", "new_trust": "TRUSTED"},
        "SELECT id, trust, version FROM overlays",
        [("scout", "SANDBOX", "1.0.0")],
        [("scout", "TRUSTED", "1.0.0")],
        before=[REGISTRATION],
    ),
    "an overlay": REGISTRATION,
    "an overlay's version": Case(
        "overlay_update",
        {"overlay": "scout", "current_version": "1.0.0", "new_version": "2.0.0-rc.1"},
        "SELECT id, trust, version FROM overlays",
        [("scout", "SANDBOX", "1.0.0")],
        [("scout", "SANDBOX", "2.0.0-rc.1")],
        "stan",
        [REGISTRATION],
    ),
    "an overlay out of service": Case(
        "overlay_standing",
        {"overlay": "scout", "standing": "retired"},
        "SELECT id, status FROM overlays",
        [("scout", "ACTIVE")],
        [("scout", "RETIRED")],
        before=[REGISTRATION],
    ),
    "an overlay back in service": Case(
        "overlay_standing",
        {"overlay": "scout", "standing": "reinstated"},
        "SELECT id, status FROM overlays",
        [("scout", "RETIRED")],
        [("scout", "ACTIVE")],
        before=[
            REGISTRATION,
            Case("overlay_standing", {"overlay": "scout", "standing": "retired"}),
        ],
    ),
    "a module's version": Case(
        "overlay_update",
        {"module": "ledger", "current_version": "1.0.0", "new_version": "1.1.0"},
        "SELECT name, version, owner, governs FROM modules",
        [("ledger", "1.0.0", "cora", "Its version.")],
        [("ledger", "1.1.0", "cora", "Its version.")],
        "stan",
        [MODULE],
    ),
    "a feature switched off": Case(
        "feature_activation",
        {"feature": "airdrops", "enabled": False},
        FEATURES,
        then=[("feature.airdrops", False)],
        proposer="tara",
    ),
    "a feature switched on": Case(
        "feature_activation",
        {"feature": "smart_contracts", "enabled": True},
        FEATURES,
        then=[("feature.smart_contracts", True)],
        proposer="tara",
    ),
    "an allocation": Case(
        "treasury_allocation",
        {"recipient": "guild", "amount": "12.5", "purpose": "Tools."},
        BALANCES,
        [("treasury", 100)],
        [("guild", Decimal("12.5")), ("treasury", Decimal("87.5"))],
        "tara",
    ),
    "several allocations": Case(
        "treasury_allocation",
        {
            "actions": [
                {"recipient": "guild", "amount": 60},
                {"recipient": "school", "amount": "39.999999999999999999"},
                {"recipient": "guild", "amount": "0.000000000000000001"},
            ]
        },
        BALANCES,
        [("treasury", 100)],
        [
            ("guild", Decimal("60.000000000000000001")),
            ("school", Decimal("39.999999999999999999")),
        ],
        "tara",
    ),
    "a rule": setting("track.routine.quorum", "0.4", "governance_rule"),
    "a role given": Case(
        "role_change",
        {"member": "stan", "role": "operator", "holds": True},
        ROLES.format("operator"),
        [("otto",)],
        [("otto",), ("stan",)],
    ),
    "a role taken": Case(
        "role_change",
        {"member": "gail", "role": "guardian", "holds": False},
        ROLES.format("guardian"),
        [("gail",), ("gus",)],
        [("gus",)],
    ),
    "several roles": Case(
        "role_change",
        {
            "actions": [
                {"member": "tara", "role": "reviewer", "holds": True},
                {"member": "tara", "role": "admin", "holds": True},
                {"member": "rae", "role": "reviewer", "holds": False},
            ]
        },
        "SELECT member_id, role FROM member_roles WHERE member_id IN ('tara', 'rae') ORDER BY 1, 2",
        [("rae", "reviewer")],
        [("tara", "admin"), ("tara", "reviewer")],
    ),
    "a parameter": PARAMETER,
    "a feature": SWITCH,
    "a type of proposal": GRANT,
    "a source": SOURCE,
    "a module": MODULE,
    "a module and its parameter": Case(
        "registry_extension",
        {
            "actions": [
                MODULE.payload,
                {
                    **PARAMETER.payload,
                    "declaration": {**PARAMETER.payload["declaration"], "module": "ledger"},
                },
            ]
        },
        "SELECT declaration ->> 'module', version FROM extensions, modules",
        then=[("ledger", "1.0.0")],
    ),
    "a pause": PAUSE,
    "a resumption": Case(
        "emergency",
        {"action": "resume"},
        "SELECT count(*) FROM execution_windows"
        " WHERE from_at <= forge_now() AND until_at > forge_now()",
        [(1,)],
        [(0,)],
        before=[PAUSE],
    ),
    "an adjustment": Case(
        "emergency",
        {"action": "adjust", "key": "block_reward", "new_value": 6},
        FEATURES,
        then=[("block_reward", "6")],
    ),
    "a decision of a new type": Case(
        "grant_award",
        AWARD,
        "SELECT after ->> 'sum' FROM effects AS recorded"
        " WHERE target LIKE 'decision:%' AND direction = 'apply' AND NOT EXISTS ("
        " SELECT FROM effects AS withdrawn"
        " WHERE withdrawn.target = recorded.target AND direction = 'undo')",
        then=[("12.5",)],
        proposer="stan",
        before=[GRANT],
    ),
}
"""Every type of proposal, and every kind of thing that one can do."""


@contextmanager
def full_production(servers: TestServers) -> Iterator[House]:
    """``FULL_FOUNDERS`` outside a sandbox: its clock is the database's, which the test moves."""
    with _house(servers, TEMPLATE, FULL_FOUNDERS) as house:
        found_house(house, sandbox=False)
        house.advance_to = house.freeze_clock  # type: ignore[method-assign]
        yield house
