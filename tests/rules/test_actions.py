"""What proposals can do, by their form alone: one action or several, each of the right type.

A type never opens more than its class allows, and whatever is wrong has a name (INV-39).
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.actions.payloads import parse_payload
from forge_core.actions.targets import Target
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.errors import Refused
from forge_core.proposals.tracks import Track, track_of
from forge_core.wiring import CATALOGUE

C = CapabilityClass


def refusal(type_, raw, catalogue=CATALOGUE):
    with pytest.raises(Refused) as refused:
        parse_payload(type_, raw, catalogue)
    assert str(refused.value).encode()
    return refused.value


def allocation(number):
    return {"recipient": f"member-{number}", "amount": "1"}


@pytest.mark.parametrize("count", [2, 3, 63, 64])
def test_a_proposal_carries_up_to_64_actions_in_their_order(count):
    raw = {"actions": [allocation(number) for number in range(count)]}
    payload = parse_payload("treasury_allocation", raw, CATALOGUE)
    assert [action.recipient for action in payload.actions] == [
        f"member-{number}" for number in range(count)
    ]
    assert payload.json() == raw
    again = parse_payload("treasury_allocation", json.loads(payload.canonical()), CATALOGUE)
    assert (again, again.digest()) == (payload, payload.digest())


@pytest.mark.parametrize("count", [0, 1, 65, 1_000])
def test_another_number_of_actions_is_refused(count):
    raw = {"actions": [allocation(number) for number in range(count)]}
    found = refusal("treasury_allocation", raw)
    assert found.code == "ACTIONS_COUNT"
    assert f"payload.actions has {count}; a proposal has 2 to 64" in found.message


def test_one_action_has_one_form():
    """INV-33: else two payloads of one meaning would have two hashes."""
    assert parse_payload("treasury_allocation", allocation(1), CATALOGUE).json() == allocation(1)
    assert refusal("treasury_allocation", {"actions": [allocation(1)]}).code == "ACTIONS_COUNT"


@pytest.mark.parametrize("listed", [None, 5, "two", True, {}, {"0": {}, "1": {}}, ({}, {})])
def test_actions_are_a_list(listed):
    assert refusal("policy", {"actions": listed}).code == "PAYLOAD_WRONG_TYPE"


@pytest.mark.parametrize("one", [None, 5, "a", True, [], [{}]])
def test_each_action_is_an_object(one):
    assert refusal("policy", {"actions": [{}, one]}).code == "PAYLOAD_NOT_OBJECT"


@pytest.mark.parametrize("extra", [{"text": "a"}, {"type": "policy"}, {"": 1}, {"\ud800": 1}])
def test_beside_actions_there_is_nothing_else(extra):
    found = refusal("policy", {"actions": [{}, {}], **extra})
    assert found.code == "PAYLOAD_UNKNOWN_KEY"


@pytest.mark.parametrize("type_", CATALOGUE.types)
def test_actions_do_not_nest(type_):
    nested = {"actions": [{"actions": [{}, {}]}, {"actions": [{}, {}]}]}
    assert refusal(type_, nested).code in {
        "PAYLOAD_UNKNOWN_KEY",
        "PAYLOAD_MISSING_KEY",
        "ACTIONS_COUNT",
    }
    assert refusal("policy", nested).code == "PAYLOAD_UNKNOWN_KEY"


def test_each_action_is_held_to_the_limits_of_one_payload():
    text = "x" * (10_000 - len('{"text":""}'))
    parse_payload("policy", {"actions": [{"text": text}] * 2}, CATALOGUE)
    too_long = {"actions": [{"text": text}, {"text": text + "x"}]}
    assert refusal("policy", too_long).code == "PAYLOAD_TOO_LARGE"
    deep = {"a": {"a": {"a": {"a": {"a": {}}}}}}
    assert refusal("policy", {"actions": [{}, deep]}).code == "PAYLOAD_TOO_DEEP"
    many = {f"key_{number}": 1 for number in range(101)}
    assert refusal("policy", {"actions": [{}, many]}).code == "PAYLOAD_TOO_MANY_KEYS"


def test_all_actions_together_have_at_most_100_000_bytes():
    around = len('{"actions":[]}') + 12 * len('{"text":""},') - 1
    texts = [*["x" * 9_000] * 11, "x" * (100_000 - around - 11 * 9_000)]
    payload = parse_payload("policy", {"actions": [{"text": text} for text in texts]}, CATALOGUE)
    assert len(payload.canonical()) == 100_000
    texts[0] += "x"
    found = refusal("policy", {"actions": [{"text": text} for text in texts]})
    assert found.code == "PAYLOAD_TOO_LARGE"
    assert "100,000 bytes" in found.message


def test_one_wrong_action_refuses_them_all():
    raw = {"actions": [{"key": "difficulty", "new_value": 5}, {"key": "block_reward"}]}
    assert refusal("configuration", raw).code == "PAYLOAD_MISSING_KEY"


TRUST = {"current_trust": "SANDBOX", "new_trust": "STANDARD"}
VERSIONS = {"current_version": "1.0.0", "new_version": "1.1.0"}
FEATURE = {"kind": "feature", "name": "gardens", "declaration": {"description": "Planting."}}
PARAMETER = {
    "kind": "parameter",
    "name": "feature.gardens",
    "declaration": {
        "klass": "ordinary",
        "type": "boolean",
        "description": "Planting.",
        "default": True,
    },
}


@pytest.mark.parametrize(
    ("type_", "one", "other", "target"),
    [
        (
            "configuration",
            {"key": "difficulty", "new_value": 5},
            {"key": "difficulty", "new_value": 6},
            "setting:difficulty",
        ),
        (
            "governance_rule",
            {"key": "track.routine.quorum", "new_value": "0.4"},
            {"key": "track.routine.quorum", "new_value": "0.5"},
            "setting:track.routine.quorum",
        ),
        (
            "feature_activation",
            {"feature": "exchange", "enabled": True},
            {"feature": "exchange", "enabled": False},
            "setting:feature.exchange",
        ),
        (
            "trust_adjustment",
            {"member": "bob", **TRUST},
            {"member": "bob", "current_trust": "STANDARD", "new_trust": "TRUSTED"},
            "member.level:bob",
        ),
        (
            "trust_adjustment",
            {"overlay": "rain", **TRUST},
            {"overlay": "rain", **TRUST},
            "overlay.trust:rain",
        ),
        (
            "role_change",
            {"member": "bob", "role": "guardian", "holds": True},
            {"member": "bob", "role": "guardian", "holds": False},
            "role.guardian:bob",
        ),
        (
            "overlay_registration",
            {"overlay": "rain", "name": "Rain", "version": "1.0.0"},
            {"overlay": "rain", "name": "Rain again", "version": "2.0.0"},
            "overlay:rain",
        ),
        (
            "overlay_update",
            {"overlay": "rain", **VERSIONS},
            {"overlay": "rain", "current_version": "1.1.0", "new_version": "1.2.0"},
            "overlay.version:rain",
        ),
        (
            "overlay_update",
            {"module": "rain", **VERSIONS},
            {"module": "rain", **VERSIONS},
            "module.version:rain",
        ),
        # A feature and a parameter of the key that it would have.
        ("registry_extension", FEATURE, PARAMETER, "setting:feature.gardens"),
        ("emergency", {"action": "pause", "hours": 1}, {"action": "resume"}, "execution"),
        (
            "emergency",
            {"action": "adjust", "key": "difficulty", "new_value": 5},
            {"action": "adjust", "key": "difficulty", "new_value": 6},
            "setting:difficulty",
        ),
    ],
)
def test_one_proposal_changes_one_thing_once(type_, one, other, target):
    for single in (one, other):
        assert parse_payload(type_, single, CATALOGUE).targets() == (target,)
    found = refusal(type_, {"actions": [one, other]})
    assert found.code == "ACTIONS_CONFLICT"
    assert found.message == f"two actions change {target}; one proposal does it once"


@pytest.mark.parametrize(
    ("type_", "one", "other_type", "other"),
    [
        (
            "overlay_update",
            {"overlay": "rain", **VERSIONS},
            "overlay_registration",
            {"overlay": "rain:version", "name": "Rain", "version": "1.0.0"},
        ),
        (
            "trust_adjustment",
            {"overlay": "rain", **TRUST},
            "overlay_registration",
            {"overlay": "trust:rain", "name": "Rain", "version": "1.0.0"},
        ),
        (
            "role_change",
            {"member": "bob", "role": "guardian", "holds": True},
            "role_change",
            {"member": "bob:guardian", "role": "guardian", "holds": True},
        ),
    ],
)
def test_no_id_passes_for_another_thing(type_, one, other_type, other):
    """An id may hold colons and dots; what one target names, no other does."""
    first = parse_payload(type_, one, CATALOGUE).targets()
    assert set(first).isdisjoint(parse_payload(other_type, other, CATALOGUE).targets())


@settings(deadline=None)
@given(
    st.sampled_from(["overlay", "module", "role"]),
    st.none() | st.sampled_from(["trust", "version", "guardian"]),
    st.text(alphabet="a:.", min_size=1) | st.text(min_size=1),
)
def test_a_target_is_read_back_as_it_was_named(register, aspect, id_):
    target = Target(register, aspect, id_)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("type_", "actions", "targets"),
    [
        (
            "trust_adjustment",
            [{"member": "bob", **TRUST}, {"overlay": "bob", **TRUST}],
            ("member.level:bob", "overlay.trust:bob"),
        ),
        (
            "role_change",
            [
                {"member": "bob", "role": "guardian", "holds": True},
                {"member": "bob", "role": "reviewer", "holds": True},
            ],
            ("role.guardian:bob", "role.reviewer:bob"),
        ),
        (
            "overlay_update",
            [{"overlay": "rain", **VERSIONS}, {"module": "rain", **VERSIONS}],
            ("module.version:rain", "overlay.version:rain"),
        ),
        (
            "emergency",
            [
                {"action": "adjust", "key": "difficulty", "new_value": 5},
                {"action": "pause", "hours": 1},
            ],
            ("execution", "setting:difficulty"),
        ),
        # Two payments to one account are two payments, and equal policies two policies.
        ("treasury_allocation", [allocation(1), allocation(1)], ("treasury",)),
        ("policy", [{"text": "Be kind."}, {"text": "Be kind."}], ()),
    ],
)
def test_different_things_and_what_adds_up_do_not_conflict(type_, actions, targets):
    payload = parse_payload(type_, {"actions": actions}, CATALOGUE)
    assert payload.targets() == targets
    assert len(payload.actions) == 2


def test_the_free_texts_are_found_and_replaced_by_their_place():
    raw = {
        "actions": [
            {"overlay": "rain", "name": "Rain", "version": "1.0.0", "description": "Or not."},
            {"overlay": "snow", "name": "Snow", "version": "1.0.0"},
        ]
    }
    payload = parse_payload("overlay_registration", raw, CATALOGUE)
    assert list(payload.texts()) == [
        (0, "name", "Rain"),
        (0, "description", "Or not."),
        (1, "name", "Snow"),
    ]
    committed = payload.with_texts({(0, "description"): "sha256:0", (1, "name"): "sha256:1"})
    assert list(committed.texts()) == [
        (0, "name", "Rain"),
        (0, "description", "sha256:0"),
        (1, "name", "sha256:1"),
    ]
    assert committed.targets() == payload.targets()


@pytest.mark.parametrize("type_", CATALOGUE.types)
def test_a_payload_does_not_say_of_what_type_it_is(type_):
    others = [other for other in CATALOGUE.types if other != type_]
    for declared in (*others, "election", "", 5, True, [type_], {"is": type_}):
        found = refusal(type_, {"type": declared})
        assert found.code == "TYPE_MISMATCH"
        assert f"the proposal {type_}; the proposal's type counts" in found.message
    assert refusal(type_, {"type": None}).code == "PAYLOAD_WRONG_TYPE"


def test_another_type_in_any_of_several_actions_is_refused():
    raw = {"actions": [{}, {"type": "governance_rule"}]}
    assert refusal("policy", raw).code == "TYPE_MISMATCH"


def test_the_right_type_in_a_payload_is_a_key_too_many():
    assert refusal("policy", {"type": "policy"}).code == "PAYLOAD_UNKNOWN_KEY"


@pytest.mark.parametrize(
    ("type_", "raw", "klass", "track"),
    [
        ("configuration", {"key": "rate_limit.CORE", "new_value": 5}, C.ORDINARY, Track.ROUTINE),
        ("configuration", {"key": "difficulty", "new_value": 5}, C.PROTOCOL, Track.PROTECTED),
        ("policy", {}, C.ORDINARY, Track.ROUTINE),
        ("trust_adjustment", {"member": "bob", **TRUST}, C.ORDINARY, Track.ROUTINE),
        ("trust_adjustment", {"overlay": "rain", **TRUST}, C.ORDINARY, Track.ROUTINE),
        (
            "overlay_registration",
            {"overlay": "rain", "name": "Rain", "version": "1.0.0"},
            C.ORDINARY,
            Track.ROUTINE,
        ),
        ("overlay_update", {"overlay": "rain", **VERSIONS}, C.ORDINARY, Track.ROUTINE),
        (
            "feature_activation",
            {"feature": "exchange", "enabled": False},
            C.FEATURE,
            Track.PROTECTED,
        ),
        ("treasury_allocation", allocation(1), C.TREASURY, Track.PROTECTED),
        (
            "governance_rule",
            {"key": "track.routine.quorum", "new_value": "0.4"},
            C.RULE,
            Track.PROTECTED,
        ),
        (
            "governance_rule",
            {"key": "treasury.budget", "new_value": 5},
            C.TREASURY,
            Track.PROTECTED,
        ),
        (
            "role_change",
            {"member": "bob", "role": "guardian", "holds": True},
            C.RULE,
            Track.PROTECTED,
        ),
        ("registry_extension", FEATURE, C.RULE, Track.PROTECTED),
        ("emergency", {"action": "resume"}, C.EMERGENCY, Track.EMERGENCY),
        (
            "emergency",
            {"action": "adjust", "key": "difficulty", "new_value": 5},
            C.EMERGENCY,
            Track.EMERGENCY,
        ),
    ],
)
def test_each_type_has_its_class_and_track(type_, raw, klass, track, catalogue):
    classes = parse_payload(type_, raw, catalogue).classes(catalogue)
    assert classes == {klass}
    assert track_of(classes) is track


def test_every_type_of_the_house_is_here():
    assert CATALOGUE.types == (
        "configuration",
        "policy",
        "trust_adjustment",
        "overlay_registration",
        "overlay_update",
        "overlay_standing",
        "feature_activation",
        "treasury_allocation",
        "governance_rule",
        "role_change",
        "registry_extension",
        "emergency",
        "rollback",
    )


KEY_OF = {
    C.ORDINARY: ("rate_limit.CORE", 5, "configuration"),
    C.PROTOCOL: ("difficulty", 5, "configuration"),
    C.FEATURE: ("feature.exchange", False, "feature_activation"),
    C.TREASURY: ("treasury.budget", 5, "governance_rule"),
    C.RULE: ("track.routine.quorum", "0.4", "governance_rule"),
    C.EMERGENCY: ("siren.volume", 6, "emergency"),
}


@pytest.mark.parametrize("klass", CapabilityClass)
@pytest.mark.parametrize("type_", ["configuration", "governance_rule"])
def test_a_key_is_changed_by_the_type_of_its_class_only(type_, klass, catalogue):
    key, value, right = KEY_OF[klass]
    raw = {"key": key, "new_value": value}
    if type_ == right:
        assert parse_payload(type_, raw, catalogue).classes(catalogue) == {klass}
        return
    found = refusal(type_, raw, catalogue)
    assert found.code == "TYPE_MISMATCH"
    assert f"{key} is of class {klass}: it is changed only by {right}" in found.message
    # The class is looked at before the value.
    assert refusal(type_, {**raw, "new_value": "absurd"}, catalogue).code == "TYPE_MISMATCH"


def test_a_weak_type_hides_no_strong_key_among_its_own(catalogue):
    raw = {
        "actions": [
            {"key": "rate_limit.CORE", "new_value": 5},
            {"key": "track.protected.reviewers", "new_value": 1},
        ]
    }
    assert refusal("configuration", raw, catalogue).code == "TYPE_MISMATCH"


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        ("nothing", "UNKNOWN_CAPABILITY"),
        ("feature.exchange", "UNKNOWN_CAPABILITY"),
        ("Exchange", "UNKNOWN_CAPABILITY"),
        ("exchange ", "UNKNOWN_CAPABILITY"),
        ("", "TEXT_BLANK"),
        ("x" * 201, "TEXT_TOO_LONG"),
    ],
)
def test_only_a_registered_feature_is_switched(feature, code):
    found = refusal("feature_activation", {"feature": feature, "enabled": True})
    assert found.code == code


@pytest.mark.parametrize("hours", [1, 168])
def test_a_pause_has_an_end_within_a_week(hours):
    raw = {"action": "pause", "hours": hours}
    assert parse_payload("emergency", raw, CATALOGUE).json() == raw


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        *(({"action": "pause", "hours": n}, "VALUE_OUT_OF_RANGE") for n in (0, 169, -1, 2**53 - 1)),
        *(
            ({"action": "pause", "hours": hours}, "PAYLOAD_WRONG_TYPE")
            for hours in (1.0, True, "1", [1], None)
        ),
        ({"action": "pause"}, "PAYLOAD_MISSING_KEY"),
        ({"action": "pause", "hours": 1, "key": "difficulty"}, "PAYLOAD_UNKNOWN_KEY"),
        ({"action": "resume", "hours": 1}, "PAYLOAD_UNKNOWN_KEY"),
        ({"action": "resume", "old_value": 1}, "PAYLOAD_UNKNOWN_KEY"),
        ({"action": "adjust"}, "PAYLOAD_MISSING_KEY"),
        ({"action": "adjust", "key": "difficulty"}, "PAYLOAD_MISSING_KEY"),
        ({"action": "adjust", "new_value": 5}, "PAYLOAD_MISSING_KEY"),
        (
            {"action": "adjust", "key": "difficulty", "new_value": 5, "hours": 1},
            "PAYLOAD_UNKNOWN_KEY",
        ),
        *(
            ({"action": word}, "PAYLOAD_WRONG_TYPE")
            for word in ("panic", "Pause", "", 5, ["pause"])
        ),
        ({}, "PAYLOAD_MISSING_KEY"),
        ({"hours": 1}, "PAYLOAD_MISSING_KEY"),
        ({"action": "resume", "until": "2031-01-01"}, "PAYLOAD_UNKNOWN_KEY"),
    ],
)
def test_an_emergency_carries_what_its_action_needs_and_nothing_else(raw, code):
    assert refusal("emergency", raw).code == code


@pytest.mark.parametrize(
    ("key", "new", "old", "code"),
    [
        ("difficulty", 11, 4, "VALUE_OUT_OF_RANGE"),
        ("difficulty", 5, 11, "VALUE_OUT_OF_RANGE"),
        ("difficulty", 5, 5, "NO_CHANGE"),
        ("difficulty", 5.0, 4, "VALUE_TYPE"),
        ("difficulty", "5", 4, "VALUE_TYPE"),
        ("difficulty", True, 4, "VALUE_TYPE"),
        ("difficulty", [5], 4, "PAYLOAD_WRONG_TYPE"),
        ("block_reward", 0.5, 12, "VALUE_TYPE"),
        ("nothing", 5, 4, "UNKNOWN_CAPABILITY"),
        ("", 5, 4, "TEXT_BLANK"),
        ("maintenance", True, False, "TYPE_MISMATCH"),
        ("feature.exchange", False, True, "TYPE_MISMATCH"),
        ("treasury.budget", 13, 12, "TYPE_MISMATCH"),
        ("track.emergency.min_yes_voters", 2, 5, "TYPE_MISMATCH"),
        ("emergency.adjustment", "1", "0.5", "TYPE_MISMATCH"),
        ("trust.weight.CORE", 6, 5, "TYPE_MISMATCH"),
    ],
)
def test_an_emergency_adjusts_ordinary_and_protocol_numbers_only(key, new, old, code, catalogue):
    raw = {"action": "adjust", "key": key, "new_value": new, "old_value": old}
    assert refusal("emergency", raw, catalogue).code == code


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ({"key": "rate_limit.CORE", "new_value": 5}, {"key": "rate_limit.CORE", "new_value": 5}),
        (
            {"key": "block_reward", "new_value": "12.50", "old_value": 12},
            {"key": "block_reward", "new_value": "12.5", "old_value": "12"},
        ),
        # Zero is a value and not an absence.
        (
            {"key": "block_reward", "new_value": 0, "old_value": "0.10"},
            {"key": "block_reward", "new_value": "0", "old_value": "0.1"},
        ),
    ],
)
def test_an_adjustment_is_carried_in_canonical_form(given_, canonical):
    payload = parse_payload("emergency", {"action": "adjust", **given_}, CATALOGUE)
    assert payload.json() == {"action": "adjust", **canonical}


@pytest.mark.parametrize(
    ("amount", "canonical"),
    [
        (1, "1"),
        ("1.50", "1.5"),
        ("0." + "0" * 99 + "1", "0." + "0" * 99 + "1"),
        ("9" * 100, "9" * 100),
        (2**53 - 1, "9007199254740991"),
        ("1e3", "1000"),
    ],
)
def test_an_amount_is_exact_whatever_its_size(amount, canonical):
    raw = {"recipient": "bob", "amount": amount}
    assert parse_payload("treasury_allocation", raw, CATALOGUE).json()["amount"] == canonical


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        *((amount, "AMOUNT_NOT_POSITIVE") for amount in (0, "0", "-0", "0.00", -1, "-0.01", "0e9")),
        *((amount, "NUMBER_INVALID") for amount in (1.5, 0.0, True, False, "", "NaN", "Infinity")),
        *((amount, "NUMBER_INVALID") for amount in ("1" * 101, "1e100", "1e-101", "lots", [1], {})),
        *((float(amount), "PAYLOAD_NUMBER") for amount in ("nan", "inf", "-inf")),
        (2**53, "PAYLOAD_NUMBER"),
        (None, "PAYLOAD_WRONG_TYPE"),
    ],
)
def test_an_amount_that_cannot_be_paid_is_refused_by_name(amount, code):
    found = refusal("treasury_allocation", {"recipient": "bob", "amount": amount})
    assert found.code == code
    assert "payload.amount" in found.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"recipient": "treasury"}, "NO_CHANGE"),
        ({"recipient": ""}, "ID_INVALID"),
        ({"recipient": "a b"}, "ID_INVALID"),
        ({"recipient": 5}, "ID_INVALID"),
        ({"purpose": ""}, "TEXT_BLANK"),
        ({"purpose": "p" * 10_001}, "PAYLOAD_TOO_LARGE"),
        ({"from": "alice"}, "PAYLOAD_UNKNOWN_KEY"),
    ],
)
def test_the_treasury_pays_somebody_else(change, code):
    assert refusal("treasury_allocation", {**allocation(1), **change}).code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "PAYLOAD_WRONG_TYPE"),
        ({"member": "bob", "overlay": "rain"}, "PAYLOAD_WRONG_TYPE"),
        ({"overlay": "a b"}, "ID_INVALID"),
        ({"overlay": "rain", "new_trust": "CORE"}, "CORE_NOT_GRANTED"),
        ({"overlay": "rain", "new_trust": "SANDBOX"}, "NO_CHANGE"),
        ({"overlay": "rain", "new_trust": "high"}, "TRUST_LEVEL_UNKNOWN"),
    ],
)
def test_trust_is_that_of_a_member_or_of_an_overlay(change, code):
    assert refusal("trust_adjustment", {**TRUST, **change}).code == code


def test_no_way_of_writing_it_grants_core():
    for before in ("TRUSTED", "SANDBOX", "QUARANTINE"):
        raw = {"member": "bob", "current_trust": before, "new_trust": "CORE"}
        assert refusal("trust_adjustment", raw).code == "CORE_NOT_GRANTED"
        several = {"actions": [{"member": "ann", **TRUST}, raw]}
        assert refusal("trust_adjustment", several).code == "CORE_NOT_GRANTED"


@pytest.mark.parametrize("role", ["admin", "guardian", "reviewer", "operator"])
@pytest.mark.parametrize("holds", [True, False])
def test_each_role_is_given_and_taken(role, holds):
    raw = {"member": "bob", "role": role, "holds": holds}
    assert parse_payload("role_change", raw, CATALOGUE).json() == raw


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": "owner"}, "ROLE_UNKNOWN"),
        ({"role": "Guardian"}, "ROLE_UNKNOWN"),
        ({"role": ["guardian"]}, "ROLE_UNKNOWN"),
        ({"member": "a b"}, "ID_INVALID"),
        ({"holds": 1}, "PAYLOAD_WRONG_TYPE"),
        ({"holds": "true"}, "PAYLOAD_WRONG_TYPE"),
        ({"overlay": "rain"}, "PAYLOAD_UNKNOWN_KEY"),
        ({"current_trust": "CORE"}, "PAYLOAD_UNKNOWN_KEY"),
    ],
)
def test_a_role_change_names_one_member_and_one_role(change, code):
    raw = {"member": "bob", "role": "guardian", "holds": True, **change}
    assert refusal("role_change", raw).code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "PAYLOAD_WRONG_TYPE"),
        ({"overlay": "rain", "module": "rain"}, "PAYLOAD_WRONG_TYPE"),
        ({"module": "rain", "new_version": "1.0.0"}, "NO_CHANGE"),
        ({"module": "rain", "new_version": "2"}, "VERSION_INVALID"),
        ({"module": "a b"}, "ID_INVALID"),
    ],
)
def test_a_version_is_that_of_an_overlay_or_of_a_module(change, code):
    assert refusal("overlay_update", {**VERSIONS, **change}).code == code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({}, "PAYLOAD_MISSING_KEY"),
        ({"proposal": ""}, "ID_INVALID"),
        ({"proposal": 5}, "ID_INVALID"),
        ({"proposal": ["p-1"]}, "ID_INVALID"),
        ({"proposal": "p-1", "to": "4"}, "PAYLOAD_UNKNOWN_KEY"),
        ({"actions": [{"proposal": "p-1"}, {"proposal": "p-2"}]}, "ACTIONS_COUNT"),
        ({"actions": [{"proposal": "p-1"}]}, "ACTIONS_COUNT"),
    ],
)
def test_a_rollback_names_the_one_proposal_that_it_undoes(raw, code):
    assert refusal("rollback", raw).code == code


def test_rollbacks_of_one_proposal_are_rivals():
    assert parse_payload("rollback", {"proposal": "p-1"}, CATALOGUE).targets() == ("rollback:p-1",)
