"""Who may do what: two people together, roles and levels, admissions, and the rules' own bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from forge_core.members.genesis import Founder
from forge_core.members.levels import Role, TrustLevel
from tests.conftest import TEMPLATE, TestServers
from tests.core.conftest import _house
from tests.core.factories import House, found_house
from tests.core.full_house import (
    CASES,
    SOURCE,
    carried,
    clock_stopped,
    done,
    full_production,
    level,
    now_rows,
    play,
    queued,
    setting,
    tried,
    undo,
    warned,
)

MICROSECOND = timedelta(microseconds=1)


def begin(house: House, kind: str, subject: str, actor: str) -> str:
    """The first of two."""
    given = {"kind": kind, "subject": subject, "reason": "seen by many"}
    return str(house.do("joint.propose", actor, **given)["joint_id"])


def begun(house: House, kind: str, subject: str, actor: str, /, **changes: object) -> str | None:
    """The code with which the first is refused."""
    given = {"kind": kind, "subject": subject, "reason": "seen by many"} | changes
    return house.command("joint.propose", actor, given).code


def confirm(house: House, joint: object, actor: str) -> str | None:
    """The code with which the second is refused."""
    return house.command("joint.confirm", actor, {"joint_id": joint}).code


def cancel(house: House, joint: object, actor: str) -> str | None:
    given = {"joint_id": joint, "reason": "a misunderstanding"}
    return house.command("joint.cancel", actor, given).code


def status(house: House, joint: str) -> str:
    return str(house.one("SELECT status FROM joint_actions WHERE id = %s", joint))


def level_of(house: House, member: str) -> str:
    return str(house.one("SELECT level FROM members WHERE id = %s", member))


def holds_true(house: House) -> None:
    """INV-44: the ledger tells it all again."""
    rows = house.derived_rows()
    house.refold()
    assert house.derived_rows() == rows


# The level QUARANTINE


def test_two_guardians_quarantine_a_member_at_once(full_house):
    """INV-20: no new command of theirs is heard; a ballot they have cast is set aside."""
    proposal = full_house.open("carl", **setting("rate_limit.CORE", 7).given)
    for member, choice in (("stan", "against"), ("cora", "for"), ("carl", "for"), ("gus", "for")):
        full_house.vote(proposal, member, choice)
    full_house.vote(proposal, "cleo", "for")

    joint = begin(full_house, "quarantine", "stan", "gus")
    assert level_of(full_house, "stan") == "STANDARD"
    assert confirm(full_house, joint, "gail") is None

    assert level_of(full_house, "stan") == "QUARANTINE"
    assert status(full_house, joint) == "done"
    assert tried(full_house, "stan", **CASES["an overlay"].given).code == "MEMBER_QUARANTINED"
    assert full_house.vote(proposal, "stan", "for").code == "MEMBER_QUARANTINED"
    full_house.end_voting(proposal)
    decision = full_house.column(proposal, "decision")
    assert [ballot["member"] for ballot in decision["set_aside"]["ballots"]] == ["stan"]
    assert decision["totals"]["eligible"] == "52.5"  # the quorum base stays
    changed = full_house.entries("member.level_changed")[-1]
    assert (changed["actor"], changed["data"]["cause"]) == ("gail", f"joint action {joint}")
    holds_true(full_house)


def test_the_second_is_another_person_with_the_power_as_well(full_house):
    joint = begin(full_house, "quarantine", "stan", "gus")
    before = now_rows(full_house)

    assert confirm(full_house, joint, "gus") == "SECOND_PERSON"
    for member in ("carl", "cora", "otto", "tara"):
        assert confirm(full_house, joint, member) == "POWER_MISSING"
    assert confirm(full_house, joint, "nobody") == "MEMBER_UNKNOWN"
    assert now_rows(full_house) == before
    assert confirm(full_house, joint, "gail") is None


@pytest.mark.parametrize("how", ["role taken", "quarantined"])
def test_the_first_has_to_have_the_power_still_when_the_second_confirms(full_house, how):
    """Two guardians together, and not one and a former one."""
    if how == "role taken":
        taking = queued(full_house, **CASES["a role taken"].given)
        full_house.advance_to(full_house.column(taking, "eta") - timedelta(hours=1))
        joint = begin(full_house, "quarantine", "stan", "gail")
        full_house.ripen(taking)
        expected = "POWER_MISSING"
    else:
        down = {"member": "gail", "current_trust": "TRUSTED", "new_trust": "QUARANTINE"}
        lowering = full_house.open("tara", type="trust_adjustment", payload=down)
        full_house.approve(lowering)
        full_house.advance_to(full_house.column(lowering, "closes_at") - timedelta(hours=1))
        joint = begin(full_house, "quarantine", "stan", "gail")
        full_house.advance(hours=2)
        full_house.settle()
        expected = "MEMBER_QUARANTINED"

    assert confirm(full_house, joint, "gus") == expected
    assert level_of(full_house, "stan") == "STANDARD"


@pytest.mark.parametrize(
    ("subject", "actor", "changes", "code"),
    [
        ("stan", "carl", {}, "POWER_MISSING"),
        ("stan", "otto", {}, "POWER_MISSING"),
        ("stan", "nobody", {}, "MEMBER_UNKNOWN"),
        ("gus", "gus", {}, "OWN_RAISE"),
        ("nobody", "gus", {}, "MEMBER_UNKNOWN"),
        ("", "gus", {}, "ID_INVALID"),
        ("stan", "gus", {"reason": " "}, "TEXT_BLANK"),
        ("stan", "gus", {"reason": "x" * 2_001}, "TEXT_TOO_LONG"),
        ("stan", "gus", {"kind": "banish"}, "JOINT_UNKNOWN"),
        ("stan", "gus", {"kind": ["quarantine"]}, "JOINT_UNKNOWN"),
        ("tara", "gus", {"kind": "core_seat"}, "POWER_MISSING"),
        ("cleo", "carl", {"kind": "core_seat"}, "NO_CHANGE"),
        ("carl", "carl", {"kind": "core_seat"}, "OWN_RAISE"),
        ("nobody", "carl", {"kind": "core_seat"}, "MEMBER_UNKNOWN"),
    ],
)
def test_what_two_people_may_not_begin_is_refused(full_house, subject, actor, changes, code):
    assert begun(full_house, "quarantine", subject, actor, **changes) == code
    assert full_house.one("SELECT count(*) FROM joint_actions") == 0


def test_one_joint_action_on_one_subject_is_under_way_at_a_time(full_house):
    joint = begin(full_house, "quarantine", "stan", "gus")

    assert begun(full_house, "quarantine", "stan", "gail") == "JOINT_OPEN"
    assert begun(full_house, "core_seat", "stan", "carl") is None
    assert cancel(full_house, joint, "gail") is None
    assert begun(full_house, "quarantine", "stan", "gail") is None


@pytest.mark.parametrize(("ticks", "code"), [(-1, None), (0, "JOINT_LAPSED"), (1, "JOINT_LAPSED")])
@pytest.mark.parametrize(
    ("kind", "first", "second", "lasting"),
    [
        ("quarantine", "gus", "gail", timedelta(hours=24)),
        ("core_seat", "carl", "cleo", timedelta(days=7)),
    ],
)
def test_what_is_not_confirmed_in_time_lapses(
    full_house, kind, first, second, lasting, ticks, code
):
    """INV-06."""
    joint = begin(full_house, kind, "stan", first)
    begun_at = full_house.one("SELECT proposed_at FROM joint_actions")

    with clock_stopped(full_house, begun_at + lasting + ticks * MICROSECOND):
        assert confirm(full_house, joint, second) == code
        full_house.settle()

    expected = {"quarantine": "done", "core_seat": "confirmed"}[kind] if code is None else "lapsed"
    assert status(full_house, joint) == expected
    if code is not None:
        assert confirm(full_house, joint, second) == "JOINT_STATUS"
        assert begun(full_house, kind, "stan", first) is None


def test_a_joint_action_is_cancelled_before_it_is_done(full_house):
    joint = begin(full_house, "quarantine", "stan", "gus")

    assert cancel(full_house, joint, "carl") == "POWER_MISSING"
    assert cancel(full_house, joint, "gail") is None
    assert status(full_house, joint) == "cancelled"
    assert confirm(full_house, joint, "gail") == "JOINT_STATUS"
    assert cancel(full_house, joint, "gail") == "JOINT_STATUS"
    assert level_of(full_house, "stan") == "STANDARD"
    holds_true(full_house)


@pytest.mark.parametrize("joint", ["j-none", 5, None, ["j"]])
def test_a_joint_action_has_to_be_there(full_house, joint):
    assert confirm(full_house, joint, "gail") == "JOINT_UNKNOWN"
    assert cancel(full_house, joint, "gail") == "JOINT_UNKNOWN"


def test_a_member_is_quarantined_once_and_comes_back_by_a_vote(full_house):
    joint = begin(full_house, "quarantine", "stan", "gus")
    assert confirm(full_house, joint, "gail") is None
    assert begun(full_house, "quarantine", "stan", "gus") == "NO_CHANGE"

    done(full_house, **level("stan", "QUARANTINE", "SANDBOX").given)

    assert level_of(full_house, "stan") == "SANDBOX"


def test_two_guardians_cannot_brick_the_house(full_house):
    """INV-40: five of eight reviewers are left; each of them is needed."""
    actions = [
        {"member": member, "role": "reviewer", "holds": False} for member in ("rob", "ron", "roy")
    ]
    done(full_house, type="role_change", payload={"actions": actions})
    joint = begin(full_house, "quarantine", "rae", "gus")
    before = now_rows(full_house)

    assert confirm(full_house, joint, "gail") == "SELF_BRICK"
    assert now_rows(full_house) == before
    assert status(full_house, joint) == "proposed"


# A CORE seat


def test_a_core_seat_is_filled_by_two_core_members_after_seven_days(full_house):
    joint = begin(full_house, "core_seat", "tara", "carl")
    assert confirm(full_house, joint, "cleo") is None
    assert status(full_house, joint) == "confirmed"
    due = full_house.one("SELECT due_at FROM joint_actions")
    confirmed = full_house.one("SELECT confirmed_at FROM joint_actions")
    assert due - confirmed == timedelta(days=7)

    with clock_stopped(full_house, due - MICROSECOND):
        full_house.settle()
        assert level_of(full_house, "tara") == "TRUSTED"
    with clock_stopped(full_house, due):
        full_house.settle()
        full_house.settle()

    assert level_of(full_house, "tara") == "CORE"
    assert status(full_house, joint) == "done"
    assert len(full_house.entries("joint.ended")) == 1
    assert full_house.one("SELECT core FROM electorate") == 4
    holds_true(full_house)


@pytest.mark.parametrize("actor", ["cora", "carl", "cleo"])
def test_any_core_member_stops_a_seat_within_its_timelock(full_house, actor):
    joint = begin(full_house, "core_seat", "tara", "carl")
    assert confirm(full_house, joint, "cleo") is None
    assert cancel(full_house, joint, "gus") == "POWER_MISSING"

    assert cancel(full_house, joint, actor) is None
    full_house.advance(days=8)
    full_house.settle()

    assert status(full_house, joint) == "cancelled"
    assert level_of(full_house, "tara") == "TRUSTED"


def test_the_second_for_a_seat_is_core_and_another(full_house):
    joint = begin(full_house, "core_seat", "tara", "carl")

    assert confirm(full_house, joint, "carl") == "SECOND_PERSON"
    assert confirm(full_house, joint, "tara") == "POWER_MISSING"
    assert confirm(full_house, joint, "gail") == "POWER_MISSING"
    full_house.advance(days=7)
    full_house.settle()
    assert level_of(full_house, "tara") == "TRUSTED"


@pytest.mark.parametrize("who", ["tara", "carl", "cleo"])
def test_a_seat_is_not_filled_when_one_of_the_three_is_quarantined_meanwhile(full_house, who):
    joint = begin(full_house, "core_seat", "tara", "carl")
    assert confirm(full_house, joint, "cleo") is None
    quarantine = begin(full_house, "quarantine", who, "gus")
    assert confirm(full_house, quarantine, "gail") is None

    full_house.advance(days=7)
    full_house.settle()

    assert status(full_house, joint) == "failed"
    failure = full_house.one("SELECT failure FROM joint_actions WHERE id = %s", joint)
    assert failure == ("MEMBER_QUARANTINED" if who == "tara" else "POWER_MISSING")
    assert full_house.one("SELECT core FROM electorate") == (3 if who == "tara" else 2)
    holds_true(full_house)


def test_a_restriction_of_one_operator_undoes_no_seat_of_two(full_house):
    """INV-42: it delays commands, and no more."""
    joint = begin(full_house, "core_seat", "tara", "carl")
    assert confirm(full_house, joint, "cleo") is None
    full_house.do("members.restrict", "otto", member_id="carl", reason="odd", seconds=2_000_000)

    full_house.advance(days=7)
    full_house.settle()

    assert level_of(full_house, "tara") == "CORE"


# CORE by no vote, and nobody by their own


def test_core_is_never_given_by_a_vote(full_house):
    """Whoever proposes it, and for whomever."""
    for member, now in (("tara", "TRUSTED"), ("sam", "SANDBOX")):
        up = {"member": member, "current_trust": now, "new_trust": "CORE"}
        answer = tried(full_house, type="trust_adjustment", payload=up)
        assert answer.code == "CORE_NOT_GRANTED"


def test_nobody_proposes_their_own_raise_and_may_propose_their_own_fall(full_house):
    up = {"member": "tara", "current_trust": "STANDARD", "new_trust": "TRUSTED"}
    down = {"member": "tara", "current_trust": "TRUSTED", "new_trust": "STANDARD"}
    several = {"actions": [level("sam", "SANDBOX", "STANDARD").payload, up]}

    assert tried(full_house, "tara", type="trust_adjustment", payload=up).code == "OWN_RAISE"
    assert tried(full_house, "tara", type="trust_adjustment", payload=several).code == "OWN_RAISE"
    assert tried(full_house, "carl", type="trust_adjustment", payload=up).state == "done"
    done(full_house, "tara", type="trust_adjustment", payload=down)
    assert level_of(full_house, "tara") == "STANDARD"


def test_a_role_works_from_its_grant_until_it_is_taken(full_house):
    until = {"until": "2999-01-01T00:00:00Z", "reason": "x"}
    assert full_house.command("enforcement.freeze", "stan", until).code == "POWER_MISSING"

    payload = {"member": "stan", "role": "guardian", "holds": True}
    granted = done(full_house, type="role_change", payload=payload)
    assert full_house.command("enforcement.freeze", "stan", until).code == "WINDOW_INVALID"
    undo(full_house, granted)

    assert full_house.command("enforcement.freeze", "stan", until).code == "POWER_MISSING"
    kinds = [entry["kind"] for entry in full_house.entries() if entry["subject"] == "stan"]
    assert kinds[-2:] == ["member.role_granted", "member.role_withdrawn"]


def test_a_role_is_a_matter_of_the_protected_track(full_house):
    proposal = full_house.open("carl", **CASES["a role given"].given)

    assert full_house.column(proposal, "track") == "protected"
    assert full_house.column(proposal, "terms ->> 'timelock_hours'") == "336"


# The self-brick guard


def rule(**values: object) -> tuple[str, dict[str, Any]]:
    actions = [{"key": key.replace("__", "."), "new_value": new} for key, new in values.items()]
    return ("governance_rule", {"actions": actions} if len(actions) > 1 else actions[0])


def lowered(*members: str) -> tuple[str, dict[str, Any]]:
    actions = [
        {"member": member, "current_trust": "CORE", "new_trust": "TRUSTED"} for member in members
    ]
    return ("trust_adjustment", {"actions": actions})


def reviewers_less(*members: str) -> tuple[str, dict[str, Any]]:
    actions = [{"member": member, "role": "reviewer", "holds": False} for member in members]
    return ("role_change", {"actions": actions})


def typed(given: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"type": given[0], "payload": given[1]}


BRICKS: Mapping[str, tuple[tuple[str, dict[str, Any]], str | None]] = {
    "more yes-voters than members": (rule(track__protected__min_yes_voters=18), "SELF_BRICK"),
    "as many yes-voters as members": (rule(track__protected__min_yes_voters=17), None),
    "more voters than an emergency finds": (
        rule(track__emergency__min_yes_voters=1_000),
        "SELF_BRICK",
    ),
    "more voters than a routine finds": (rule(track__routine__min_yes_voters=18), "SELF_BRICK"),
    "more reviewers than there are": (rule(track__protected__reviewers=9), "SELF_BRICK"),
    "as many reviewers as there are": (rule(track__protected__reviewers=8), None),
    "a share that everybody exceeds": (rule(track__protected__max_yes_share="0.05"), "SELF_BRICK"),
    "a share that some keep": (rule(track__protected__max_yes_share="0.1"), None),
    "nobody weighs anything": (
        rule(
            trust__weight__CORE=0,
            trust__weight__TRUSTED=0,
            trust__weight__STANDARD=0,
            trust__weight__SANDBOX=0,
        ),
        "SELF_BRICK",
    ),
    "too few weigh anything": (
        rule(trust__weight__TRUSTED=0, trust__weight__CORE=0),
        "SELF_BRICK",
    ),
    "nobody is left in the core": (lowered("cora", "carl", "cleo"), "SELF_BRICK"),
    "one is left in the core": (lowered("cora", "carl"), None),
    "too few reviewers are left": (reviewers_less("rae", "ray", "rex", "ria"), "SELF_BRICK"),
    "just enough reviewers are left": (reviewers_less("rae", "ray", "rex"), None),
}


@pytest.mark.parametrize("name", BRICKS)
def test_a_change_after_which_nobody_could_govern_is_refused(full_house, name):
    """INV-40: warned of at creation, failed at execution, without any effect."""
    (type_, payload), code = BRICKS[name]
    proposer = "tara" if type_ == "trust_adjustment" else "carl"
    assert warned(full_house, proposer, type=type_, payload=payload) == code
    before = now_rows(full_house)

    proposal = carried(full_house, proposer, type=type_, payload=payload)

    assert full_house.column(proposal, "failure") == code
    assert (now_rows(full_house) == before) == (code is not None)


def test_the_guard_looks_at_those_who_are_left_at_execution(full_house):
    """INV-40: each of two changes alone would have been possible."""
    first = queued(full_house, **typed(reviewers_less("rae", "ray")))
    second = queued(full_house, **typed(reviewers_less("rex", "ria")))

    full_house.ripen(first)
    full_house.ripen(second)

    assert full_house.status(first) == "executed"
    assert full_house.column(second, "failure") == "SELF_BRICK"


def test_a_rollback_is_held_to_the_guard_as_well(full_house):
    """INV-40: putting the reviewers' number back to where too few are left."""
    fewer = done(full_house, **setting("track.protected.reviewers", 3, "governance_rule").given)
    done(full_house, **typed(reviewers_less("rae", "ray", "rex", "ria")))

    rollback = undo(full_house, fewer)

    assert full_house.column(rollback, "failure") == "SELF_BRICK"
    assert full_house.one("SELECT value FROM setting_values") == 3


def test_a_house_that_never_could_is_not_held_to_it(house):
    """INV-40: what was impossible before is no reason to refuse."""
    lower = {"member": "gus", "current_trust": "TRUSTED", "new_trust": "STANDARD"}
    proposal = house.executed(type="trust_adjustment", payload=lower)

    assert house.status(proposal) == "executed"


# Rules apply to what opens later


def test_a_running_voting_keeps_the_thresholds_it_opened_with(full_house):
    """INV-17: quorum, approval, weights and voters of a rule that was changed meanwhile."""
    given = {**setting("rate_limit.CORE", 7).given, "voting_hours": 1_000}
    running = full_house.open("tara", **given)
    terms, weights = full_house.column(running, "terms"), full_house.column(running, "weights")
    eligible = full_house.column(running, "eligible_weight")
    stricter = {
        "track.routine.quorum": "0.9",
        "track.routine.approval": "0.9",
        "track.routine.min_yes_voters": 9,
        "track.routine.timelock_hours": 24,
        "trust.weight.CORE": 6,
    }
    actions = [{"key": key, "new_value": value} for key, value in stricter.items()]
    done(full_house, type="governance_rule", payload={"actions": actions})
    later = full_house.open("tara", **setting("rate_limit.TRUSTED", 7).given)
    for proposal in (running, later):
        for member in ("cora", "carl", "cleo", "gus"):
            full_house.vote(proposal, member, "for")
    full_house.end_voting(running)
    full_house.end_voting(later)
    full_house.settle()

    assert full_house.column(running, "terms") == terms
    assert full_house.column(running, "weights") == weights
    assert full_house.column(running, "eligible_weight") == eligible
    assert full_house.column(running, "decision")["totals"]["for"] == "18"
    assert full_house.status(running) == "executed"
    assert full_house.status(later) == "rejected"
    assert full_house.column(later, "decision")["totals"]["for"] == "21"


def test_a_client_writes_no_rule_past_its_commands(full_house):
    """INV-38: refused by the privileges of the database, and not by convention."""
    for table in ("setting_values", "extensions", "members", "member_roles", "jobs", "effects"):
        refused = pytest.raises(DBAPIError, match="permission denied")
        with full_house.client.connect() as connection, refused:
            connection.exec_driver_sql(f"DELETE FROM {table}")


# Admissions


@pytest.fixture
def production_house(servers: TestServers) -> Iterator[House]:
    with full_production(servers) as house:
        yield house


def admit(house: House, source: str, **member: object) -> str | None:
    given = {"source": source, "members": [member]}
    return house.command("members.admit", "cora", given).code


def test_members_are_admitted_at_standard_only_from_a_registered_source(production_house):
    house = production_house
    assert admit(house, "bank", id="m0") is None
    assert admit(house, "bank", id="m1", level="STANDARD") == "LEVEL_NOT_GRANTED"

    registered = play(house, SOURCE)

    assert admit(house, "bank", id="m1", level="STANDARD") is None
    assert admit(house, "other", id="m2", level="STANDARD") == "LEVEL_NOT_GRANTED"
    for too_high in ("TRUSTED", "CORE", "QUARANTINE"):
        assert admit(house, "bank", id="m3", level=too_high) == "LEVEL_NOT_GRANTED"
    assert level_of(house, "m1") == "STANDARD"
    undo(house, registered)
    assert admit(house, "bank", id="m4", level="STANDARD") == "LEVEL_NOT_GRANTED"
    holds_true(house)


def test_only_an_admin_admits(production_house):
    given = {"source": "bank", "members": [{"id": "m0"}]}
    for actor in ("carl", "gus", "otto"):
        answer = production_house.command("members.admit", actor, given)
        assert answer.code == "POWER_MISSING"


@pytest.mark.parametrize("id_", ["system", "genesis", "rule:grace", "issuer:me"])
def test_nobody_takes_a_name_of_the_house_itself(full_house, id_):
    assert admit(full_house, "tests", id=id_) == "ID_RESERVED"


def test_founders_are_named_once_with_levels_and_roles(servers):
    """The first entries; afterwards levels and roles change by votes and by two people."""
    founders = (
        Founder("ann", TrustLevel.CORE, (Role.ADMIN, Role.GUARDIAN)),
        Founder("ben", TrustLevel.SANDBOX),
    )
    with _house(servers, TEMPLATE, founders) as house:
        found_house(house)
        kinds = [entry["kind"] for entry in house.entries()]
        assert kinds == ["ledger.founded"] + ["member.admitted"] * 2 + ["member.role_granted"] * 2
        assert house.sql("SELECT member_id, role FROM member_roles ORDER BY 2") == [
            ("ann", "admin"),
            ("ann", "guardian"),
        ]
