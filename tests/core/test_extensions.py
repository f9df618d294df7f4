"""What governance adds to the registry: the next proposal may use it, and it can be taken out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from forge_core.capabilities.declaration import CapabilityClass
from tests.conftest import _servers
from tests.core.conftest import _house
from tests.core.factories import FULL_FOUNDERS, House, catalogue_with
from tests.core.full_house import (
    AWARD,
    CASES,
    GRANT,
    MODULE,
    PARAMETER,
    SWITCH,
    carried,
    done,
    effects,
    extension,
    platform_key,
    play,
    queued,
    tried,
    undo,
)

COLOUR = {"type": "configuration", "payload": {"key": "colour", "new_value": 2}}
PROPOSED = {"type": "grant_award", "payload": AWARD}


def add(house: House, kind: str, name: str, **declaration: Any) -> str:
    return play(house, extension(kind, name, **declaration))


def value(house: House, key: str) -> Any:
    """What services read."""
    return house.one("SELECT forge_setting(%s)", key)


def holds_true(house: House) -> None:
    """INV-44: the ledger tells it all again."""
    rows = house.derived_rows()
    house.refold()
    assert house.derived_rows() == rows


# Parameters and features


def test_the_next_proposal_sets_a_new_parameter(full_house):
    assert tried(full_house, "tara", **COLOUR).code == "UNKNOWN_CAPABILITY"
    assert value(full_house, "colour") is None
    play(full_house, PARAMETER)
    assert value(full_house, "colour") == 1

    proposal = done(full_house, "tara", **COLOUR)

    assert value(full_house, "colour") == 2
    assert [e["before"] for e in effects(full_house, proposal)] == [1]
    undo(full_house, proposal, "tara")
    assert value(full_house, "colour") == 1
    holds_true(full_house)


@pytest.mark.parametrize(
    ("new", "code"), [(0, None), (-1, "VALUE_OUT_OF_RANGE"), (9, None), (10, "VALUE_OUT_OF_RANGE")]
)
def test_a_new_parameter_has_the_bounds_it_was_given(full_house, new, code):
    """INV-39."""
    play(full_house, PARAMETER)

    answer = tried(
        full_house, "tara", type="configuration", payload={"key": "colour", "new_value": new}
    )

    assert answer.code == code


@pytest.mark.parametrize(
    ("declaration", "new", "wrong"),
    [
        ({"type": "decimal", "default": "0.50", "least": 0, "most": "0.75"}, "0.75", "0.751"),
        ({"type": "boolean", "default": True}, False, 0),
        (
            {"type": "time", "default": "2030-01-01T00:00:00+01:00"},
            "2031-01-01T00:00:00.000000Z",
            "2031-01-01",
        ),
    ],
)
def test_a_new_parameter_may_be_of_any_type(full_house, declaration, new, wrong):
    add(full_house, "parameter", "tint", klass="ordinary", description="d", **declaration)
    given = {"key": "tint", "new_value": wrong}
    code = tried(full_house, "tara", type="configuration", payload=given).code
    assert code in {"VALUE_OUT_OF_RANGE", "VALUE_TYPE"}

    given["new_value"] = new
    done(full_house, "tara", type="configuration", payload=given)

    assert value(full_house, "tint") == new


@pytest.mark.parametrize(
    ("klass", "type_", "track", "hours"),
    [
        ("ordinary", "configuration", "routine", 0),
        ("protocol", "configuration", "protected", 336),
        ("treasury", "governance_rule", "protected", 168),
        ("rule", "governance_rule", "protected", 336),
    ],
)
def test_the_class_of_a_new_parameter_decides_its_track(full_house, klass, type_, track, hours):
    """The class, and not what the proposal calls itself."""
    declaration = {**PARAMETER.payload["declaration"], "klass": klass}
    add(full_house, "parameter", "colour", **declaration)
    other = {"configuration": "governance_rule", "governance_rule": "configuration"}[type_]

    assert tried(full_house, type=other, payload=COLOUR["payload"]).code == "TYPE_MISMATCH"
    proposal = full_house.open("carl", type=type_, payload=COLOUR["payload"])

    assert full_house.column(proposal, "track") == track
    assert full_house.column(proposal, "terms ->> 'timelock_hours'") == str(hours)


def test_a_new_number_can_be_adjusted_in_an_emergency(full_house):
    declaration = {**PARAMETER.payload["declaration"], "default": 4}
    add(full_house, "parameter", "colour", **declaration)
    payload = {"action": "adjust", "key": "colour", "new_value": 6}

    done(full_house, type="emergency", payload=payload)

    assert value(full_house, "colour") == 6


def test_the_next_proposal_switches_a_new_feature(full_house):
    on = {"type": "feature_activation", "payload": {"feature": "lanterns", "enabled": True}}
    assert tried(full_house, "tara", **on).code == "UNKNOWN_CAPABILITY"
    play(full_house, SWITCH)
    assert value(full_house, "feature.lanterns") is False

    proposal = done(full_house, "tara", **on)

    assert full_house.column(proposal, "track") == "protected"
    assert value(full_house, "feature.lanterns") is True
    holds_true(full_house)


# Types of proposal


def test_the_next_proposal_is_of_the_new_type_and_its_execution_is_recorded(full_house):
    assert tried(full_house, "stan", **PROPOSED).code == "UNKNOWN_PROPOSAL_TYPE"
    play(full_house, GRANT)

    proposal = done(full_house, "stan", **PROPOSED)

    (decision,) = full_house.entries("decision.recorded")
    assert (decision["actor"], decision["subject"]) == ("stan", proposal)
    fields = dict(decision["data"]["fields"])
    why = full_house.one("SELECT body FROM texts WHERE commitment = %s", fields.pop("why"))
    assert why == AWARD["why"]
    assert fields == {"to": "sam", "sum": "12.5", "years": 2, "public": True}
    holds_true(full_house)


def test_the_free_texts_of_a_new_type_are_committed_and_can_be_erased(full_house):
    """The ledger and the proposal have the commitment, never the words."""
    play(full_house, GRANT)
    proposal = done(full_house, "stan", **PROPOSED)

    assert AWARD["why"] not in json.dumps(full_house.entries())
    assert AWARD["why"].encode() not in bytes(full_house.column(proposal, "payload"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"why": None}, "PAYLOAD_MISSING_KEY"),
        ({"more": 1}, "PAYLOAD_UNKNOWN_KEY"),
        ({"why": ""}, "TEXT_BLANK"),
        ({"why": 5}, "TEXT_INVALID_TYPE"),
        ({"to": "no spaces"}, "ID_INVALID"),
        ({"sum": 12.5}, "NUMBER_INVALID"),
        ({"sum": True}, "NUMBER_INVALID"),
        ({"sum": "NaN"}, "NUMBER_INVALID"),
        ({"years": "2"}, "PAYLOAD_WRONG_TYPE"),
        ({"years": True}, "PAYLOAD_WRONG_TYPE"),
        ({"public": 1}, "PAYLOAD_WRONG_TYPE"),
        ({"type": "policy"}, "TYPE_MISMATCH"),
    ],
)
def test_the_fields_of_a_new_type_are_required_and_typed(grants, change, code):
    given = {key: new for key, new in (AWARD | change).items() if new is not None}

    answer = tried(grants, "stan", type="grant_award", payload=given)

    assert answer.code == code


@pytest.fixture(scope="module")
def grants(pytestconfig: pytest.Config, full_template: str) -> Iterator[House]:
    """A house that knows the type."""
    with _house(_servers(pytestconfig), full_template, FULL_FOUNDERS) as house:
        play(house, GRANT)
        yield house


def test_a_new_type_takes_the_trust_it_was_given(grants):
    assert tried(grants, "sam", **PROPOSED).code == "TRUST_TOO_LOW"
    assert tried(grants, "stan", **PROPOSED).state == "done"


def test_a_proposal_of_a_new_type_carries_several_actions(full_house):
    play(full_house, GRANT)
    actions = [AWARD, {**AWARD, "to": "tara"}, {**AWARD, "to": "otto"}]
    proposal = done(full_house, "stan", type="grant_award", payload={"actions": actions})

    recorded = full_house.entries("decision.recorded")
    assert [entry["data"]["fields"]["to"] for entry in recorded] == ["sam", "tara", "otto"]
    undo(full_house, proposal)
    withdrawn = full_house.entries("decision.withdrawn")
    assert [entry["data"]["action"] for entry in withdrawn] == [2, 1, 0]


@pytest.mark.parametrize(
    ("klass", "track", "hours"),
    [
        ("ordinary", "routine", 0),
        ("protocol", "protected", 336),
        ("treasury", "protected", 168),
        ("rule", "protected", 336),
    ],
)
def test_the_class_of_a_new_type_decides_its_track(full_house, klass, track, hours):
    add(
        full_house,
        "proposal_type",
        "grant_award",
        **{**GRANT.payload["declaration"], "klass": klass},
    )

    proposal = full_house.open("stan", **PROPOSED)

    assert full_house.column(proposal, "track") == track
    assert full_house.column(proposal, "terms ->> 'timelock_hours'") == str(hours)


def test_votes_on_a_new_type_can_be_delegated(full_house):
    given = {"delegate": "tara", "scope": "grant_award"}
    assert full_house.command("members.delegate", "sam", given).code == "SCOPE_UNKNOWN"
    play(full_house, GRANT)
    full_house.do("members.delegate", "sam", **given)

    proposal = full_house.open("stan", **PROPOSED)
    full_house.vote(proposal, "tara", "for")
    full_house.end_voting(proposal)

    assert full_house.column(proposal, "decision")["totals"]["for"] == "3.5"


# Modules


def test_the_next_update_moves_a_new_module_and_a_parameter_belongs_to_it(full_house):
    update = CASES["a module's version"].given
    play(full_house, MODULE)

    done(full_house, "stan", **update)
    declaration = {**PARAMETER.payload["declaration"], "module": "ledger"}
    add(full_house, "parameter", "colour", **declaration)

    assert full_house.sql("SELECT version, governs, rollback FROM modules") == [
        ("1.1.0", "Its version.", "By hand.")
    ]
    assert full_house.one("SELECT declaration ->> 'module' FROM extensions") == "ledger"
    holds_true(full_house)


# Taking it out again


def test_what_was_taken_out_is_unknown_again_to_whatever_was_under_way(full_house):
    """A draft is not opened, and what was approved fails by name."""
    declaration = {**PARAMETER.payload["declaration"], "klass": "protocol"}
    added = add(full_house, "parameter", "colour", **declaration)
    draft = full_house.propose("tara", **COLOUR)
    waiting = queued(full_house, "tara", **COLOUR)

    undo(full_house, added)
    opened = full_house.command("proposals.activate", "tara", {"proposal_id": draft})
    full_house.ripen(waiting)

    assert value(full_house, "colour") is None
    assert opened.code == "UNKNOWN_CAPABILITY"
    assert full_house.column(waiting, "failure") == "UNKNOWN_CAPABILITY"
    assert tried(full_house, "tara", **COLOUR).code == "UNKNOWN_CAPABILITY"
    holds_true(full_house)


def test_a_name_that_was_taken_out_can_be_added_again(full_house):
    added = play(full_house, PARAMETER)
    undo(full_house, added)

    add(full_house, "feature", "colour", description="now a switch")

    assert value(full_house, "feature.colour") is False
    assert full_house.sql("SELECT name, kind FROM extensions") == [("colour", "feature")]


def test_a_type_is_taken_out_when_nobody_proposes_it_any_more(full_house):
    added = play(full_house, GRANT)
    draft = full_house.propose("stan", **PROPOSED)
    given = {"type": "rollback", "payload": {"proposal": added}}
    assert tried(full_house, **given).result["code"] == "EXTENSION_IN_USE"
    full_house.do("proposals.cancel", "stan", proposal_id=draft, reason="never mind")

    undo(full_house, added)

    assert full_house.status(added) == "rolled_back"
    assert tried(full_house, "stan", **PROPOSED).code == "UNKNOWN_PROPOSAL_TYPE"
    assert full_house.status(draft) == "cancelled"


def test_a_type_in_use_by_what_was_executed_is_taken_out_after_that(full_house):
    added = play(full_house, GRANT)
    award = done(full_house, "stan", **PROPOSED)
    kept = undo(full_house, added)
    assert full_house.column(kept, "failure") == "EXTENSION_IN_USE"

    undo(full_house, award)
    undo(full_house, added)

    assert full_house.status(added) == "rolled_back"
    holds_true(full_house)


# Names are taken once


def test_of_two_live_additions_of_one_name_the_later_fails(full_house):
    """INV-34."""
    first = queued(full_house, **PARAMETER.given)
    second = queued(full_house, **PARAMETER.given)
    full_house.ripen(first)
    full_house.ripen(second)

    assert full_house.status(first) == "executed"
    assert full_house.column(second, "failure") == "EXTENSION_EXISTS"


@pytest.mark.parametrize("order", [1, -1])
def test_two_names_of_one_key_never_come_together(full_house, order):
    """A house whose registry contradicts itself could do nothing any more."""
    named = {**PARAMETER.payload, "name": "feature.lanterns"}
    actions = [SWITCH.payload, named][::order]

    together = tried(full_house, type="registry_extension", payload={"actions": actions})
    for payload in actions:
        carried(full_house, type="registry_extension", payload=payload)

    assert together.code == "ACTIONS_CONFLICT"
    assert full_house.one("SELECT count(*) FROM extensions") == 1
    assert tried(full_house, "tara", type="policy", payload={"text": "x"}).state == "done"


@pytest.mark.parametrize("name", ["track.protected.veto", "track.new.quorum"])
def test_no_parameter_becomes_a_term_of_a_track(full_house, name):
    """Terms have their bounds and their guard; a new key of that name would have neither."""
    payload = {**PARAMETER.payload, "name": name}

    assert tried(full_house, type="registry_extension", payload=payload).code == "EXTENSION_INVALID"


def test_what_the_code_comes_to_declare_hides_an_addition_of_that_name(full_house):
    """The house goes on; the declaration of the code is the one that counts."""
    play(full_house, PARAMETER)
    full_house.use(catalogue_with(platform_key("colour", klass=CapabilityClass.PROTOCOL, most=50)))

    proposal = done(full_house, type="configuration", payload={"key": "colour", "new_value": 50})

    assert full_house.column(proposal, "track") == "protected"


def test_an_extension_is_a_matter_of_rules(full_house):
    """Proposed by CORE, on the protected track, under its longer timelock."""
    proposal = full_house.open("carl", **SWITCH.given)

    assert full_house.column(proposal, "track") == "protected"
    assert full_house.column(proposal, "terms ->> 'timelock_hours'") == "336"
