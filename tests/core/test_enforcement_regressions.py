"""What was once possible and must not become so again: one test for each way that was found."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.emergency import TARGET as WINDOWS
from forge_core.actions.targets import Target
from forge_core.capabilities.declaration import (
    DOCUMENT_MOST,
    Capability,
    CapabilityClass,
    Change,
    Delivery,
)
from forge_core.clock import rfc3339
from forge_core.database import transaction
from forge_core.enforcement.claiming import Overtaken, hold
from forge_core.enforcement.outbox import deliver_next, revive
from forge_core.enforcement.simulation import simulate_proposal
from forge_core.errors import Refused
from forge_core.jobs.kinds import Job
from forge_core.wiring import CATALOGUE
from tests.core.factories import FULL_FOUNDERS, House, catalogue_with, found_house
from tests.core.full_house import (
    GRANT,
    PARAMETER,
    SWITCH,
    Case,
    carried,
    done,
    due_again,
    effects,
    extension,
    level,
    platform_key,
    play,
    queued,
    reason,
    send,
    setting,
    standing,
    tried,
    undo,
    warned,
)
from tests.support import until

NEVER = {"type": "policy", "payload": {"text": "x"}}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def overlay(name: str) -> tuple[Case, Case, Case, Case]:
    """Its registration, an update, and its trust up and down again."""

    def case(type_: str, proposer: str, **payload: str) -> Case:
        return Case(type_, {"overlay": name, **payload}, proposer=proposer)

    return (
        case("overlay_registration", "stan", name="An overlay", version="1.0.0"),
        case("overlay_update", "stan", current_version="1.0.0", new_version="2.0.0"),
        case("trust_adjustment", "tara", current_trust="SANDBOX", new_trust="TRUSTED"),
        case("trust_adjustment", "tara", current_trust="TRUSTED", new_trust="SANDBOX"),
    )


def to(key: str, value: object) -> dict[str, Any]:
    return {"type": "configuration", "payload": {"key": key, "new_value": value}}


def rollback_of(proposal: str) -> dict[str, Any]:
    return {"type": "rollback", "payload": {"proposal": proposal}}


def both_queued(house: House, *given: tuple[str, dict[str, Any]]) -> list[str]:
    """Opened together, so that each passes before the other is executed; both are due."""
    proposals = [house.open(proposer, **one) for proposer, one in given]
    for proposal in proposals:
        house.approve(proposal)
    for proposal in proposals:
        house.end_voting(proposal)
        if house.status(proposal) == "approved":
            house.through_gates(proposal)
    house.advance_to(max(house.column(proposal, "eta") for proposal in proposals))
    return proposals


def executed_at_once(house: House, first: str, second: str) -> None:
    """The second begins while the first has done everything but commit, and has to wait."""

    def execute(session: Session, proposal: str) -> None:
        given = {"proposal_id": proposal}
        job = Job(1, "enforcement.execute", "raced", given, "system", None, None, 1)
        house.kinds["enforcement.execute"].step(session, [job])

    def follow() -> None:
        with transaction(house.app) as session:
            execute(session, second)

    # Who is the first to lock a name has all others wait, whatever they lock.
    house.sql("INSERT INTO named_locks VALUES (%s) ON CONFLICT DO NOTHING", WINDOWS)
    follower = threading.Thread(target=follow)
    with transaction(house.app) as session:
        execute(session, first)
        follower.start()
        until(lambda: waits(house) or not follower.is_alive())
        waited = follower.is_alive()
    follower.join()
    assert waited, "what may change the same thing goes one after the other"
    house.perform("enforcement.execute")  # the jobs of both find that it is done


def waits(house: House) -> bool:
    """Whether a backend of this house stands at a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    return bool(house.one(query, house.name))


def ended(house: House, *proposals: str) -> list[str | None]:
    """Why each failed; None when it was executed."""
    assert {house.status(proposal) for proposal in proposals} <= {"executed", "failed"}
    return [house.column(proposal, "failure") for proposal in proposals]


@pytest.fixture
def platform(full_shared: House) -> Iterator[House]:
    """The house that tests share, for keys of a platform's own."""
    yield full_shared
    full_shared.use(CATALOGUE)


# Two executions at once


def test_an_overlay_is_not_updated_and_deregistered_at_once(full_shared):
    """INV-32, INV-34: two aspects of one thing, and one lock."""
    registration, update, _, _ = overlay("raced")
    registered = play(full_shared, registration)
    updating, removal = both_queued(
        full_shared, ("stan", update.given), ("stan", rollback_of(registered))
    )

    executed_at_once(full_shared, updating, removal)

    assert ended(full_shared, updating, removal) == [None, "STALE_VALUE"]
    assert full_shared.one("SELECT version FROM overlays WHERE id = 'raced'") == "2.0.0"


def test_two_proposals_at_once_do_not_register_one_key_twice(full_house):
    """INV-34: a feature and a parameter, under two names; the house goes on."""
    taken = extension("parameter", "feature.lanterns", **PARAMETER.payload["declaration"])
    feature, parameter = both_queued(full_house, ("carl", SWITCH.given), ("cleo", taken.given))

    executed_at_once(full_house, feature, parameter)

    assert ended(full_house, feature, parameter) == [None, "EXTENSION_EXISTS"]
    names = "SELECT name FROM extensions WHERE name LIKE '%%lanterns'"
    assert full_house.sql(names) == [("lanterns",)]
    full_house.propose()


@pytest.mark.parametrize("removed_first", [False, True])
def test_a_key_is_not_set_and_taken_out_at_once(full_shared, removed_first):
    """INV-32, INV-34: no value is left of a key that is not there."""
    key = f"tint_{removed_first}".lower()
    added = done(
        full_shared, **extension("parameter", key, **PARAMETER.payload["declaration"]).given
    )
    setter, removal = both_queued(full_shared, ("tara", to(key, 3)), ("carl", rollback_of(added)))

    if removed_first:
        executed_at_once(full_shared, removal, setter)
        assert ended(full_shared, setter, removal) == ["UNKNOWN_CAPABILITY", None]
    else:
        executed_at_once(full_shared, setter, removal)
        assert ended(full_shared, setter, removal) == [None, "STALE_VALUE"]

    values = full_shared.sql("SELECT key FROM setting_values WHERE key = %s", key)
    assert values == ([] if removed_first else [(key,)])
    assert full_shared.sql("SELECT name FROM extensions WHERE name = %s", key) == values


def test_an_id_like_a_part_of_another_thing_is_a_thing_of_its_own(full_shared):
    """INV-36: the aspect is named before the id, which may hold any character."""
    registration, update, _, _ = overlay("scout")
    play(full_shared, registration)
    updated = play(full_shared, update)
    for name in ("scout:version", ".version:scout"):
        play(full_shared, overlay(name)[0])

    rollback = undo(full_shared, updated, "stan")

    assert ended(full_shared, rollback) == [None]
    assert full_shared.one("SELECT version FROM overlays WHERE id = 'scout'") == "1.0.0"
    query = "SELECT DISTINCT target FROM effects WHERE target LIKE '%%scout%%'"
    targets = [target for (target,) in full_shared.sql(query)]
    assert len(targets) == 4
    assert len({Target.parse(target).lock for target in targets}) == 3
    assert [str(Target.parse(target)) for target in targets] == targets


# Who decides


def test_a_proposer_chooses_no_electorate_for_what_changes_something(full_shared):
    """INV-41: whoever chooses the voters chooses the outcome; governance allows it by type."""
    puppets = [f"puppet{number}" for number in range(5)]
    full_shared.do("members.admit", "cora", members=[{"id": id_} for id_ in puppets], source="s")
    roll = [[puppet, "1"] for puppet in puppets]
    given = {"electorate": "mine", "roll": roll, "last": True, "source": "s"}
    full_shared.do("members.import_electorate", "cora", **given)
    emergency = {"action": "adjust", "key": "difficulty", "new_value": 6}
    for type_, payload in (
        ("emergency", emergency),
        ("trust_adjustment", level("cleo", "CORE", "QUARANTINE").payload),
        ("treasury_allocation", {"recipient": "cora", "amount": "1"}),
    ):
        answer = tried(full_shared, "cora", type=type_, payload=payload, electorate="mine")
        assert (answer.state, answer.code) == ("refused", "ELECTORATE_NOT_ALLOWED")
    allocation = {"type": "treasury_allocation", "payload": {"recipient": "guild", "amount": "1"}}

    allowed = done(
        full_shared, **setting("electorate.treasury_allocation", True, "governance_rule").given
    )
    full_shared.open("cora", electorate="mine", **allocation)
    draft = full_shared.propose("cora", electorate="mine", **allocation)
    undo(full_shared, allowed)

    answer = full_shared.command("proposals.activate", "cora", {"proposal_id": draft})
    assert (answer.state, answer.code) == ("refused", "ELECTORATE_NOT_ALLOWED")
    full_shared.open("cora", electorate="mine")  # a policy is a text and changes nothing


def quarantine(house: House, member: str) -> None:
    given = {"kind": "quarantine", "subject": member, "reason": "a stolen key"}
    joint = house.do("joint.propose", "gus", **given)["joint_id"]
    house.do("joint.confirm", "gail", joint_id=joint)


def test_who_lost_their_standing_completes_no_gate(full_house):
    """INV-20, INV-27: what counts is who may still review or sign when the gates are complete."""
    proposal = full_house.approved(**setting("difficulty", 5).given)
    full_house.sign_all(proposal)
    for member in ("rae", "ray", "rex", "ria"):
        full_house.review(proposal, member)
    quarantine(full_house, "rae")
    quarantine(full_house, "ray")

    for member in ("rob", "ron"):
        assert full_house.review(proposal, member)["missing"] == "INSUFFICIENT_REVIEWERS"
    # Nine of those who voted for it may still sign, so it takes five; two who signed may not.
    assert full_house.review(proposal, "roy")["missing"] == "IMPLEMENTATION_NOT_APPROVED"
    full_house.do("enforcement.sign_off", "rue", proposal_id=proposal)
    assert full_house.status(proposal) == "queued"

    quarantine(full_house, "rex")
    full_house.ripen(proposal)
    assert full_house.status(proposal) == "executed"  # what was complete is complete


def test_a_draft_is_open_for_as_long_as_the_rule_has_come_to_ask(full_shared):
    """INV-17: the least length counts at opening, and not only when the draft was made."""
    draft = full_shared.propose(voting_hours=1)
    done(full_shared, **setting("track.routine.voting_hours_least", 72, "governance_rule").given)

    full_shared.do("proposals.activate", "tara", proposal_id=draft)

    assert full_shared.column(draft, "closes_at - opened_at") == 72 * HOUR
    assert full_shared.column(draft, "terms")["voting_hours"] == 72


def test_a_restriction_undoes_no_decision_of_two(full_house):
    """INV-42: an operator alone delays commands; the seat is filled all the same."""
    given = {"kind": "core_seat", "subject": "tara", "reason": "her turn"}
    joint = full_house.do("joint.propose", "carl", **given)["joint_id"]
    full_house.do("joint.confirm", "cleo", joint_id=joint)
    full_house.advance(days=7)
    given = {"member_id": "carl", "seconds": 3_600, "reason": "a hunch"}
    full_house.do("members.restrict", "otto", **given)

    full_house.settle()

    assert full_house.sql("SELECT status, failure FROM joint_actions") == [("done", None)]
    assert full_house.one("SELECT level FROM members WHERE id = 'tara'") == "CORE"


def test_a_delegation_for_a_type_that_is_no_more_can_be_revoked(full_shared):
    """INV-26: nobody is bound by an edge that cannot be ended."""
    added = play(full_shared, GRANT)
    full_shared.do("members.delegate", "tara", delegate="gus", scope="grant_award")
    undo(full_shared, added)

    full_shared.do("members.revoke_delegation", "tara", scope="grant_award")
    full_shared.do("members.delegate", "gus", delegate="tara")

    edges = "SELECT delegator, scope FROM delegations WHERE until_version IS NULL"
    assert full_shared.sql(edges) == [("gus", "*")]
    full_shared.do("members.revoke_delegation", "gus")


# What is refused before anything is written


@pytest.mark.parametrize("id_", ["system", "genesis", "rule:execution", "issuer:forum"])
def test_no_member_has_a_name_of_the_house_itself(full_shared, id_):
    """INV-44: an actor of the ledger's own is nobody's disguise."""
    given = {"members": [{"id": "honest"}, {"id": id_}], "source": "s"}
    answer = full_shared.command("members.admit", "cora", given)
    assert (answer.state, answer.code) == ("refused", "ID_RESERVED")
    assert full_shared.sql("SELECT FROM members WHERE id IN ('honest', %s)", id_) == []


@pytest.mark.parametrize("value", [[], {}, ["p-1"], {"id": "p-1"}, 1, True])
def test_a_predecessor_of_a_wrong_type_is_refused_and_not_tried_again(full_shared, value):
    """INV-31: one bad command keeps no other from being answered."""
    bad = full_shared.submit_id("proposals.create", "tara", {**FORM, "predecessor": value})
    good = full_shared.submit_id("proposals.create", "tara", FORM)

    full_shared.perform("proposals.create")

    assert (full_shared.answer(bad).state, full_shared.answer(bad).code) == (
        "refused",
        "ID_INVALID",
    )
    assert full_shared.answer(good).state == "done"


FORM = {"title": "A title", "description": "What for.", **NEVER}


def test_holdings_have_no_more_digits_than_a_roll_can_weigh(full_shared):
    """INV-12, INV-31: what is reported can be weighed exactly, so that opening never fails."""

    def reported(amount: str) -> Any:
        holdings = [["tara", amount, "0", "0", "0"], ["gus", "5", "0", "0", amount]]
        given = {"source": "bank", "holdings": holdings}
        return full_shared.command("members.report_holdings", "cora", given)

    for amount in ("0." + 40 * "0" + "1", "1" + 40 * "0", "1e40", "1e-41"):
        assert reported(amount).code == "NUMBER_INVALID"
    for amount in ("0." + 39 * "0" + "1", 40 * "9"):
        assert reported(amount).state == "done"
        proposal = full_shared.open(electorate="balance:bank")
        assert full_shared.vote(proposal, "tara", "for").code is None


def test_a_payload_has_at_most_100_000_bytes_in_all_its_actions(full_shared):
    """INV-31: one command holds up no worker with megabytes."""

    def registering(count: int) -> Any:
        actions = [
            {"overlay": f"o{number}", "name": "n", "version": "1.0.0", "description": "d" * 9_000}
            for number in range(count)
        ]
        payload = {"actions": actions}
        return tried(full_shared, "stan", type="overlay_registration", payload=payload)

    assert registering(10).state == "done"
    assert registering(12).code == "PAYLOAD_TOO_LARGE"


# What a platform may declare


class Aliased(BaseModel):
    size: int = Field(alias="maxSize")


class Drifting(BaseModel):
    """Written under one name and read under another."""

    size: int = Field(1, serialization_alias="maxSize")


class Note(BaseModel):
    text: str = "x"


def document(key: str, model: type[BaseModel], default: object) -> Capability:
    return platform_key(key, type=None, least=None, most=None, model=model, default=default)


def test_a_document_with_aliases_is_executed_as_it_was_proposed(platform):
    """INV-33: in the same words when it is read again."""
    platform.use(catalogue_with(document("platform.sized", Aliased, {"maxSize": 1})))
    proposal = platform.executed(**to("platform.sized", {"maxSize": 5}))
    (effect,) = effects(platform, proposal)
    assert effect["after"] == {"maxSize": 5}
    with pytest.raises(ValueError, match="default"):
        document("platform.drifting", Drifting, {"size": 2})


def test_a_document_that_was_set_can_be_changed_again(platform):
    """INV-36: a proposal carries the value before and the new one, both at their largest."""
    key = "platform.note"
    platform.use(catalogue_with(document(key, Note, Note())))
    most = DOCUMENT_MOST - len('{"text": ""}')
    too_large = tried(platform, "tara", **to(key, {"text": "a" * (most + 1)}))
    assert too_large.code == "VALUE_TOO_LARGE"
    for letter in "ab":
        proposal = platform.executed(**to(key, {"text": letter * most}))
        assert platform.status(proposal) == "executed"
    assert ended(platform, platform.executed(**rollback_of(proposal))) == [None]


@pytest.mark.parametrize("bounds", [{"most": 2**53}, {"least": -(2**53)}])
def test_a_whole_number_has_no_bounds_that_json_does_not_carry(bounds):
    """INV-33: what cannot be proposed as it stands is not declared."""
    assert platform_key(least=1 - 2**53, most=2**53 - 1).check(2**53 - 1) == 2**53 - 1
    with pytest.raises(ValueError, match=r"2\^53 - 1"):
        platform_key(**bounds)


def test_code_that_comes_to_declare_what_governance_added_stops_nothing(platform):
    """INV-31: the code's declaration stands."""
    done(platform, **PARAMETER.given)
    platform.use(catalogue_with(platform_key("colour", most=99)))
    proposal = done(platform, "tara", **to("colour", 50))
    assert [effect["after"] for effect in effects(platform, proposal)] == [50]


# Execution


def test_what_is_executed_has_the_hash_that_the_ledger_has(full_shared):
    """INV-33: a payload that was changed together with the hash beside it fails."""
    proposal = queued(full_shared, "tara", **setting("rate_limit.CORE", 5).given)
    payload = b'{"key":"rate_limit.CORE","new_value":7}'
    with full_shared.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE proposals SET payload = %s, payload_hash = %s WHERE id = %s",
            (payload, hashlib.sha256(payload).digest(), proposal),
        )

    full_shared.ripen(proposal)

    assert ended(full_shared, proposal) == ["PAYLOAD_HASH_MISMATCH"]
    assert effects(full_shared, proposal) == []


def test_a_flood_of_attempts_is_no_flood_of_entries(full_shared):
    """INV-46: each reason is recorded once for a proposal and whoever tried."""
    proposal = queued(full_shared, **setting("difficulty", 5).given)
    for actor in ("mallory", "mallory", "trudy", "mallory"):
        assert send(full_shared, proposal, actor) == ("refused", "TIMELOCK_ACTIVE")
    full_shared.ripen(proposal)
    assert full_shared.status(proposal) == "executed"
    for _ in range(2):
        assert send(full_shared, proposal) == ("refused", "ALREADY_EXECUTED")

    attempts = full_shared.entries("execution.refused")
    found = [(a["data"]["by"], a["data"]["code"]) for a in attempts if a["subject"] == proposal]
    assert found == [
        ("mallory", "TIMELOCK_ACTIVE"),
        ("trudy", "TIMELOCK_ACTIVE"),
        ("mallory", "ALREADY_EXECUTED"),
    ]


def test_glass_is_broken_for_the_windows_in_force_and_for_no_later_one(full_house):
    """INV-37: two guardians let a proposal through what they saw."""

    def freeze(begins: datetime, ends: datetime) -> None:
        given = {"from": rfc3339(begins), "until": rfc3339(ends), "reason": "a flaw"}
        full_house.do("enforcement.freeze", "gus", **given)

    def break_glass() -> Any:
        given = {"kind": "break_glass", "subject": proposal, "reason": "it is urgent"}
        joint = full_house.do("joint.propose", "gus", **given)["joint_id"]
        answer = full_house.command("joint.confirm", "gail", {"joint_id": joint})
        if answer.state == "refused":
            full_house.do("joint.cancel", "gus", joint_id=joint, reason="not now")
        return answer

    proposal = queued(full_house, **setting("difficulty", 5).given)
    eta = full_house.column(proposal, "eta")
    freeze(eta + HOUR, eta + 2 * DAY)
    assert break_glass().code == "NOT_HELD"

    full_house.advance_to(eta - HOUR)
    freeze(eta - HOUR / 2, eta + HOUR / 2)
    full_house.advance_to(eta - HOUR / 4)
    assert break_glass().state == "done"
    full_house.advance_to(eta + HOUR)
    assert send(full_house, proposal) == ("refused", "EXECUTION_HELD")

    assert break_glass().state == "done"
    assert send(full_house, proposal) == ("done", None)


def test_a_pause_that_lengthens_nothing_is_no_change(full_house):
    """INV-34: what is shown as its effect is what stands."""
    longer = carried(full_house, type="emergency", payload={"action": "pause", "hours": 168})
    shorter = carried(full_house, type="emergency", payload={"action": "pause", "hours": 1})
    assert ended(full_house, longer, shorter) == [None, "NO_CHANGE"]
    assert full_house.sql("SELECT proposal_id FROM execution_windows") == [(longer,)]


def test_what_was_switched_meanwhile_is_stale_for_the_later(full_shared):
    """INV-34: features and roles name no value before, and are expected the other way."""
    switch = {"feature": "smart_contracts", "enabled": True}
    role = {"member": "stan", "role": "operator", "holds": True}
    for type_, payload in (("feature_activation", switch), ("role_change", role)):
        given = {"type": type_, "payload": payload}
        first, later = both_queued(full_shared, ("carl", given), ("cleo", given))
        for proposal in (first, later):
            send(full_shared, proposal)
        assert ended(full_shared, first, later) == [None, "STALE_VALUE"]
        assert tried(full_shared, "carl", **given).code == "NO_CHANGE"


def test_all_hooks_of_an_execution_share_their_time(platform, monkeypatch):
    """INV-31: a lease outlasts it, so that nothing beside it in the claim is lost."""
    monkeypatch.setattr("forge_core.enforcement.execution.HOOK_SECONDS", 0.5)
    keys = [f"platform.slow{number}" for number in range(4)]
    begun: list[str] = []

    def take_a_third(change: Change) -> None:
        begun.append(change.key)
        time.sleep(0.17)

    platform.use(catalogue_with(*(platform_key(key, apply=take_a_third) for key in keys)))
    actions = [{"key": key, "new_value": 9} for key in keys]
    slow = platform.open(type="configuration", payload={"actions": actions})
    beside = platform.open()
    for proposal in (slow, beside):
        platform.approve(proposal)
    platform.close_now()

    platform.perform("enforcement.execute")

    assert ended(platform, slow, beside) == ["HANDLER_FAILED", None]
    assert reason(platform, slow).startswith("HookTimeout")
    assert len(begun) > 1  # one alone had time enough
    assert effects(platform, slow) == []


# Rollbacks


def test_what_came_after_has_to_be_undone_before_its_thing_is_taken_out(full_shared):
    """INV-36: no thing of the same name inherits effects of the one before it."""
    registration, _, up, down = overlay("again")
    before = standing(full_shared)
    registered = play(full_shared, registration)
    later = [play(full_shared, case) for case in (up, down)]

    assert ended(full_shared, undo(full_shared, registered, "stan")) == ["STALE_VALUE"]
    for proposal in (*reversed(later), registered):
        assert ended(full_shared, undo(full_shared, proposal)) == [None]
    assert standing(full_shared) == before

    second = play(full_shared, registration)
    for proposal in later:
        assert tried(full_shared, "tara", **rollback_of(proposal)).code == "ALREADY_ROLLED_BACK"
    assert ended(full_shared, undo(full_shared, second, "stan")) == [None]


def test_bounds_that_became_narrower_keep_nobody_from_going_back(platform):
    """INV-36, INV-39: the value that goes may be out of bounds now, the one before it not."""
    platform.use(catalogue_with(platform_key("platform.bound")))
    proposal = platform.executed(**to("platform.bound", 80))
    platform.use(catalogue_with(platform_key("platform.bound", most=50)))

    assert warned(platform, "tara", **rollback_of(proposal)) is None
    rollback = platform.executed(**rollback_of(proposal))

    assert ended(platform, rollback) == [None]
    assert platform.sql("SELECT FROM setting_values WHERE key = 'platform.bound'") == []


def test_a_module_is_undone_together_with_the_parameter_that_came_with_it(full_shared):
    """INV-30, INV-36: what one proposal brought is not in its own way."""
    module = extension(
        "module", "journal", version="1.0.0", owner="cora", governs="It.", rollback="By hand."
    )
    declaration = {**PARAMETER.payload["declaration"], "module": "journal"}
    parameter = {"kind": "parameter", "name": "pages", "declaration": declaration}
    payload = {"actions": [module.payload, parameter]}
    proposal = done(full_shared, type="registry_extension", payload=payload)

    assert ended(full_shared, undo(full_shared, proposal)) == [None]
    assert full_shared.sql("SELECT FROM extensions WHERE name = 'pages'") == []
    assert full_shared.sql("SELECT FROM modules WHERE name = 'journal'") == []


def test_what_was_decided_and_undone_about_fiat_unlock_is_not_unlocked_by_the_date(empty_house):
    """INV-36: the automatic date is for a house that has never decided."""
    house, key = empty_house, "feature.fiat_unlock"
    found_house(house, FULL_FOUNDERS, starts_at=datetime(2026, 3, 20, tzinfo=UTC))
    switch = {"feature": "fiat_unlock", "enabled": True}
    unlocked = done(house, type="feature_activation", payload=switch)
    house.advance_to(datetime(2026, 11, 2, tzinfo=UTC))
    assert ended(house, undo(house, unlocked)) == [None]

    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor)"
        " VALUES ('features.unlock', 'forced', true, '{}', 'mallory')"
    )
    house.settle()

    assert house.one("SELECT state FROM jobs WHERE key = 'forced'") == "done"
    assert house.one("SELECT count(*) FROM jobs WHERE kind = 'features.unlock'") == 1
    assert house.sql("SELECT value FROM setting_values WHERE key = %s", key) == []


# Effects outside the database


def given_up(house: House, key: str, deliver: Callable[[Delivery], None]) -> str:
    """An executed proposal whose effect could not be brought about; the effect's key."""
    house.use(catalogue_with(platform_key(key, deliver=deliver)))
    proposal = house.executed(**to(key, 10))
    assert house.deliver() == 1
    assert house.sql("SELECT state FROM outbox WHERE proposal_id = %s", proposal) == [("dead",)]
    return f"{proposal}/0/apply"


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge_core.enforcement.outbox.ATTEMPTS_MOST", 1)


@pytest.mark.usefixtures("one_attempt")
def test_what_a_delivery_says_of_its_failure_is_in_the_ledger_as_a_commitment(platform):
    """INV-44: it may name a person or a password, and can be erased."""

    def deliver(_delivery: Delivery) -> None:
        raise ConnectionError("POST https://bank.example/?token=SECRET for Jane Doe")

    effect = given_up(platform, "platform.bank", deliver)

    (said,) = [
        entry["data"]["message"]
        for entry in platform.entries("effect.undeliverable")
        if entry["data"]["effect"] == effect
    ]
    assert "SECRET" not in json.dumps(platform.entries())
    assert "SECRET" in platform.one("SELECT body FROM texts WHERE commitment = %s", said)
    platform.do("ledger.erase_text", "cora", commitment=said, reason="a password")
    assert platform.sql("SELECT FROM texts WHERE body LIKE '%%SECRET%%'") == []


@pytest.mark.usefixtures("one_attempt")
def test_a_revived_effect_does_not_overtake_one_that_is_under_way(platform):
    """INV-29: the other side ends at the latest value."""
    seen: list[object] = []

    def deliver(delivery: Delivery) -> None:
        if delivery.after == 10:
            raise ConnectionError("down")
        seen.append(delivery.after)
        with transaction(platform.app) as session, pytest.raises(Refused, match="EFFECT_NOT_DEAD"):
            revive(session, dead)
        assert not deliver_next(platform.app, platform.catalogue)

    dead = given_up(platform, "platform.valve", deliver)
    platform.executed(**to("platform.valve", 20))

    assert platform.deliver() == 1
    assert seen == [20]
    states = "SELECT state FROM outbox WHERE capability = 'platform.valve' ORDER BY created_at"
    assert platform.sql(states) == [("dead",), ("delivered",)]


@pytest.mark.usefixtures("one_attempt")
def test_a_revived_effect_goes_before_a_later_one_that_waits(platform):
    """INV-29: in the order of the ledger."""
    seen: list[object] = []
    broken = [True]

    def deliver(delivery: Delivery) -> None:
        if broken:
            broken.clear()
            raise ConnectionError("down")
        seen.append(delivery.after)

    dead = given_up(platform, "platform.gate", deliver)
    platform.executed(**to("platform.gate", 20))
    with transaction(platform.app) as session:
        revive(session, dead)

    assert platform.deliver() == 2
    assert seen == [10, 20]


@pytest.mark.usefixtures("one_attempt")
def test_an_effect_is_not_revived_past_a_later_one_that_may_have_got_through(platform):
    """INV-29: who gave up on the later one does not know whether the other side had it."""

    def deliver(delivery: Delivery) -> None:
        raise ConnectionError(f"down, or up with {delivery.after}")

    earlier = given_up(platform, "platform.lock", deliver)
    later = platform.executed(**to("platform.lock", 20))
    assert platform.deliver() == 1

    with transaction(platform.app) as session, pytest.raises(Refused, match="EFFECT_NOT_DEAD"):
        revive(session, earlier)
    with transaction(platform.app) as session:
        revive(session, f"{later}/0/apply")


# Gates that become complete by somebody's loss of standing


def jointly_quarantined(house: House, member: str) -> None:
    given = {"kind": "quarantine", "subject": member, "reason": "two of us think so"}
    joint = house.do("joint.propose", "gus", **given)["joint_id"]
    house.do("joint.confirm", "gail", joint_id=joint)
    house.settle()
    assert house.one("SELECT level FROM members WHERE id = %s", member) == "QUARANTINE"


def test_gates_that_a_quarantine_completes_queue_the_proposal(full_house):
    """INV-05: nobody has to say anything more for it to go on."""
    proposal = full_house.approved(**to("block_reward", "6"))
    full_house.review_all(proposal)
    signers = ["cora", "gus", "tara", "rae", "ray"]
    for member in signers:
        full_house.do("enforcement.sign_off", member, proposal_id=proposal)
    assert full_house.status(proposal) == "approved"

    for member in ("roy", "ron"):
        jointly_quarantined(full_house, member)
    full_house.settle()

    assert full_house.status(proposal) == "queued"


def test_gates_that_a_lost_role_completes_queue_the_proposal(full_house):
    proposal = full_house.approved(**to("block_reward", "6"))
    full_house.sign_all(proposal)
    for member in ("rob", "ron", "roy", "rae", "ray", "rex", "ria"):
        full_house.review(proposal, member, approves=member not in ("rob", "ron", "roy"))
    assert full_house.status(proposal) == "approved"

    taken = [{"member": m, "role": "reviewer", "holds": False} for m in ("ron", "roy")]
    done(full_house, type="role_change", payload={"actions": taken})
    full_house.settle()

    assert full_house.status(proposal) == "queued"


# Names that are those of something else


MODULE = {"version": "1.0.0", "owner": "bob", "governs": "The beds.", "rollback": "Dig it up."}


def added(kind: str, name: str, declaration: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "name": name, "declaration": declaration}


def test_a_module_of_the_same_name_excuses_no_user_of_a_source(full_house):
    actions = [added("source", "bank", {"description": "Says."}), added("module", "bank", MODULE)]
    both = done(full_house, type="registry_extension", payload={"actions": actions})
    full_house.do("members.report_holdings", "cora", source="bank",
                  holdings=[["tara", "1", "0", "0", "0"]])  # fmt: skip

    undone = undo(full_house, both)

    assert full_house.status(undone) == "failed"
    assert full_house.column(undone, "failure") == "EXTENSION_IN_USE"


def test_a_module_named_as_a_parameter_excuses_no_parameter_of_another_module(full_house):
    actions = [added("module", "m", MODULE), added("module", "rows", MODULE)]
    both = done(full_house, type="registry_extension", payload={"actions": actions})
    rows = {**PARAMETER.payload["declaration"], "module": "m"}
    done(full_house, type="registry_extension", payload=added("parameter", "rows", rows))

    undone = undo(full_house, both)

    assert full_house.column(undone, "failure") == "EXTENSION_IN_USE"


# Hooks that end what they run in


@pytest.mark.parametrize(
    "end",
    [
        lambda session: session.execute(text("COMMIT")),
        lambda session: session.execute(text("  /* now */ rollback")),
        lambda session: session.execute(text("SELECT 1; -- and\n commit")),
        lambda session: session.execute(text("END")),
        lambda session: session.execute(text("ROLLBACK TO SAVEPOINT sa_savepoint_1")),
        lambda session: session.get_nested_transaction().commit(),
        lambda session: session.get_transaction().commit(),
        lambda session: session.connection().get_transaction().commit(),
    ],
    ids=["commit", "rollback", "second statement", "end", "savepoint", "nested", "outer", "below"],
)
def test_a_hook_that_ends_its_transaction_fails_and_leaves_nothing(full_house, end):
    """INV-31: neither its value nor a ledger that does not fold."""
    key = platform_key(apply=lambda change: end(change.session))
    full_house.use(catalogue_with(key))

    proposal = carried(full_house, "tara", **to(key.key, 7))
    while full_house.status(proposal) == "queued":  # what it did to the session costs the attempt
        due_again(full_house)
        full_house.settle()

    assert full_house.column(proposal, "failure") in ("HANDLER_FAILED", "ATTEMPTS_USED_UP")
    assert full_house.sql("SELECT key FROM setting_values WHERE key = %s", key.key) == []
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


def test_a_hook_may_have_savepoints_of_its_own(full_house):
    def apply(change: Change) -> None:
        with change.session.begin_nested() as inner:
            change.session.execute(text("SELECT 1"))
            inner.rollback()
        with change.session.begin_nested():
            change.session.execute(text("SELECT 'commit; rollback'"))

    key = platform_key(apply=apply)
    full_house.use(catalogue_with(key))

    assert full_house.status(carried(full_house, "tara", **to(key.key, 7))) == "executed"


# What a preview says


def test_a_preview_says_that_the_track_is_another_one_now(full_house):
    """What is executed fails with that, so the queue says it before."""
    key = platform_key()
    full_house.use(catalogue_with(key))
    proposal = full_house.open("tara", **to(key.key, 7))
    full_house.approve(proposal)
    full_house.use(catalogue_with(platform_key(klass=CapabilityClass.PROTOCOL)))

    with transaction(full_house.app) as session:
        shown = simulate_proposal(session, full_house.catalogue, proposal)
    assert shown["problem"]["code"] == "TRACK_CHANGED"


# Locks of another meaning


def test_what_is_declared_while_an_execution_waits_is_executed_with_its_locks(full_house):
    """INV-32: two proposals on a key that comes back do not both find the value before."""
    house = full_house
    colour = {**PARAMETER.payload["declaration"], "klass": "protocol"}
    first = done(house, type="registry_extension", payload=added("parameter", "colour", colour))
    proposal = queued(house, "tara", **to("colour", 2))
    undo(house, first)

    locked, go = threading.Event(), threading.Event()

    def hold_row() -> None:
        with transaction(house.app) as session:
            session.execute(
                text("SELECT FROM proposals WHERE id = :id FOR UPDATE"), {"id": proposal}
            )
            locked.set()
            assert go.wait(30)

    again = queued(house, type="registry_extension", payload=added("parameter", "colour", colour))
    house.advance_to(house.column(again, "eta"))
    holder = threading.Thread(target=hold_row)
    holder.start()
    assert locked.wait(30)
    caught: list[BaseException] = []

    def execute_late() -> None:
        try:
            with transaction(house.app) as session:
                hold(session, proposal, CATALOGUE)
        except BaseException as error:  # noqa: BLE001  # what it is, is what is tested
            caught.append(error)

    late = threading.Thread(target=execute_late)
    late.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    until(lambda: house.one(waiting) == 1, 30)
    assert send(house, again) == ("done", None)
    go.set()
    for thread in (holder, late):
        thread.join()

    assert [type(error) for error in caught] == [Overtaken]
