"""Every refusal by its name, through the real commands; and none of them leaves a trace."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from forge_core.database import transaction
from forge_core.errors import Refused
from forge_core.ids import uuid7
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import TrustLevel
from forge_core.proposals.lifecycle import FINAL
from forge_core.settings import Settings
from forge_workers.client import Ballot, GovernanceClient
from tests.core.factories import FOUNDERS, ISSUER, House, connect, found_house
from tests.support import until

DAY = 86_400

BASE: dict[str, Any] = {
    "type": "policy",
    "title": "A title",
    "description": "What for.",
    "payload": {"text": "Be kind."},
}
CONFIGURATION = {"key": "rate_limit.STANDARD", "new_value": 500}
RAISE = {"member": "sam", "current_trust": "SANDBOX", "new_trust": "STANDARD"}
OVERLAY = {"overlay": "scout", "name": "Scout", "version": "1.0.0"}
UPDATE = {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.1.0"}

_TRACE = """
    SELECT (SELECT count(*) FROM ledger_entries), (SELECT count(*) FROM texts),
        (SELECT count(*) FROM ballot_inbox),
        (SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM proposals AS p),
        (SELECT md5(string_agg(m::text, '' ORDER BY id)) FROM members AS m),
        (SELECT md5(string_agg(e::text, '')) FROM electorate AS e),
        (SELECT md5(string_agg(d::text, '' ORDER BY d::text)) FROM delegations AS d),
        (SELECT md5(string_agg(r::text, '' ORDER BY member_id)) FROM restrictions AS r),
        (SELECT md5(string_agg(i::text, '' ORDER BY id)) FROM imported_electorates AS i),
        (SELECT clock_offset FROM instance)
"""


def create(**changes: object) -> dict[str, object]:
    """A proposal's command; ``None`` leaves a field out."""
    given = BASE | changes
    return {key: value for key, value in given.items() if value is not None}


def of(type_: str, payload: object, **changes: object) -> dict[str, object]:
    return create(type=type_, payload=payload, **changes)


def refusal(house: House, kind: str, actor: str, payload: object) -> str | None:
    """The code of a refusal that left nothing behind."""
    before = house.sql(_TRACE)
    answer = house.command(kind, actor, payload)
    assert answer.state == "refused", answer
    assert answer.message, "a refusal says what was wrong"
    assert house.sql(_TRACE) == before
    return answer.code


def ids(case: tuple[object, ...]) -> str:
    return str(case[0])


@pytest.fixture(scope="module")
def stage(shared: House) -> House:
    """Members in every standing, and proposals in every status, reached the real way."""
    house = shared
    house.do(
        "members.admit",
        "cora",
        source="tests",
        members=[
            {"id": id_, "level": level}
            for id_, level in (
                ("quinn", "STANDARD"),
                ("rita", "TRUSTED"),
                ("ina", "TRUSTED"),
                ("tim", "TRUSTED"),
                ("demi", "TRUSTED"),
                ("back", "STANDARD"),
            )
        ],
    )
    names = {}
    names["expired"] = house.propose(title="expired")
    names["demoted"] = house.propose("demi", title="demoted")
    house.advance(days=29)
    for member, before, after in (
        ("quinn", "STANDARD", "QUARANTINE"),
        ("demi", "TRUSTED", "STANDARD"),
        ("back", "STANDARD", "QUARANTINE"),
    ):
        adjustment = {"member": member, "current_trust": before, "new_trust": after}
        house.approve(house.open(type="trust_adjustment", payload=adjustment))
    house.advance(days=3, hours=1)
    house.settle()
    names["demoted"] = house.propose("tara", title="demoted")
    house.sql("UPDATE members SET active = false WHERE id = 'ina'")
    house.do("members.restrict", "otto", member_id="rita", reason="looked odd", seconds=30 * DAY)

    names["rejected"] = house.open(title="rejected")
    names["executed"] = house.open(title="executed")
    names["failed"] = house.open(
        type="configuration", payload=CONFIGURATION | {"old_value": 7}, title="failed"
    )
    for name in ("executed", "failed"):
        house.approve(names[name])
    house.advance(days=3, hours=1)
    house.settle()
    names["rolled_back"] = house.executed(title="rolled_back", voting_hours=1)
    house.executed(type="rollback", payload={"proposal": names["rolled_back"]}, voting_hours=1)
    names["queued"] = house.open(title="queued")
    house.approve(names["queued"])
    house.advance(days=3, hours=1)
    house.sweep()
    house.perform("proposals.close")
    names["cancelled"] = house.open(title="cancelled")
    house.do("proposals.cancel", "tara", proposal_id=names["cancelled"], reason="a mistake")
    names["past"] = house.open(title="past", voting_hours=1)
    house.advance(hours=1, seconds=1)
    names["active"] = house.open(title="active")
    names["draft"] = house.propose(title="draft")
    house.do("members.admit", "cora", source="tests", members=[{"id": "late", "level": "TRUSTED"}])
    house.do(
        "members.import_electorate", "cora", electorate="sealed", roll=[["tara", "1"]], last=True
    )
    house.do(
        "members.import_electorate", "cora", electorate="unsealed", roll=[["tara", "1"]], last=False
    )
    del names["demoted"]
    house.names = names
    for name, proposal in names.items():
        expected = {"past": "active"}.get(name, name)
        assert house.status(proposal) == expected, name
    return house


# Creating: text, type, payload, hours, electorate

TEXTS = [
    (f"{field} {name}", {field: value}, code)
    for field, most in (("title", 200), ("description", 10_000))
    for name, value, code in (
        ("missing", None, "TEXT_INVALID_TYPE"),
        ("a number", 5, "TEXT_INVALID_TYPE"),
        ("true", True, "TEXT_INVALID_TYPE"),
        ("a list", ["x"], "TEXT_INVALID_TYPE"),
        ("an object", {"a": 1}, "TEXT_INVALID_TYPE"),
        ("empty", "", "TEXT_BLANK"),
        ("spaces", " \t\n ", "TEXT_BLANK"),
        ("invisible", "\u200b\u2060", "TEXT_BLANK"),
        ("one too long", "x" * (most + 1), "TEXT_TOO_LONG"),
        ("far too long", "x" * 100_000, "TEXT_TOO_LONG"),
    )
] + [
    ("reason one too long", {"reason": "x" * 2_001}, "TEXT_TOO_LONG"),
    ("reason a number", {"reason": 5}, "TEXT_INVALID_TYPE"),
]

TYPES = [
    (f"type {value!r}", {"type": value}, "UNKNOWN_PROPOSAL_TYPE")
    for value in (
        "made_up",
        "Rollback",
        "rollback ",
        "Policy",
        " policy",
        "",
        5,
        True,
        ["policy"],
        {"policy": 1},
        None,
    )
]

SHAPES = [
    ("payload missing", {"payload": None}, "PAYLOAD_NOT_OBJECT"),
    ("payload a list", {"payload": [1]}, "PAYLOAD_NOT_OBJECT"),
    ("payload a text", {"payload": "{}"}, "PAYLOAD_NOT_OBJECT"),
    ("payload a number", {"payload": 1}, "PAYLOAD_NOT_OBJECT"),
    ("payload unknown key", {"payload": {"txet": "x"}}, "PAYLOAD_UNKNOWN_KEY"),
    ("payload null", {"payload": {"text": None}}, "PAYLOAD_WRONG_TYPE"),
    ("payload number for text", {"payload": {"text": 5}}, "TEXT_INVALID_TYPE"),
    ("payload blank text", {"payload": {"text": "  "}}, "TEXT_BLANK"),
    ("payload six deep", {"payload": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, "PAYLOAD_TOO_DEEP"),
    ("payload lists six deep", {"payload": {"a": [[[[[]]]]]}}, "PAYLOAD_TOO_DEEP"),
    (
        "payload 101 keys",
        {"payload": {f"k{i}": 1 for i in range(101)}},
        "PAYLOAD_TOO_MANY_KEYS",
    ),
    ("payload 10,001 bytes", {"payload": {"text": "x" * 9_990}}, "PAYLOAD_TOO_LARGE"),
    ("payload many items", {"payload": {"text": ["x"] * 9_000}}, "PAYLOAD_TOO_LARGE"),
    ("payload beyond 2^53", {"payload": {"text": 2**53}}, "PAYLOAD_NUMBER"),
    ("payload huge", {"payload": {"text": 10**400}}, "PAYLOAD_NUMBER"),
    ("command unknown key", {"votes": 5}, "COMMAND_UNKNOWN_KEY"),
]

HOURS = [
    (f"voting_hours {value!r}", {"voting_hours": value}, code)
    for value, code in (
        (0, "VALUE_OUT_OF_RANGE"),
        (-1, "VALUE_OUT_OF_RANGE"),
        (1_000_001, "VALUE_OUT_OF_RANGE"),
        (2**60, "VALUE_OUT_OF_RANGE"),
        (True, "VALUE_TYPE"),
        ("72", "VALUE_TYPE"),
        (72.0, "VALUE_TYPE"),
        ([72], "VALUE_TYPE"),
    )
]

ELECTORATES = [
    ("electorate unknown", {"electorate": "nobody"}, "ELECTORATE_UNKNOWN"),
    ("electorate not sealed", {"electorate": "unsealed"}, "ELECTORATE_UNKNOWN"),
    ("electorate a number", {"electorate": 5}, "ID_INVALID"),
    ("electorate a list", {"electorate": ["sealed"]}, "ID_INVALID"),
    ("electorate with space", {"electorate": "a b"}, "ID_INVALID"),
]


@pytest.mark.parametrize("case", [*TEXTS, *TYPES, *SHAPES, *HOURS, *ELECTORATES], ids=ids)
def test_creation_refuses(stage, case):
    _, changes, code = case

    assert refusal(stage, "proposals.create", "tara", create(**changes)) == code


PAYLOADS = (
    [
        ("configuration", change, code)
        for change, code in (
            ({"key": "difficulty"}, "VALUE_OUT_OF_RANGE"),
            ({"key": "difficulties"}, "UNKNOWN_CAPABILITY"),
            ({"key": "rate_limit"}, "UNKNOWN_CAPABILITY"),
            ({"key": "rate_limit.standard"}, "UNKNOWN_CAPABILITY"),
            ({"key": 5}, "TEXT_INVALID_TYPE"),
            ({"key": ""}, "TEXT_BLANK"),
            ({"key": "x" * 201}, "TEXT_TOO_LONG"),
            ({"key": "track.routine.quorum", "new_value": "0.1"}, "TYPE_MISMATCH"),
            ({"key": "track.protected.min_yes_voters", "new_value": 2}, "TYPE_MISMATCH"),
            ({"key": "trust.weight.CORE", "new_value": "50"}, "TYPE_MISMATCH"),
            ({"key": "feature.exchange", "new_value": False}, "TYPE_MISMATCH"),
            ({"key": "emergency.adjustment", "new_value": "1"}, "TYPE_MISMATCH"),
            ({"type": "policy"}, "TYPE_MISMATCH"),
            ({"new_value": True}, "VALUE_TYPE"),
            ({"new_value": "500"}, "VALUE_TYPE"),
            ({"new_value": 500.0}, "VALUE_TYPE"),
            ({"new_value": 1e300}, "PAYLOAD_NUMBER"),
            ({"new_value": 0}, "VALUE_OUT_OF_RANGE"),
            ({"new_value": -5}, "VALUE_OUT_OF_RANGE"),
            ({"new_value": 1_000_001}, "VALUE_OUT_OF_RANGE"),
            ({"new_value": [500]}, "PAYLOAD_WRONG_TYPE"),
            ({"new_value": {"a": 1}}, "VALUE_TYPE"),
            ({"new_value": ...}, "PAYLOAD_MISSING_KEY"),
            ({"old_value": 500}, "NO_CHANGE"),
            ({"old_value": True}, "VALUE_TYPE"),
            ({"old_value": 0}, "VALUE_OUT_OF_RANGE"),
            ({"extra": 1}, "PAYLOAD_UNKNOWN_KEY"),
        )
    ]
    + [
        ("trust_adjustment", change, code)
        for change, code in (
            ({"new_trust": "CORE"}, "CORE_NOT_GRANTED"),
            ({"new_trust": "SANDBOX"}, "NO_CHANGE"),
            ({"new_trust": "standard"}, "TRUST_LEVEL_UNKNOWN"),
            ({"new_trust": 60}, "TRUST_LEVEL_UNKNOWN"),
            ({"current_trust": "GOLD"}, "TRUST_LEVEL_UNKNOWN"),
            ({"member": "no such"}, "ID_INVALID"),
            ({"member": 7}, "ID_INVALID"),
            ({"member": ...}, "PAYLOAD_WRONG_TYPE"),
            ({"overlay": "scout"}, "PAYLOAD_WRONG_TYPE"),
            ({"member": "tara", "current_trust": "STANDARD", "new_trust": "TRUSTED"}, "OWN_RAISE"),
        )
    ]
    + [
        ("overlay_registration", change, code)
        for change, code in (
            ({"overlay": "two words"}, "ID_INVALID"),
            ({"overlay": ""}, "ID_INVALID"),
            ({"overlay": "x" * 201}, "ID_INVALID"),
            ({"name": " "}, "TEXT_BLANK"),
            ({"name": "x" * 201}, "TEXT_TOO_LONG"),
            ({"version": "1.0"}, "VERSION_INVALID"),
            ({"version": "01.0.0"}, "VERSION_INVALID"),
            ({"version": 1}, "VERSION_INVALID"),
            ({"max_execution_ms": 0}, "VALUE_OUT_OF_RANGE"),
            ({"max_execution_ms": 600_001}, "VALUE_OUT_OF_RANGE"),
            ({"max_execution_ms": True}, "PAYLOAD_WRONG_TYPE"),
            ({"max_execution_ms": 5.5}, "PAYLOAD_WRONG_TYPE"),
            ({"name": ...}, "PAYLOAD_MISSING_KEY"),
            ({"status": "ACTIVE"}, "PAYLOAD_UNKNOWN_KEY"),
        )
    ]
    + [
        ("overlay_update", change, code)
        for change, code in (
            ({"new_version": "1.0.0"}, "NO_CHANGE"),
            ({"new_version": "latest"}, "VERSION_INVALID"),
            ({"current_version": ...}, "PAYLOAD_MISSING_KEY"),
            ({"overlay": ...}, "PAYLOAD_WRONG_TYPE"),
            ({"module": "engine"}, "PAYLOAD_WRONG_TYPE"),
        )
    ]
)
GOOD = {
    "configuration": CONFIGURATION,
    "trust_adjustment": RAISE,
    "overlay_registration": OVERLAY,
    "overlay_update": UPDATE,
}


@pytest.mark.parametrize("case", PAYLOADS, ids=lambda case: f"{case[0]} {case[1]} {case[2]}"[:90])
def test_creation_refuses_payload(stage, case):
    """INV-39: checked when it is proposed; execution checks again."""
    type_, change, code = case
    payload = {key: value for key, value in (GOOD[type_] | change).items() if value is not ...}

    assert refusal(stage, "proposals.create", "tara", of(type_, payload)) == code


@pytest.mark.parametrize("type_", GOOD)
def test_creation_accepts_what_these_cases_vary(house, type_):
    assert house.command("proposals.create", "tara", of(type_, GOOD[type_])).state == "done"


@pytest.mark.parametrize(
    "case",
    [
        ("nobody", "policy", "MEMBER_UNKNOWN"),
        ("TARA", "policy", "MEMBER_UNKNOWN"),
        ("ina", "policy", "MEMBER_INACTIVE"),
        ("quinn", "overlay_update", "MEMBER_QUARANTINED"),
        ("rita", "policy", "MEMBER_RESTRICTED"),
        ("stan", "policy", "TRUST_TOO_LOW"),
        ("stan", "configuration", "TRUST_TOO_LOW"),
        ("stan", "trust_adjustment", "TRUST_TOO_LOW"),
        ("sam", "overlay_registration", "TRUST_TOO_LOW"),
        ("sam", "overlay_update", "TRUST_TOO_LOW"),
    ],
    ids="-".join,
)
def test_creation_refuses_proposer(stage, case):
    actor, type_, code = case
    payload = GOOD.get(type_, BASE["payload"])

    assert refusal(stage, "proposals.create", actor, of(type_, payload)) == code


def test_production_allows_at_most_a_week_of_voting(production):
    command = create(voting_hours=169)

    assert refusal(production, "proposals.create", "tara", command) == "VALUE_OUT_OF_RANGE"
    assert production.command("proposals.create", "tara", create(voting_hours=168)).state == "done"


# Activating and cancelling


@pytest.mark.parametrize(
    "given", ["p-unknown", "", 5, None, ["p"], {"id": 1}, "x" * 5_000], ids=lambda v: str(v)[:20]
)
@pytest.mark.parametrize("kind", ["proposals.activate", "proposals.cancel"])
def test_a_command_on_no_known_proposal_is_refused(stage, kind, given):
    payload = {"proposal_id": given, "reason": "because"}

    assert refusal(stage, kind, "gus", payload) == "PROPOSAL_UNKNOWN"


@pytest.mark.parametrize(
    "name",
    [
        "active",
        "past",
        "rejected",
        "queued",
        "executed",
        "failed",
        "cancelled",
        "expired",
        "rolled_back",
    ],
)
def test_only_drafts_are_activated(stage, name):
    """INV-01, INV-02."""
    payload = {"proposal_id": stage.names[name]}

    assert refusal(stage, "proposals.activate", "tara", payload) == "PROPOSAL_STATUS"


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        ("gus", "POWER_MISSING"),
        ("otto", "POWER_MISSING"),
        ("sam", "POWER_MISSING"),
        ("nobody", "MEMBER_UNKNOWN"),
        ("ina", "MEMBER_INACTIVE"),
        ("quinn", "MEMBER_QUARANTINED"),
        ("rita", "MEMBER_RESTRICTED"),
    ],
)
def test_a_draft_is_activated_by_its_proposer_or_an_admin(stage, actor, code):
    payload = {"proposal_id": stage.names["draft"]}

    assert refusal(stage, "proposals.activate", actor, payload) == code


def test_an_admin_activates_what_somebody_else_proposed(house):
    proposal = house.propose("tara")

    assert house.command("proposals.activate", "cora", {"proposal_id": proposal}).state == "done"


def test_a_proposer_whose_trust_sank_cannot_activate(house):
    proposal = house.propose("tara")
    house.sql("UPDATE members SET level = 'STANDARD' WHERE id = 'tara'")

    payload = {"proposal_id": proposal}
    assert refusal(house, "proposals.activate", "tara", payload) == "TRUST_TOO_LOW"


def test_a_lapsed_draft_cannot_be_activated_even_before_the_sweep(house):
    """INV-04: a dead sweeper changes no outcome."""
    proposal = house.propose()
    house.advance(days=30)

    payload = {"proposal_id": proposal}
    assert refusal(house, "proposals.activate", "tara", payload) == "DRAFT_LAPSED"


@pytest.mark.parametrize(
    ("name", "actor", "code"),
    [
        ("draft", "otto", "POWER_MISSING"),
        ("active", "cora", "POWER_MISSING"),
        ("active", "sam", "POWER_MISSING"),
        ("active", "nobody", "MEMBER_UNKNOWN"),
        ("active", "ina", "MEMBER_INACTIVE"),
        ("active", "quinn", "MEMBER_QUARANTINED"),
        ("active", "rita", "MEMBER_RESTRICTED"),
        ("past", "tara", "CANCEL_TOO_LATE"),
        ("queued", "tara", "CANCEL_TOO_LATE"),
        ("failed", "tara", "CANCEL_TOO_LATE"),
        ("executed", "gus", "PROPOSAL_STATUS"),
        ("rejected", "gus", "PROPOSAL_STATUS"),
        ("cancelled", "gus", "PROPOSAL_STATUS"),
        ("expired", "gus", "PROPOSAL_STATUS"),
        ("rolled_back", "gus", "PROPOSAL_STATUS"),
    ],
)
def test_cancelling_takes_the_power_and_the_time(stage, name, actor, code):
    payload = {"proposal_id": stage.names[name], "reason": "because"}

    assert refusal(stage, "proposals.cancel", actor, payload) == code


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (None, "TEXT_INVALID_TYPE"),
        (5, "TEXT_INVALID_TYPE"),
        ("", "TEXT_BLANK"),
        ("\u200b", "TEXT_BLANK"),
        ("x" * 2_001, "TEXT_TOO_LONG"),
    ],
    ids=["none", "number", "empty", "invisible", "too long"],
)
def test_cancelling_names_a_reason(stage, reason, code):
    payload = {"proposal_id": stage.names["active"], "reason": reason}

    assert refusal(stage, "proposals.cancel", "tara", payload) == code


ON_A_PROPOSAL = {
    "proposals.activate": {},
    "proposals.cancel": {"reason": "again"},
    "enforcement.review": {"approves": True, "comment": "again"},
    "enforcement.sign_off": {},
    "enforcement.retry": {"reason": "again"},
}


@pytest.mark.parametrize("status", sorted(FINAL))
def test_no_command_changes_a_final_proposal(stage, status):
    """INV-02: every mutating call fails and leaves the row byte-identical."""
    proposal = stage.names[status]
    before = stage.image(proposal)

    for kind, given in ON_A_PROPOSAL.items():
        for actor in ("tara", "cora", "gus", "otto"):
            answer = stage.command(kind, actor, {"proposal_id": proposal, **given})
            assert answer.state == "refused"
    assert stage.vote(proposal, "tara", "for").code == "PROPOSAL_NOT_ACTIVE"
    for kind in ("proposals.close", "proposals.expire", "enforcement.execute"):
        stage.sql(
            "INSERT INTO jobs (kind, key, once, payload, actor) VALUES (%s, %s, true,"
            " jsonb_build_object('proposal_id', %s::text), 'system')",
            kind,
            f"forced:{uuid4()}",
            proposal,
        )
        stage.perform(kind)
    assert stage.image(proposal) == before


# Ballots


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("draft", "PROPOSAL_NOT_ACTIVE"),
        ("past", "VOTING_CLOSED"),
        ("rejected", "PROPOSAL_NOT_ACTIVE"),
        ("queued", "PROPOSAL_NOT_ACTIVE"),
        ("executed", "PROPOSAL_NOT_ACTIVE"),
        ("failed", "PROPOSAL_NOT_ACTIVE"),
        ("cancelled", "PROPOSAL_NOT_ACTIVE"),
        ("expired", "PROPOSAL_NOT_ACTIVE"),
        ("rolled_back", "PROPOSAL_NOT_ACTIVE"),
    ],
)
def test_ballots_are_accepted_only_while_voting_is_open(stage, name, code):
    """INV-07, INV-22."""
    assert ballot_refusal(stage, stage.names[name], "tara", "for") == code


@pytest.mark.parametrize("proposal", ["p-unknown", "", None, 5], ids=str)
def test_ballots_on_no_known_proposal_are_refused(stage, proposal):
    assert ballot_refusal(stage, proposal, "tara", "for") == "PROPOSAL_UNKNOWN"


@pytest.mark.parametrize("choice", ["FOR", "yes", "", " for", None, 5, True], ids=str)
def test_a_choice_is_one_of_three(stage, choice):
    """INV-07."""
    assert ballot_refusal(stage, stage.names["active"], "tara", choice) == "CHOICE_INVALID"


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ("nobody", "MEMBER_UNKNOWN"),
        ("Tara", "MEMBER_UNKNOWN"),
        (None, "MEMBER_UNKNOWN"),
        ("ina", "MEMBER_INACTIVE"),
        ("quinn", "MEMBER_QUARANTINED"),
        ("rita", "MEMBER_RESTRICTED"),
        ("late", "VOTER_NOT_IN_ROLL"),
    ],
)
def test_ballots_of_those_who_may_not_vote_are_refused(stage, member, code):
    """INV-07, INV-20."""
    assert ballot_refusal(stage, stage.names["active"], member, "for") == code


def ballot_refusal(house: House, proposal: object, member: object, choice: object) -> str | None:
    before = house.sql(_TRACE)
    answer = house.vote(proposal, member, choice)
    assert answer.state == "refused"
    assert answer.message
    assert (answer.ballot_id, answer.accepted_at) == (None, None)
    assert house.sql(_TRACE) == before
    return answer.code


def test_a_member_who_was_quarantined_at_opening_is_in_no_roll(house):
    """INV-20: also after the level was given back."""
    house.sql("UPDATE member_levels SET level = 'QUARANTINE' WHERE member_id = 'stan'")
    proposal = house.open()

    assert house.vote(proposal, "stan", "for").code == "VOTER_NOT_IN_ROLL"


def test_a_level_that_weighed_nothing_at_opening_casts_no_ballot(house):
    set_value(house, "trust.weight.SANDBOX", "0")
    proposal = house.open()

    assert house.vote(proposal, "sam", "for").code == "VOTER_WEIGHTLESS"
    assert house.vote(proposal, "stan", "for").code is None


def set_value(house: House, key: str, value: object) -> None:
    """As if a governance_rule had."""
    house.sql(
        "INSERT INTO setting_values VALUES (%s, %s, 1, 'p', now()) ON CONFLICT (key)"
        " DO UPDATE SET value = excluded.value",
        key,
        json.dumps(value),
    )


def test_weight_is_the_one_at_opening_whatever_changes_later(house):
    """INV-09: neither a promotion nor new weights touch an open voting."""
    earlier = house.open(voting_hours=168)
    raised = {"member": "stan", "current_trust": "STANDARD", "new_trust": "TRUSTED"}
    adjustment = house.open(type="trust_adjustment", payload=raised, voting_hours=1)
    house.approve(adjustment)
    house.advance(hours=2)
    house.settle()
    set_value(house, "trust.weight.TRUSTED", "30")
    house.do("members.admit", "cora", source="tests", members=[{"id": "nora", "level": "CORE"}])
    later = house.open()

    for proposal in (earlier, later):
        for member in ("stan", "tara", "nora"):
            house.vote(proposal, member, "for")

    weights = house.sql("SELECT proposal_id, member_id, weight::text FROM ballot_inbox")
    assert set(weights) == {
        (earlier, "stan", "1"),
        (earlier, "tara", "3"),
        (later, "stan", "30"),
        (later, "tara", "30"),
        (later, "nora", "5"),
    }
    assert house.column(earlier, "eligible_weight::text") == "15.5"
    assert house.column(later, "eligible_weight::text") == "130.5"


def test_one_bad_ballot_in_a_batch_is_refused_alone(house):
    proposal = house.open()
    batch = [
        {"command_id": str(uuid7()), "proposal_id": p, "member_id": m, "choice": c}
        for p, m, c in (
            (proposal, "tara", "for"),
            (proposal, "nobody", "for"),
            (proposal, "gus", "maybe"),
            ("p-none", "gus", "for"),
            (proposal, "otto", "against"),
        )
    ]
    batch.append({"command_id": "no id", "proposal_id": proposal, "member_id": "stan"})
    batch.append({})

    codes = [answer.code for answer in house.vote_many(batch)]

    assert codes == [
        None,
        "MEMBER_UNKNOWN",
        "CHOICE_INVALID",
        "PROPOSAL_UNKNOWN",
        None,
        "COMMAND_ID_INVALID",
        "COMMAND_ID_INVALID",
    ]
    assert house.sql("SELECT member_id FROM ballot_inbox ORDER BY 1") == [("otto",), ("tara",)]


# Members, delegation, imported electorates, the clock


def admit(*members: object, source: object = "tests") -> dict[str, object]:
    return {"members": list(members), "source": source}


ADMISSIONS = [
    ("not an admin", "tara", admit({"id": "x"}), "POWER_MISSING"),
    ("admin is unknown", "nobody", admit({"id": "x"}), "MEMBER_UNKNOWN"),
    ("nobody named", "cora", admit(), "PAYLOAD_WRONG_TYPE"),
    ("no list", "cora", {"members": {"id": "x"}, "source": "s"}, "PAYLOAD_WRONG_TYPE"),
    ("missing list", "cora", {"source": "s"}, "PAYLOAD_WRONG_TYPE"),
    ("no object", "cora", admit("x"), "PAYLOAD_WRONG_TYPE"),
    ("no id", "cora", admit({"level": "SANDBOX"}), "ID_INVALID"),
    ("bad id", "cora", admit({"id": "a b"}), "ID_INVALID"),
    ("long id", "cora", admit({"id": "x" * 201}), "ID_INVALID"),
    ("bad source", "cora", admit({"id": "x"}, source=""), "ID_INVALID"),
    ("no source", "cora", admit({"id": "x"}, source=None), "ID_INVALID"),
    ("unknown level", "cora", admit({"id": "x", "level": "GOLD"}), "TRUST_LEVEL_UNKNOWN"),
    ("level a list", "cora", admit({"id": "x", "level": ["CORE"]}), "TRUST_LEVEL_UNKNOWN"),
    ("quarantine", "cora", admit({"id": "x", "level": "QUARANTINE"}), "LEVEL_NOT_GRANTED"),
    ("there already", "cora", admit({"id": "x"}, {"id": "tara"}), "MEMBER_EXISTS"),
    ("named twice", "cora", admit({"id": "x"}, {"id": "x"}), "MEMBER_TWICE"),
]

RESTRICTIONS = [
    ("not an operator", "gus", {"member_id": "tara", "reason": "r"}, "POWER_MISSING"),
    ("nobody", "otto", {"member_id": "nobody", "reason": "r"}, "MEMBER_UNKNOWN"),
    ("no id", "otto", {"reason": "r"}, "ID_INVALID"),
    ("no reason", "otto", {"member_id": "tara"}, "TEXT_INVALID_TYPE"),
    ("blank reason", "otto", {"member_id": "tara", "reason": " "}, "TEXT_BLANK"),
    *(
        (f"seconds {value!r}", "otto", {"member_id": "tara", "reason": "r", "seconds": value}, code)
        for value, code in (
            (0, "RESTRICTION_LENGTH"),
            (-1, "RESTRICTION_LENGTH"),
            (30 * DAY + 1, "RESTRICTION_LENGTH"),
            (10**10, "PAYLOAD_WRONG_TYPE"),
            (True, "PAYLOAD_WRONG_TYPE"),
            (1.5, "PAYLOAD_WRONG_TYPE"),
            ("60", "PAYLOAD_WRONG_TYPE"),
            (None, "PAYLOAD_WRONG_TYPE"),
        )
    ),
]

RELEASES = [
    ("not an operator", "cora", {"member_id": "rita", "reason": "r"}, "POWER_MISSING"),
    ("not restricted", "otto", {"member_id": "tara", "reason": "r"}, "NOT_RESTRICTED"),
    ("nobody", "otto", {"member_id": "nobody", "reason": "r"}, "MEMBER_UNKNOWN"),
    ("no reason", "otto", {"member_id": "rita"}, "TEXT_INVALID_TYPE"),
]

DELEGATIONS = [
    ("to oneself", "tara", {"delegate": "tara"}, "DELEGATION_TO_SELF"),
    ("to nobody", "tara", {"delegate": "nobody"}, "MEMBER_UNKNOWN"),
    ("no delegate", "tara", {}, "ID_INVALID"),
    ("by nobody", "nobody", {"delegate": "tara"}, "MEMBER_UNKNOWN"),
    ("by one restricted", "rita", {"delegate": "tara"}, "MEMBER_RESTRICTED"),
    ("by one quarantined", "quinn", {"delegate": "tara"}, "MEMBER_QUARANTINED"),
    ("to one quarantined", "tara", {"delegate": "quinn"}, "MEMBER_QUARANTINED"),
    ("to one inactive", "tara", {"delegate": "ina"}, "MEMBER_INACTIVE"),
    *(
        (f"scope {value!r}", "tara", {"delegate": "gus", "scope": value}, "SCOPE_UNKNOWN")
        for value in ("made_up", "", "**", 5, None, ["*"], {"*": 1})
    ),
    *(
        (f"expires {value!r}", "tara", {"delegate": "gus", "expires_at": value}, code)
        for value, code in (
            ("yesterday", "TIME_INVALID"),
            ("2999-01-01T00:00:00", "TIME_INVALID"),
            (5, "TIME_INVALID"),
            (["2999-01-01T00:00:00Z"], "TIME_INVALID"),
            ("9999-12-31T23:59:59-23:00", "TIME_INVALID"),
            ("0001-01-01T00:00:00+23:00", "TIME_INVALID"),
            ("2001-01-01T00:00:00Z", "DELEGATION_EXPIRED"),
        )
    ),
]

REVOCATIONS = [
    ("none there", "tara", {}, "NO_DELEGATION"),
    ("none for the type", "tara", {"scope": "policy"}, "NO_DELEGATION"),
    ("none for no type", "tara", {"scope": "made_up"}, "NO_DELEGATION"),
    ("scope a list", "tara", {"scope": []}, "ID_INVALID"),
    ("by nobody", "nobody", {}, "MEMBER_UNKNOWN"),
]


def roll(*pairs: object, electorate: object = "new") -> dict[str, object]:
    return {"electorate": electorate, "roll": list(pairs), "last": True}


IMPORTS = [
    ("not an admin", "tara", roll(["tara", "1"]), "POWER_MISSING"),
    ("empty", "cora", roll(), "PAYLOAD_WRONG_TYPE"),
    ("no pairs", "cora", roll("tara"), "PAYLOAD_WRONG_TYPE"),
    ("three of them", "cora", roll(["tara", "1", "2"]), "PAYLOAD_WRONG_TYPE"),
    ("sealed", "cora", roll(["gus", "1"], electorate="sealed"), "ELECTORATE_SEALED"),
    ("twice in a part", "cora", roll(["tara", "1"], ["tara", "2"]), "MEMBER_TWICE"),
    ("twice in parts", "cora", roll(["tara", "2"], electorate="unsealed"), "MEMBER_TWICE"),
    ("bad member", "cora", roll(["a b", "1"]), "ID_INVALID"),
    ("member a number", "cora", roll([5, "1"]), "ID_INVALID"),
    ("bad name", "cora", roll(["tara", "1"], electorate=" "), "ID_INVALID"),
    *(
        (f"weight {str(value)[:12]!r}", "cora", roll(["tara", value]), "NUMBER_INVALID")
        for value in (
            "-1", "NaN", "inf", "-Infinity", "", " 1", "1,5", "0x1", "1e400", "9" * 101,
            "0." + "1" * 101, 1.5, True, None, ["1"], -1,
        )
    ),
]  # fmt: skip

CLOCK = [
    ("not an admin", "tara", {"seconds": 60}, "POWER_MISSING"),
    ("nothing", "cora", {}, "PAYLOAD_WRONG_TYPE"),
    ("zero", "cora", {"seconds": 0}, "CLOCK_BACKWARDS"),
    ("backwards", "cora", {"seconds": -1}, "CLOCK_BACKWARDS"),
    ("a fraction", "cora", {"seconds": 0.5}, "PAYLOAD_WRONG_TYPE"),
    ("true", "cora", {"seconds": True}, "PAYLOAD_WRONG_TYPE"),
    ("text", "cora", {"seconds": "60"}, "PAYLOAD_WRONG_TYPE"),
    ("two centuries", "cora", {"seconds": 200 * 366 * DAY}, "CLOCK_TOO_FAR"),
    ("beyond all", "cora", {"seconds": 10**15}, "PAYLOAD_WRONG_TYPE"),
    ("to the end of time", "cora", {"to": "9999-12-31T23:59:59Z"}, "CLOCK_TOO_FAR"),
    ("to no time", "cora", {"to": "soon"}, "TIME_INVALID"),
    ("to a time without a zone", "cora", {"to": "2999-01-01T00:00:00"}, "TIME_INVALID"),
    ("beyond the calendar", "cora", {"to": "9999-12-31T23:59:59-23:00"}, "TIME_INVALID"),
]

TABLES = {
    "members.admit": ADMISSIONS,
    "members.restrict": RESTRICTIONS,
    "members.release": RELEASES,
    "members.delegate": DELEGATIONS,
    "members.revoke_delegation": REVOCATIONS,
    "members.import_electorate": IMPORTS,
    "clock.advance": CLOCK,
}


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, cases in TABLES.items() for case in cases],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_refuses(stage, kind, case):
    _, actor, payload, code = case

    assert refusal(stage, kind, actor, payload) == code


def test_a_delegation_circle_of_two_is_refused(house):
    """INV-26."""
    house.do("members.delegate", "tara", delegate="gus")

    assert refusal(house, "members.delegate", "gus", {"delegate": "tara"}) == "DELEGATION_CYCLE"


def test_a_long_circle_is_refused_and_named(house):
    """INV-26."""
    chain = ["cora", "gus", "otto", "tara", "stan", "sam"]
    for delegator, delegate in itertools.pairwise(chain):
        house.do("members.delegate", delegator, delegate=delegate)

    answer = house.command("members.delegate", "sam", {"delegate": "cora"})

    assert answer.code == "DELEGATION_CYCLE"
    assert answer.message is not None
    assert all(member in answer.message for member in chain)


def test_a_circle_through_edges_of_a_type_and_general_ones_is_refused(house):
    """INV-26: for policy, tara follows gus, gus (who has no own edge for it) follows otto."""
    house.do("members.delegate", "gus", delegate="otto")
    house.do("members.delegate", "otto", delegate="tara", scope="policy")

    edge = {"delegate": "gus", "scope": "policy"}
    assert refusal(house, "members.delegate", "tara", edge) == "DELEGATION_CYCLE"
    assert refusal(house, "members.delegate", "tara", {"delegate": "gus"}) == "DELEGATION_CYCLE"
    # Of another type, the same edge closes nothing.
    house.do("members.delegate", "tara", delegate="gus", scope="configuration")


def test_a_circle_that_would_arise_when_an_edge_expires_is_refused(house):
    """INV-26: when gus's edge for policy ends, his general one takes its place."""
    house.do("members.delegate", "gus", delegate="tara")
    house.do(
        "members.delegate",
        "gus",
        delegate="otto",
        scope="policy",
        expires_at="2999-01-01T00:00:00Z",
    )

    edge = {"delegate": "gus", "scope": "policy"}
    assert refusal(house, "members.delegate", "tara", edge) == "DELEGATION_CYCLE"


def test_revoking_is_refused_while_the_general_edge_would_close_a_circle(house):
    """INV-26."""
    house.do("members.delegate", "gus", delegate="tara")
    house.do("members.delegate", "gus", delegate="otto", scope="policy")
    house.do("members.delegate", "tara", delegate="gus", scope="policy")

    revocation = {"scope": "policy"}
    code = refusal(house, "members.revoke_delegation", "gus", revocation)
    assert code == "DELEGATION_CYCLE"


def test_production_admits_at_sandbox_and_knows_no_foreign_rolls_nor_clocks(production):
    codes = {
        refusal(production, "members.admit", "cora", admit({"id": "x", "level": level}))
        for level in ("STANDARD", "TRUSTED", "CORE", "QUARANTINE")
    }

    assert codes == {"LEVEL_NOT_GRANTED"}
    production.do("members.admit", "cora", **admit({"id": "y"}))
    assert production.sql("SELECT level FROM members WHERE id = 'y'") == [("SANDBOX",)]
    for kind, given in FROM_A_SOURCE:
        assert refusal(production, kind, "cora", given) == "SOURCE_UNKNOWN"
    for given in ({"seconds": 60}, {"to": "2999-01-01T00:00:00Z"}):
        assert refusal(production, "clock.advance", "cora", given) == "NOT_A_SANDBOX"


FROM_A_SOURCE = [
    ("members.import_electorate", {**roll(["tara", "1"]), "source": "tests"}),
    ("members.report_holdings", {"source": "tests", "holdings": [["tara", 1, 0, 0, 0]]}),
    ("treasury.deposit", {"source": "tests", "amount": "5"}),
]


def test_production_believes_a_source_that_governance_registered(production):
    production.sql("INSERT INTO extensions VALUES ('tests', 'source', '{}', 'p', now())")

    production.do("members.admit", "cora", **admit({"id": "x", "level": "STANDARD"}))
    for kind, given in FROM_A_SOURCE:
        production.do(kind, "cora", **given)
    codes = {
        refusal(production, "members.admit", "cora", admit({"id": "z", "level": level}))
        for level in ("TRUSTED", "CORE", "QUARANTINE")
    }

    assert codes == {"LEVEL_NOT_GRANTED"}
    assert production.sql("SELECT level FROM members WHERE id = 'x'") == [("STANDARD",)]
    assert production.sql("SELECT id, balance FROM accounts") == [("treasury", 5)]


# Genesis


def test_genesis_happens_once(house):
    before = house.sql(_TRACE)

    for sandbox in (True, False):
        with pytest.raises(Refused, match="ALREADY_FOUNDED"), transaction(house.app) as session:
            found(session, FOUNDERS, sandbox=sandbox)

    assert house.sql(_TRACE) == before


def test_two_founders_at_once_found_one_ledger(empty_house):
    """INV-08's shape: some serial order."""
    barrier = threading.Barrier(4)
    outcomes: list[str] = []

    def begin() -> None:
        barrier.wait()
        try:
            found_house(empty_house)
            outcomes.append("founded")
        except Refused as refused:
            outcomes.append(refused.code)

    in_threads([begin] * 4)

    assert sorted(outcomes) == ["ALREADY_FOUNDED"] * 3 + ["founded"]
    assert empty_house.one("SELECT count(*) FROM members") == len(FOUNDERS)


@pytest.mark.parametrize(
    ("founders", "code"),
    [
        ((), "NO_FOUNDERS"),
        ((Founder("a", TrustLevel.CORE), Founder("a", TrustLevel.CORE)), "MEMBER_TWICE"),
        ((Founder("a b", TrustLevel.CORE),), "ID_INVALID"),
        ((Founder("", TrustLevel.CORE),), "ID_INVALID"),
        ((Founder("a\x00", TrustLevel.CORE),), "ID_INVALID"),
        ((Founder("a\ud800", TrustLevel.CORE),), "ID_INVALID"),
    ],
    ids=["none", "twice", "space", "empty", "nul", "surrogate"],
)
def test_genesis_refuses_and_leaves_nothing(empty_house, founders, code):
    with pytest.raises(Refused, match=code), transaction(empty_house.app) as session:
        found(session, founders, sandbox=True)

    assert empty_house.one("SELECT count(*) FROM ledger_entries") == 0
    assert empty_house.one("SELECT count(*) FROM instance") == 0


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("proposals.create", create()),
        ("proposals.activate", {"proposal_id": "p"}),
        ("proposals.cancel", {"proposal_id": "p", "reason": "r"}),
        ("members.admit", admit({"id": "x"})),
        ("members.restrict", {"member_id": "x", "reason": "r"}),
        ("members.delegate", {"delegate": "x"}),
        ("members.import_electorate", roll(["x", "1"])),
        ("clock.advance", {"seconds": 5}),
    ],
)
def test_before_genesis_every_command_is_refused(empty_house, kind, payload):
    answer = empty_house.command(kind, "cora", payload)

    assert answer.state == "refused"
    assert answer.code in {"NO_GENESIS", "MEMBER_UNKNOWN", "PROPOSAL_UNKNOWN", "NOT_A_SANDBOX"}


# Command ids, and what cannot even be recorded


@pytest.mark.parametrize(
    "command",
    [
        {"kind": "votes.count"},
        {"kind": "proposals.close"},
        {"kind": "enforcement.execute"},
        {"kind": "PROPOSALS.CREATE"},
        {"kind": ""},
        {"kind": None},
        {"actor": ""},
        {"actor": None},
        {"actor": "x" * 201},
        {"payload": None},
        {"payload": []},
        {"payload": "text"},
        {"payload": {"text": "x" * 1_000_001}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_is_no_command_is_not_recorded(stage, command):
    before = stage.one("SELECT count(*) FROM jobs")
    given = {"command_id": str(uuid7()), "kind": "proposals.create", "actor": "tara"}
    given = given | {"payload": BASE} | command

    (answer,) = stage.submit_many([given])

    assert (answer.state, answer.code) == ("refused", "COMMAND_INVALID")
    assert stage.one("SELECT count(*) FROM jobs") == before
    assert stage.sql("SELECT 1 FROM commands WHERE command_id = %s", given["command_id"]) == []


@pytest.mark.parametrize(
    "payload",
    [
        '{"title": ' + "[" * 1_500 + "]" * 1_500 + "}",
        '{"title": ' + '{"a":' * 1_500 + "1" + "}" * 1_500 + "}",
        '{"title": 1e5000}',
        '{"title": -1e5000}',
        '{"title": 1e-5000}',
        '{"title": [1' + "0" * 5_000 + "]}",
    ],
    ids=["deep lists", "deep objects", "1e5000", "-1e5000", "1e-5000", "long number"],
)
def test_payloads_that_only_a_database_can_read_harm_nobody_else(house, payload):
    """One hostile payload must not keep the kind's other jobs from being claimed."""
    hostile = json.dumps({"command_id": str(uuid7()), "kind": "proposals.create", "actor": "tara"})
    house.submit_raw(f'[{hostile[:-1]}, "payload": {payload}}}]')
    good = uuid7()
    house.submit("proposals.create", "tara", create(), command_id=good)

    house.perform("proposals.create")

    assert house.answer(good).state == "done"
    assert house.one("SELECT count(*) FROM commands WHERE state = 'pending'") == 0


@pytest.mark.parametrize(
    "id_", ["", "7", "x" * 36, "urn:uuid:0193a7b2-0000-7000-8000-000000000000", None]
)
def test_a_command_id_is_a_uuid(stage, id_):
    command = {"command_id": id_, "kind": "proposals.create", "actor": "tara", "payload": BASE}
    ballot = {
        "command_id": id_,
        "proposal_id": stage.names["active"],
        "member_id": "tara",
        "choice": "for",
    }

    assert [a.code for a in stage.submit_many([command])] == ["COMMAND_ID_INVALID"]
    assert [a.code for a in stage.vote_many([ballot])] == ["COMMAND_ID_INVALID"]


def test_a_repeated_command_gets_the_first_answer(house):
    """INV-29: one command, one proposal, however often it is sent."""
    command = uuid7()
    first = house.command("proposals.create", "tara", create(), command_id=command)
    again = house.submit("proposals.create", "tara", create(), command_id=command)
    house.settle()

    assert again.duplicate
    assert again.state == "done"
    assert house.answer(command) == first
    assert house.one("SELECT count(*) FROM proposals") == 1


def test_a_repeated_command_with_other_content_is_a_conflict(house):
    command = uuid7()
    house.command("proposals.create", "tara", create(), command_id=command)

    others = [
        house.submit("proposals.create", "tara", create(title="Another"), command_id=command),
        house.submit("proposals.create", "gus", create(), command_id=command),
        house.submit("proposals.cancel", "tara", create(), command_id=command),
    ]

    assert [other.code for other in others] == ["COMMAND_CONFLICT"] * 3
    assert house.answer(command).state == "done"
    assert house.one("SELECT count(*) FROM jobs") == 1


def test_command_ids_belong_to_their_issuer(house):
    command = uuid7()
    house.submit("proposals.create", "tara", create(), command_id=command, issuer="one")
    other = house.submit("proposals.create", "tara", create(), command_id=command, issuer="two")
    house.perform("proposals.create")

    assert not other.duplicate
    assert house.one("SELECT count(DISTINCT id) FROM proposals") == 2


def test_an_issuer_reads_only_its_own_answers(house):
    command = uuid7()
    house.submit("proposals.create", "tara", create(), command_id=command, issuer="one")

    assert house.sql("SELECT * FROM forge_answers('two', ARRAY[%s]::uuid[])", str(command)) == []


def test_a_batch_that_names_one_command_twice_records_it_once(house):
    command = {"command_id": str(uuid7()), "kind": "proposals.create", "actor": "tara"}
    batch = [
        command | {"payload": create()},
        command | {"payload": create()},
        command | {"payload": create(title="Another")},
    ]

    answers = house.submit_many(batch)

    assert [(a.code, a.duplicate) for a in answers][:2] == [(None, False), (None, True)]
    assert answers[2].code == "COMMAND_CONFLICT"
    assert house.one("SELECT count(*) FROM jobs") == 1


def test_a_repeated_ballot_gets_the_first_answer(house):
    proposal = house.open()
    command = uuid7()
    first = house.vote(proposal, "tara", "for", command_id=command)
    house.perform("votes.count")
    again = house.vote(proposal, "tara", "for", command_id=command)
    house.close_now()
    late = house.vote(proposal, "tara", "for", command_id=command)

    assert not first.duplicate
    assert again.duplicate
    assert late.duplicate
    assert again.ballot_id == late.ballot_id == first.ballot_id
    assert again.accepted_at == late.accepted_at == first.accepted_at
    assert house.one("SELECT count(*) FROM ballots") == 1


def test_a_repeated_refused_ballot_stays_refused(house):
    """The first answer stands, even when the rule would say yes by now."""
    proposal = house.propose()
    command = uuid7()
    first = house.vote(proposal, "tara", "for", command_id=command)
    house.do("proposals.activate", "tara", proposal_id=proposal)

    again = house.vote(proposal, "tara", "for", command_id=command)

    assert first.code == again.code == "PROPOSAL_NOT_ACTIVE"
    assert again.duplicate
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0


def test_a_repeated_ballot_with_other_content_is_a_conflict(house):
    proposal, other = house.open(), house.open()
    command = uuid7()
    house.vote(proposal, "tara", "for", command_id=command)

    conflicts = [
        house.vote(proposal, "tara", "against", command_id=command),
        house.vote(proposal, "gus", "for", command_id=command),
        house.vote(other, "tara", "for", command_id=command),
    ]

    assert [c.code for c in conflicts] == ["COMMAND_CONFLICT"] * 3
    assert [c.ballot_id for c in conflicts] == [None] * 3
    assert house.one("SELECT count(*) FROM ballot_inbox") == 1


def test_a_ballot_cannot_take_the_id_of_a_command(house):
    proposal = house.open()
    command = uuid7()
    house.submit("proposals.create", "tara", create(), command_id=command)

    assert house.vote(proposal, "tara", "for", command_id=command).code == "COMMAND_CONFLICT"


@pytest.mark.parametrize("first_commits", [True, False])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("what", ["ballot", "command"])
def test_the_same_id_at_the_same_time_is_decided_by_who_commits(house, what, same, first_commits):
    """INV-08: the second waits for the first, then answers as if it had come after."""
    proposal = house.open()
    id_ = str(uuid7())
    if what == "ballot":
        function = "forge_accept_ballots"
        mine = {"command_id": id_, "proposal_id": proposal, "member_id": "tara", "choice": "for"}
        other = mine if same else mine | {"choice": "against"}
        counted = "SELECT count(*) FROM ballot_inbox"
    else:
        function = "forge_submit_commands"
        mine = {
            "command_id": id_,
            "kind": "proposals.create",
            "actor": "tara",
            "payload": create(),
        }
        other = mine if same else mine | {"actor": "gus"}
        counted = "SELECT count(*) FROM jobs WHERE state = 'pending'"
    call = f"SELECT code, duplicate FROM {function}('{ISSUER}', %s)"
    url = make_url(house.server.url("forge_client", house.name))
    first, second = connect(url), connect(url)
    answers: list[tuple[object, ...]] = []

    def ask_second() -> None:
        with second.cursor() as cursor:
            cursor.execute(call, (json.dumps([other]),))
            answers.extend(cursor.fetchall())
        second.commit()

    try:
        with first.cursor() as cursor:
            cursor.execute(call, (json.dumps([mine]),))
            assert cursor.fetchall() == [(None, False)]
        thread = threading.Thread(target=ask_second)
        thread.start()
        until(lambda: waits(house, second.info.backend_pid))
        first.commit() if first_commits else first.rollback()
        thread.join()
    finally:
        first.close()
        second.close()

    if not first_commits:
        expected: tuple[object, bool] = (None, False)
    elif same:
        expected = (None, True)
    else:
        expected = ("COMMAND_CONFLICT", True)
    assert answers == [expected]
    assert house.one(counted) == 1


def waits(house: House, pid: int) -> bool:
    """Whether a backend stands at a lock."""
    return bool(house.one("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid))


def in_threads(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# What JSON in PostgreSQL cannot carry: refused by name where services enter


@pytest.fixture
def service(house, broker_url, redis_url, folder):
    settings = Settings(
        home=folder,
        database_url=house.server.url("forge_app", house.name),
        migrate_database_url=house.server.url("forge_migrate", house.name),
        client_database_url=house.server.url("forge_client", house.name),
        reader_database_url=house.server.url("forge_reader", house.name),
        broker_url=broker_url,
        redis_url=redis_url,
    )
    with GovernanceClient(issuer="service", settings=settings) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a\x00b", "TEXT_NUL"),
        ("a\ud800b", "TEXT_SURROGATE"),
        ("\udfff", "TEXT_SURROGATE"),
        (float("nan"), "PAYLOAD_NOT_JSON"),
        (float("inf"), "PAYLOAD_NOT_JSON"),
        (float("-inf"), "PAYLOAD_NOT_JSON"),
        ({1, 2}, "PAYLOAD_NOT_JSON"),
        (b"bytes", "PAYLOAD_NOT_JSON"),
    ],
    ids=["nul", "high surrogate", "low surrogate", "nan", "inf", "-inf", "set", "bytes"],
)
@pytest.mark.parametrize("where", ["title", "payload", "key"])
def test_the_client_refuses_what_no_database_can_hold(service, house, value, code, where):
    payload: dict[Any, Any] = create()
    if where == "payload":
        payload["payload"] = {"text": value}
    elif where == "title":
        payload["title"] = value
    elif isinstance(value, str):
        payload[value] = 1
    else:
        payload["list"] = [value]

    with pytest.raises(Refused) as caught:
        service.command("proposals.create", "tara", payload)

    assert caught.value.code == code
    assert house.one("SELECT count(*) FROM jobs") == 0


def test_the_client_lets_text_through_that_only_looks_like_a_nul(service, house):
    service.command("proposals.create", "tara", create(title="C:\\u0000 is a path"))
    house.perform("proposals.create")

    assert house.one("SELECT count(*) FROM proposals") == 1


def test_the_client_has_one_bad_ballot_refused_alone(service, house):
    proposal = house.open()
    answers = service.vote_many(
        [
            Ballot(proposal, "tara", "for"),
            Ballot(proposal, "gus\x00", "for"),
            Ballot(proposal, "ot\ud800to", "for"),
            Ballot(proposal + "\x00", "otto", "for"),
            Ballot(proposal, "cora", "perhaps"),
            Ballot(proposal, "stan", "against"),
        ]
    )

    assert [answer.refusal for answer in answers] == [
        None,
        "ID_INVALID",
        "ID_INVALID",
        "ID_INVALID",
        "CHOICE_INVALID",
        None,
    ]
    assert house.one("SELECT count(*) FROM ballot_inbox") == 2


@pytest.mark.parametrize("text", ['"\\u0000"', '"\\ud800"', "NaN", "Infinity"])
def test_raw_calls_with_such_json_fail_whole_and_record_nothing(house, text):
    command = json.dumps({"command_id": str(uuid7()), "kind": "proposals.create", "actor": "tara"})

    with pytest.raises(DBAPIError):
        house.submit_raw(f'[{command[:-1]}, "payload": {{"title": {text}}}}}]')

    assert house.one("SELECT count(*) FROM jobs") == 0
