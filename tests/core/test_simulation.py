"""Simulation: what is shown is what happens, nothing is written, and what is missing is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError

from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.clock import forge_now, rfc3339
from forge_core.database import transaction
from forge_core.enforcement.holding import is_stopped
from forge_core.enforcement.simulation import DRAFT, queue, read_only, simulate, simulate_proposal
from forge_core.errors import Refused
from forge_core.proposals.expiry import is_expired
from forge_core.proposals.locking import lock_proposals, read_proposals
from forge_core.wiring import CATALOGUE
from tests.core.factories import POLICY, House, catalogue_with

OVERLAY = {"overlay": "scout", "name": "Scout", "version": "1.0.0", "description": "Looks."}
MODULE = {
    "kind": "module",
    "name": "engine",
    "declaration": {
        "version": "1.0.0",
        "owner": "carl",
        "governs": "What it runs.",
        "rollback": "Start the old one.",
    },
}
PARAMETER = {
    "kind": "parameter",
    "name": "mood",
    "declaration": {
        "klass": "ordinary",
        "type": "integer",
        "description": "How it goes.",
        "default": 3,
        "least": 1,
        "most": 5,
    },
}
GRANT = {
    "kind": "proposal_type",
    "name": "grant_award",
    "declaration": {
        "trust": "TRUSTED",
        "klass": "ordinary",
        "description": "A grant.",
        "fields": {"to": "id", "why": "text"},
    },
}


def simulated(house: House, proposal: str) -> dict[str, Any]:
    with transaction(house.app) as session:
        return simulate_proposal(session, house.catalogue, proposal)


def sketched(house: House, proposer: str = "carl", **given: Any) -> dict[str, Any]:
    with transaction(house.app) as session:
        return simulate(session, house.catalogue, proposer=proposer, **given)


def due(house: House, proposer: str = "carl", **given: Any) -> str:
    """Approved, through whatever gates it has, its timelock over: only execution is left."""
    proposal = house.open(proposer, **given)
    house.approve(proposal)
    house.end_voting(proposal)
    if house.status(proposal) == "approved":
        house.through_gates(proposal)
    house.advance_to(house.column(proposal, "eta"))
    return proposal


def execute(house: House, proposal: str) -> str:
    house.sweep()
    house.perform("enforcement.execute")
    return house.status(proposal)


def carried_out(house: House, **given: Any) -> str:
    proposal = due(house, **given)
    assert execute(house, proposal) == "executed"
    return proposal


def effects(house: House, cause: str) -> list[dict[str, Any]]:
    keys = ("proposal", "action", "direction", "type", "target", "before", "after")
    rows = house.sql(
        "SELECT proposal_id, action, direction, type, target, before, after FROM effects"
        " WHERE cause = %s ORDER BY proposal_id, action",
        cause,
    )
    return [dict(zip(keys, row, strict=True)) for row in rows]


def changes(simulation: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [
        {key: value for key, value in change.items() if key != "preview"}
        for change in simulation["changes"]
    ]
    return sorted(found, key=lambda change: (change["proposal"], change["action"]))


# What is shown is what happens

Prepare = Callable[[House], None]


def _overlay(house: House) -> None:
    carried_out(house, type="overlay_registration", payload=OVERLAY)


def _coins(house: House) -> None:
    house.do("treasury.deposit", "cora", source="shop", amount="100")


def _paused(house: House) -> None:
    carried_out(house, type="emergency", payload={"action": "pause", "hours": 100})


CASES: dict[str, tuple[str, object, Prepare | None]] = {
    "ordinary": ("configuration", {"key": "rate_limit.CORE", "new_value": 5}, None),
    "several": (
        "configuration",
        {
            "actions": [
                {"key": "min_airdrop_amount", "new_value": 50},
                {"key": "max_airdrop_amount", "new_value": 60},
                {"key": "transaction_fee_percent", "new_value": "0.5"},
            ]
        },
        None,
    ),
    "policy": ("policy", POLICY, None),
    "policy without a text of its own": ("policy", {}, None),
    "policies": ("policy", {"actions": [{"text": "One."}, {"text": "Two."}]}, None),
    "level": (
        "trust_adjustment",
        {"member": "sam", "current_trust": "SANDBOX", "new_trust": "TRUSTED"},
        None,
    ),
    "overlay's level": (
        "trust_adjustment",
        {"overlay": "scout", "current_trust": "SANDBOX", "new_trust": "STANDARD"},
        _overlay,
    ),
    "overlay": ("overlay_registration", OVERLAY, None),
    "overlay's version": (
        "overlay_update",
        {"overlay": "scout", "current_version": "1.0.0", "new_version": "2.0.0"},
        _overlay,
    ),
    "module's version": (
        "overlay_update",
        {"module": "engine", "current_version": "1.0.0", "new_version": "2.0.0"},
        lambda house: carried_out(house, type="registry_extension", payload=MODULE) and None,
    ),
    "feature": ("feature_activation", {"feature": "exchange", "enabled": False}, None),
    "payment": ("treasury_allocation", {"recipient": "bob", "amount": "40.5"}, _coins),
    "payments": (
        "treasury_allocation",
        {
            "actions": [
                {"recipient": "bob", "amount": "60", "purpose": "Bread."},
                {"recipient": "ann", "amount": "40"},
            ]
        },
        _coins,
    ),
    "rule": ("governance_rule", {"key": "track.routine.quorum", "new_value": "0.4"}, None),
    "role": ("role_change", {"member": "tara", "role": "reviewer", "holds": True}, None),
    "parameter": ("registry_extension", PARAMETER, None),
    "type": ("registry_extension", GRANT, None),
    "module": ("registry_extension", MODULE, None),
    "record": (
        "grant_award",
        {"to": "bob", "why": "He asked."},
        lambda house: carried_out(house, type="registry_extension", payload=GRANT) and None,
    ),
    "pause": ("emergency", {"action": "pause", "hours": 24}, None),
    "resumption": ("emergency", {"action": "resume"}, _paused),
    "adjustment": ("emergency", {"action": "adjust", "key": "difficulty", "new_value": 5}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_simulated_change_is_exactly_what_execution_records(full_house, case):
    """INV-33: the plan that is shown is the plan that is executed, for each type of proposal."""
    type_, payload, prepare = CASES[case]
    if prepare is not None:
        prepare(full_house)
    proposal = due(full_house, type=type_, payload=payload)
    full_house.freeze_clock(full_house.one("SELECT forge_now()"))  # a pause ends hours from now

    shown = simulated(full_house, proposal)
    assert shown["problem"] is None
    assert shown["standing"]["missing"] == []
    assert execute(full_house, proposal) == "executed"
    assert changes(shown) == effects(full_house, proposal) != []


@pytest.mark.parametrize("case", ["several", "policy", "level", "payments", "parameter", "feature"])
def test_the_simulated_rollback_is_exactly_what_execution_records(full_house, case):
    """INV-36."""
    type_, payload, prepare = CASES[case]
    if prepare is not None:
        prepare(full_house)
    undone = carried_out(full_house, type=type_, payload=payload)
    proposal = due(full_house, type="rollback", payload={"proposal": undone})

    shown = simulated(full_house, proposal)
    assert {change["direction"] for change in shown["changes"]} == {"undo"}
    assert execute(full_house, proposal) == "executed"
    assert changes(shown) == effects(full_house, proposal) != []


@pytest.mark.parametrize("case", ["ordinary", "several", "level", "feature", "role", "type"])
def test_a_draft_that_is_not_there_yet_shows_what_it_shows_once_it_is(full_house, case):
    type_, payload, _ = CASES[case]
    before = sketched(full_house, type=type_, payload=payload, title="A title")
    after = simulated(full_house, full_house.propose("carl", type=type_, payload=payload))

    assert after.pop("standing")["status"] == "draft"
    for change in before["changes"]:
        assert change["proposal"] == DRAFT
        change["proposal"] = after["proposal"]
    assert before | {"proposal": after["proposal"]} == after


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("configuration", {"key": "rate_limit.CORE", "new_value": 5, "old_value": 7}),
        ("trust_adjustment", {"member": "x", "current_trust": "SANDBOX", "new_trust": "STANDARD"}),
        ("overlay_update", {"overlay": "x", "current_version": "1.0.0", "new_version": "1.1.0"}),
        ("configuration", {"key": "min_airdrop_amount", "new_value": 100}),
        ("treasury_allocation", {"recipient": "bob", "amount": 1}),
        ("emergency", {"action": "resume"}),
        ("emergency", {"action": "adjust", "key": "difficulty", "new_value": 10}),
        ("governance_rule", {"key": "track.protected.reviewers", "new_value": 9}),
    ],
)
def test_the_problem_is_the_reason_with_which_execution_fails(full_house, type_, payload):
    given = {"type": type_, "payload": payload}
    if payload.get("key") == "min_airdrop_amount":
        carried_out(
            full_house,
            type="configuration",
            payload={"key": "max_airdrop_amount", "new_value": 50},
        )
    sketch = sketched(full_house, **given)
    proposal = due(full_house, **given)
    shown = simulated(full_house, proposal)

    assert execute(full_house, proposal) == "failed"
    code, message = full_house.sql(
        "SELECT failure, body FROM proposals JOIN texts ON commitment = end_reason WHERE id = %s",
        proposal,
    )[0]
    assert shown["problem"] == {"code": code, "message": message} == sketch["problem"]
    assert shown["changes"] == sketch["changes"] == []


@pytest.mark.parametrize(
    ("actor", "given", "code"),
    [
        ("carl", {"type": "wish"}, "UNKNOWN_PROPOSAL_TYPE"),
        ("carl", {"type": "configuration", "payload": {}}, "PAYLOAD_MISSING_KEY"),
        ("carl", {"payload": []}, "PAYLOAD_NOT_OBJECT"),
        ("nobody", {}, "MEMBER_UNKNOWN"),
        ("stan", {}, "TRUST_TOO_LOW"),
        ("carl", {"electorate": "nowhere"}, "ELECTORATE_UNKNOWN"),
        ("carl", {"electorate": "balance:nowhere"}, "HOLDINGS_UNKNOWN"),
        ("carl", {"electorate": 5}, "ID_INVALID"),
        ("carl", {"predecessor": "p-nowhere"}, "PROPOSAL_UNKNOWN"),
        ("carl", {"voting_hours": 0}, "VALUE_OUT_OF_RANGE"),
        ("carl", {"type": "rollback", "payload": {"proposal": "p-nowhere"}}, "PROPOSAL_UNKNOWN"),
        (
            "carl",
            {"type": "configuration", "payload": {"key": "difficulty", "new_value": 4}},
            "NO_CHANGE",
        ),
        (
            "tara",
            {
                "type": "trust_adjustment",
                "payload": {
                    "member": "tara",
                    "current_trust": "STANDARD",
                    "new_trust": "TRUSTED",
                },
            },
            "OWN_RAISE",
        ),
    ],
)
def test_what_creation_refuses_simulation_refuses_by_the_same_code(full_house, actor, given, code):
    proposed = {"type": "policy", "payload": POLICY} | given
    with pytest.raises(Refused) as refusal:
        sketched(full_house, actor, **proposed)
    texts = {"title": "A title", "description": "What for."}
    created = full_house.command("proposals.create", actor, proposed | texts)

    assert (created.state, created.code) == ("refused", code)
    assert refusal.value.code == code


# Nothing is written


def test_simulating_leaves_every_row_as_it_was_and_the_transaction_usable(full_house):
    """INV-38: the database refuses writes while a simulation runs, and takes them after it."""
    proposal = full_house.open("carl", type="policy", payload=POLICY)
    full_house.do("members.report_holdings", "cora", source="s", holdings=[["tara", 1, 0, 0, 0]])
    before = (full_house.derived_rows(), full_house.entries(), full_house.sql("TABLE texts"))

    with transaction(full_house.app) as session:
        simulate_proposal(session, full_house.catalogue, proposal)
        queue(session, full_house.catalogue)
        given = {"type": "policy", "payload": POLICY, "electorate": "balance:s"}
        simulate(session, full_house.catalogue, proposer="carl", **given)
        with pytest.raises(InternalError, match="read-only"), read_only(session):
            session.execute(text("INSERT INTO named_locks VALUES ('x')"))
        session.execute(text("INSERT INTO named_locks VALUES ('y')"))

    assert full_house.one("SELECT count(*) FROM named_locks WHERE name = 'y'") == 1
    after = (full_house.derived_rows(), full_house.entries(), full_house.sql("TABLE texts"))
    assert before == after


# Track, terms, electorate, reviewers, rivals


def test_class_track_terms_and_those_who_could_decide_are_shown_before_opening(full_house):
    shown = sketched(
        full_house, type="configuration", payload={"key": "difficulty", "new_value": 5}
    )

    assert (shown["classes"], shown["track"], shown["frozen"]) == (["protocol"], "protected", False)
    terms = shown["terms"]
    assert (terms["quorum"], terms["approval"], terms["min_yes_voters"]) == ("0.3", "0.66", 5)
    assert (terms["timelock_hours"], terms["grace_hours"]) == (336, 336)
    electorate = shown["electorate"]
    assert (electorate["members"], electorate["weight"]) == (17, "52.5")
    assert [(one["level"], one["members"], one["total"]) for one in electorate["levels"]] == [
        ("CORE", 3, "15"),
        ("TRUSTED", 12, "36"),
        ("STANDARD", 1, "1"),
        ("SANDBOX", 1, "0.5"),
    ]
    assert shown["review"]["needed"] == 5
    assert len(shown["review"]["able"]) == 8
    reviewer = sketched(full_house, "rae", type="feature_activation",
                        payload={"feature": "exchange", "enabled": False})  # fmt: skip
    assert "rae" not in reviewer["review"]["able"]


def test_terms_and_electorate_of_an_opened_proposal_are_those_frozen(full_house):
    """INV-09, INV-17: what changes later is shown for the next one only."""
    opened = full_house.open("carl", type="policy", payload=POLICY)
    frozen = simulated(full_house, opened)
    carried_out(full_house, type="governance_rule",
                payload={"key": "track.routine.quorum", "new_value": "0.9"})  # fmt: skip
    full_house.do("members.admit", "cora", members=[{"id": "new", "level": "CORE"}], source="s")

    again = simulated(full_house, opened)
    assert again["frozen"] is True
    assert (again["terms"], again["electorate"]) == (frozen["terms"], frozen["electorate"])
    now = sketched(full_house, type="policy", payload=POLICY)
    assert now["terms"]["quorum"] == "0.9"
    assert now["electorate"]["weight"] == "57.5"


def test_a_rollback_shows_trust_track_and_gates_of_what_it_undoes(full_house):
    undone = carried_out(full_house, type="feature_activation",
                         payload={"feature": "exchange", "enabled": False})  # fmt: skip
    shown = sketched(full_house, "tara", type="rollback", payload={"proposal": undone})

    assert (shown["classes"], shown["track"]) == (["feature"], "protected")
    assert shown["terms"]["timelock_hours"] == 72
    assert shown["review"]["needed"] == 5


def test_a_balance_electorate_is_simulated_as_opening_then_freezes_it(full_house):
    holdings = [["tara", "10", "5", "0", "0"], ["sam", 0, 0, 0, 0], ["gus", "1", 0, "30000", 2]]
    full_house.do("members.report_holdings", "cora", source="coins", holdings=holdings)
    shown = sketched(full_house, type="policy", payload=POLICY, electorate="balance:coins")
    draft = full_house.propose("carl", electorate="balance:coins")

    assert shown["electorate"]["weight"] == "69.2"
    assert simulated(full_house, draft)["electorate"] == shown["electorate"]
    full_house.do("proposals.activate", "carl", proposal_id=draft)
    frozen = simulated(full_house, draft)["electorate"]
    assert (frozen["kind"], frozen["members"], frozen["weight"]) == ("balance", 2, "69.2")
    assert full_house.column(draft, "eligible_weight") == Decimal("69.2")
    assert frozen["name"] == full_house.column(draft, "electorate")


def test_an_imported_electorate_is_shown_with_its_members_and_weight(full_house):
    roll = [["tara", "1.5"], ["sam", "2"], ["gus", "0"]]
    given = {"electorate": "elders", "roll": roll, "last": True}
    full_house.do("members.import_electorate", "cora", **given)
    shown = sketched(full_house, type="policy", payload=POLICY, electorate="elders")["electorate"]

    assert (shown["kind"], shown["members"], shown["weight"]) == ("imported", 3, "3.5")


def test_rivals_are_live_proposals_that_change_the_same(full_house):
    """INV-34: each shows the other; a rollback is a rival of what changes the same again."""
    key = {"type": "configuration", "payload": {"key": "difficulty", "new_value": 5}}
    done = carried_out(full_house, **key)
    other = {"type": "configuration", "payload": {"key": "difficulty", "new_value": 6}}
    first = full_house.open("carl", **other)
    cancelled = full_house.propose("carl", **other)
    full_house.do("proposals.cancel", "carl", proposal_id=cancelled, reason="A slip.")

    rivals = sketched(full_house, type="rollback", payload={"proposal": done})["rivals"]
    assert rivals == [
        {
            "proposal": first,
            "status": "active",
            "proposer": "carl",
            "targets": ["setting:difficulty"],
        }
    ]
    assert simulated(full_house, first)["rivals"] == []
    assert sketched(full_house, type="policy", payload=POLICY)["rivals"] == []


# A platform's own declarations


def _mood(preview: Callable[..., Any]) -> Capability:
    return Capability(
        key="mood",
        klass=CapabilityClass.ORDINARY,
        description="How it goes.",
        type="integer",
        default=3,
        least=1,
        most=5,
        preview=preview,
    )


def test_the_previews_of_a_platform_stand_beside_its_change(house):
    def lines(before: object, after: object) -> list[str]:
        return [f"from {before}", f"to {after}"]

    house.use(catalogue_with(_mood(lines)))
    shown = sketched(house, "tara", type="configuration", payload={"key": "mood", "new_value": 4})
    assert [change["preview"] for change in shown["changes"]] == [["from 3", "to 4"]]


def test_a_preview_that_raises_hides_neither_the_change_nor_itself(house):
    def broken(*_: object) -> list[str]:
        raise RuntimeError("no lines today")

    house.use(catalogue_with(_mood(broken)))
    shown = sketched(house, "tara", type="configuration", payload={"key": "mood", "new_value": 4})
    [change] = shown["changes"]
    assert (change["before"], change["after"], shown["problem"]) == (3, 4, None)
    assert change["preview"] == ["the preview of mood failed: RuntimeError: no lines today"]


def test_a_proposal_whose_key_is_gone_says_so_and_the_queue_goes_on(house):
    house.use(catalogue_with(_mood(lambda *_: [])))
    gone = house.decided(type="configuration", payload={"key": "mood", "new_value": 4})
    other = house.decided(type="configuration", payload={"key": "rate_limit.CORE", "new_value": 5})
    with transaction(house.app) as session:
        rows = queue(session, CATALOGUE)

    assert [row["proposal"] for row in rows] == [gone, other]
    assert rows[0]["problem"]["code"] == "UNKNOWN_CAPABILITY"
    assert rows[1]["problem"] is None


# Where it stands


def missing(house: House, proposal: str) -> list[str]:
    return [one["code"] for one in simulated(house, proposal)["standing"]["missing"]]


def test_what_is_missing_is_said_at_every_status_until_execution(full_house):
    house = full_house
    proposal = house.propose("carl", type="feature_activation",
                             payload={"feature": "exchange", "enabled": False})  # fmt: skip
    assert missing(house, proposal) == ["VOTING_NOT_APPROVED"]
    house.do("proposals.activate", "carl", proposal_id=proposal)
    house.approve(proposal)
    assert missing(house, proposal) == ["VOTING_NOT_APPROVED"]
    house.end_voting(proposal)

    both = ["INSUFFICIENT_REVIEWERS", "IMPLEMENTATION_NOT_APPROVED"]
    assert missing(house, proposal) == both
    house.review(proposal, "ray", approves=False, comment="It cannot be undone.")
    assert missing(house, proposal) == [both[0], "CODE_REVIEW_REJECTED", both[1]]
    house.review(proposal, "rae", comment="Read it.")
    gates = simulated(house, proposal)["standing"]["gates"]
    said = [(one["member"], one["approves"], one["comment"]) for one in gates["reviews"]["given"]]
    assert said == [("rae", True, "Read it."), ("ray", False, "It cannot be undone.")]
    assert "rae" not in gates["reviews"]["open"]
    assert "ray" in gates["reviews"]["open"]
    house.review_all(proposal)
    assert missing(house, proposal) == ["IMPLEMENTATION_NOT_APPROVED"]
    house.sign_all(proposal)

    standing = simulated(house, proposal)["standing"]
    assert [one["code"] for one in standing["missing"]] == ["TIMELOCK_ACTIVE"]
    assert standing["eta"] == standing["may_run_at"] == rfc3339(house.column(proposal, "eta"))
    house.advance_to(house.column(proposal, "eta"))
    assert missing(house, proposal) == []
    assert execute(house, proposal) == "executed"
    shown = simulated(house, proposal)
    assert (shown["problem"]["code"], shown["changes"]) == ("PROPOSAL_STATUS", [])
    assert shown["standing"]["missing"] == []


def test_a_predecessor_is_missing_until_it_is_executed(house):
    first = house.decided(type="configuration", payload={"key": "rate_limit.CORE", "new_value": 5})
    second = house.decided(predecessor=first)
    shown = simulated(house, second)["standing"]

    assert [one["code"] for one in shown["missing"]] == ["PREDECESSOR_NOT_EXECUTED"]
    assert shown["missing"][0]["message"] == f"{first} is queued, and comes before"
    assert shown["predecessor"] == {"proposal": first, "status": "queued"}
    assert shown["may_run_at"] is None
    house.perform("enforcement.execute")
    assert missing(house, second) == []


def test_what_comes_after_a_cancelled_one_says_that_it_never_comes(house):
    first = house.decided(type="configuration", payload={"key": "rate_limit.CORE", "new_value": 5})
    second = house.decided(predecessor=first)
    house.do("proposals.cancel", "gus", proposal_id=first, reason="Not this one.")

    (missing_,) = simulated(house, second)["standing"]["missing"]
    assert missing_ == {
        "code": "PREDECESSOR_NOT_EXECUTED",
        "message": f"{first} is cancelled, so this can never be executed; a guardian may cancel it",
    }


def test_a_failed_execution_says_that_an_operator_may_retry_it(house):
    stale = {"key": "rate_limit.CORE", "new_value": 5, "old_value": 7}
    proposal = house.executed(type="configuration", payload=stale)
    assert missing(house, proposal) == ["EXECUTION_FAILED"]


def _freeze(house: House, *, begins: timedelta, lasts: timedelta) -> str:
    now = house.one("SELECT forge_now()")
    times = {"until": rfc3339(now + begins + lasts)}
    if begins:
        times["from"] = rfc3339(now + begins)
    return str(house.do("enforcement.freeze", "gus", reason="Holidays.", **times)["window"])


def _window(house: House, kind: str) -> None:
    """In force for a day, however it came about."""
    house.sql(
        "INSERT INTO execution_windows (id, kind, from_at, until_at, imposed_by)"
        " VALUES ('w-' || %s, %s, forge_now(), forge_now() + INTERVAL '1 day', 'gus')",
        kind,
        kind,
    )


def test_windows_say_who_is_stopped_now_as_execution_sees_it(full_house):
    """INV-37: a pause stops no rollback; broken glass lets through what was stopped then."""
    house = full_house
    done = carried_out(house, type="configuration", payload={"key": "difficulty", "new_value": 5})
    waiting = {
        "rollback": house.protected(type="rollback", payload={"proposal": done}),
        "rule": house.protected(
            type="governance_rule", payload={"key": "track.routine.quorum", "new_value": "0.4"}
        ),
        "broken": house.protected(
            type="governance_rule", payload={"key": "trust.weight.CORE", "new_value": "4"}
        ),
    }
    _window(house, "pause")

    def break_glass() -> None:
        given = {"kind": "break_glass", "subject": waiting["broken"], "reason": "It burns."}
        joint = house.do("joint.propose", "gus", **given)["joint_id"]
        house.do("joint.confirm", "gail", joint_id=joint)

    def stopped() -> dict[str, bool]:
        found = {}
        for name, proposal in waiting.items():
            with transaction(house.app) as session:
                locked = lock_proposals(session, [proposal])[proposal]
                truly = is_stopped(session, CATALOGUE, locked, forge_now(session))
            assert ("EXECUTION_HELD" in missing(house, proposal)) is truly
            found[name] = truly
        return found

    assert stopped() == {"rollback": False, "rule": True, "broken": True}
    break_glass()
    assert stopped() == {"rollback": False, "rule": True, "broken": False}
    _window(house, "freeze")
    assert stopped() == {"rollback": True, "rule": True, "broken": True}
    break_glass()
    assert stopped() == {"rollback": True, "rule": True, "broken": False}
    house.advance(days=30)
    assert stopped() == {"rollback": False, "rule": False, "broken": False}


def test_expiry_and_first_moment_are_moved_by_windows_however_they_overlap(house):
    """INV-06, INV-37: grace does not run in windows; looked at before, the database agrees then."""
    proposal = house.decided()
    expires_at = house.column(proposal, "expires_at")
    day = timedelta(days=1)
    for begins, lasts in ((0 * day, 3 * day), (2 * day, 2 * day), (5 * day, day), (18 * day, day)):
        _freeze(house, begins=begins, lasts=lasts)
    now = house.one("SELECT forge_now()")
    standing = simulated(house, proposal)["standing"]
    over, may_run_at = (
        datetime.fromisoformat(standing[key]) for key in ("expires_at", "may_run_at")
    )

    with transaction(house.app) as session:
        row = read_proposals(session, [proposal])[proposal]
        assert not is_expired(session, row, over - timedelta(microseconds=1))
        assert is_expired(session, row, over)
    assert abs(over - (expires_at + 6 * day)) < timedelta(minutes=1)
    assert abs(may_run_at - (now + 4 * day)) < timedelta(minutes=1)


# The queue


def test_the_queue_is_ordered_by_eta_with_each_change_and_is_bounded(full_house):
    house = full_house
    late = house.protected(type="feature_activation",
                           payload={"feature": "exchange", "enabled": False})  # fmt: skip
    payload = {"actions": [{"text": "One."}, {"text": "Two."}]}
    soon = house.open("carl", type="policy", payload=payload)
    house.approve(soon)
    house.end_voting(soon)
    with transaction(house.app) as session:
        rows = queue(session, house.catalogue)
        assert [row["proposal"] for row in queue(session, house.catalogue, limit=1)] == [soon]
        assert queue(session, house.catalogue, limit=0) == []

    assert [row["proposal"] for row in rows] == [soon, late]
    assert [row["eta"] for row in rows] == sorted(row["eta"] for row in rows)
    assert [len(row["changes"]) for row in rows] == [2, 1]
    assert rows[1]["changes"][0]["after"] is False
    assert json.loads(json.dumps(rows)) == rows
