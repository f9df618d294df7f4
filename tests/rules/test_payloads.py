"""Payloads, wrong in each possible way: always a named refusal, never anything else."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_core.actions.catalogue import check_may_propose
from forge_core.actions.json_guard import require_plain_object
from forge_core.actions.payloads import parse_payload
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel

VALID = {
    "configuration": {"key": "rate_limit.SANDBOX", "new_value": 200, "old_value": 100},
    "policy": {"text": "Be kind."},
    "trust_adjustment": {
        "member": "bob",
        "current_trust": "SANDBOX",
        "new_trust": "STANDARD",
    },
    "overlay_registration": {
        "overlay": "weather",
        "name": "Weather",
        "version": "1.0.0",
        "description": "Rain or not.",
        "max_execution_ms": 500,
        "max_fuel": 100_000,
        "max_memory": 67_108_864,
        "provides": ["forecast"],
    },
    "overlay_standing": {"overlay": "weather", "standing": "retired"},
    "overlay_update": {
        "overlay": "weather",
        "current_version": "1.0.0",
        "new_version": "1.1.0-rc.1",
    },
    "feature_activation": {"feature": "smart_contracts", "enabled": True},
    "treasury_allocation": {"recipient": "bob", "amount": "12.5", "purpose": "For the garden."},
    "governance_rule": {"key": "track.routine.quorum", "new_value": "0.4", "old_value": "0.3"},
    "role_change": {"member": "bob", "role": "reviewer", "holds": True},
    "registry_extension": {
        "kind": "feature",
        "name": "gardens",
        "declaration": {"description": "Members may plant.", "default": False},
    },
    "emergency": {"action": "adjust", "key": "difficulty", "new_value": 5, "old_value": 4},
    "rollback": {"proposal": "p-1"},
}
OPTIONAL = {
    *("old_value", "text", "description", "purpose"),
    *("max_execution_ms", "max_fuel", "max_memory", "provides"),
}
# One of two keys says what these are about.
ALTERNATIVES = {("trust_adjustment", "member"), ("overlay_update", "overlay")}
KEYS = [(kind, key) for kind, raw in VALID.items() for key in raw]
REQUIRED = [one for one in KEYS if one[1] not in OPTIONAL and one not in ALTERNATIVES]


def refusal(kind, raw, catalogue):
    with pytest.raises(Refused) as refused:
        parse_payload(kind, raw, catalogue)
    str(refused.value).encode()
    return refused.value


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("kind", VALID)
def test_a_valid_payload_is_read_and_written_back_as_it_was(kind, catalogue):
    payload = parse_payload(kind, VALID[kind], catalogue)
    assert payload.json() == VALID[kind]
    assert parse_payload(kind, json.loads(payload.canonical()), catalogue) == payload


def test_every_type_of_the_house_has_its_example(catalogue):
    assert set(VALID) == set(catalogue.types)


@pytest.mark.parametrize("kind", VALID)
def test_optional_keys_may_be_left_out(kind, catalogue):
    raw = {key: value for key, value in VALID[kind].items() if key not in OPTIONAL}
    assert parse_payload(kind, raw, catalogue).json() == raw


def test_inv_33_equal_payloads_have_equal_bytes_whatever_the_order_of_keys(catalogue):
    raw = VALID["configuration"]
    one = parse_payload("configuration", raw, catalogue)
    other = parse_payload("configuration", dict(reversed(raw.items())), catalogue)
    expected = b'{"key":"rate_limit.SANDBOX","new_value":200,"old_value":100}'
    assert one.canonical() == other.canonical() == expected
    assert one.digest() == hashlib.sha256(expected).hexdigest()


def test_a_decimal_value_is_carried_in_canonical_form(catalogue):
    raw = {"key": "block_reward", "new_value": "12.50", "old_value": 12}
    payload = parse_payload("configuration", raw, catalogue)
    assert payload.json() == {"key": "block_reward", "new_value": "12.5", "old_value": "12"}


def test_false_is_a_value_and_not_an_absence(catalogue):
    raw = {"key": "maintenance", "new_value": True, "old_value": False}
    assert parse_payload("configuration", raw, catalogue).json() == raw


@pytest.mark.parametrize(
    "kind",
    [
        *("election", "setting", "Policy", "policy ", "", "\ud800", "x" * 10_000),
        *(None, 5, True, ["policy"], {}),
    ],
)
def test_a_type_without_a_capability_is_refused_by_name(kind, catalogue):
    found = refusal(kind, {}, catalogue)
    assert found.code == "UNKNOWN_PROPOSAL_TYPE"
    assert "has no registered capability; registered are configuration, policy" in found.message


@pytest.mark.parametrize("raw", [None, [], "{}", b"{}", 1, True, 1.5, (("a", 1),), object()])
def test_a_payload_is_a_json_object(raw, catalogue):
    assert refusal("policy", raw, catalogue).code == "PAYLOAD_NOT_OBJECT"


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("key", ["extra", "", "Key", "__class__", "a b", "a\n\x1b[2J"])
def test_an_unknown_key_is_refused_and_the_known_ones_are_named(kind, key, catalogue):
    found = refusal(kind, {**VALID[kind], key: 1}, catalogue)
    assert found.code == "PAYLOAD_UNKNOWN_KEY"
    assert next(iter(VALID[kind])) in found.message
    assert found.message.isprintable()


@pytest.mark.parametrize(("kind", "key"), REQUIRED)
def test_a_missing_key_is_named(kind, key, catalogue):
    raw = {name: value for name, value in VALID[kind].items() if name != key}
    found = refusal(kind, raw, catalogue)
    assert found.code == "PAYLOAD_MISSING_KEY"
    assert f"payload.{key} is missing" in found.message


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        (
            "feature_activation",
            {"feature": "smart_contracts"},
            "payload.enabled is missing; feature_activation has: feature, enabled",
        ),
        (
            "treasury_allocation",
            {"to": "bob"},
            (
                "payload.recipient is missing; payload.amount is missing; payload.to is unknown; "
                "treasury_allocation has: recipient, amount, purpose"
            ),
        ),
        (
            "overlay_update",
            {"overlay": "weather"},
            (
                "payload.current_version is missing; payload.new_version is missing; "
                "overlay_update has: current_version, new_version, overlay, module"
            ),
        ),
    ],
)
def test_what_a_type_has_is_said_once_and_what_it_needs_comes_first(kind, raw, message, catalogue):
    assert refusal(kind, raw, catalogue).message == message


def test_a_long_key_makes_no_long_refusal(catalogue):
    assert len(refusal("policy", {"k" * 9_000: 1}, catalogue).message) < 300


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("value", [True, False])
def test_a_switch_stands_only_where_one_belongs(kind, value, catalogue):
    for key, valid in VALID[kind].items():
        if isinstance(valid, bool):
            assert parse_payload(kind, {**VALID[kind], key: value}, catalogue).json()[key] is value
            continue
        assert f"payload.{key}" in refusal(kind, {**VALID[kind], key: value}, catalogue).message


@pytest.mark.parametrize(("kind", "key"), KEYS)
@pytest.mark.parametrize("value", [None, [], {}, ["a"], {"a": 1}, 1.5, -1])
def test_a_value_of_the_wrong_type_is_refused_and_its_path_named(kind, key, value, catalogue):
    given = {**VALID[kind], key: value}
    if isinstance(value, list) and isinstance(VALID[kind][key], list):
        assert parse_payload(kind, given, catalogue).json()[key] == value
        return
    found = refusal(kind, given, catalogue)
    assert f"payload.{key}" in found.message


@pytest.mark.parametrize("given", [["a", "a"], ["a b"], [1], ["a"] * 51])
def test_what_an_overlay_provides_are_different_identifiers(given, catalogue):
    registration = {**VALID["overlay_registration"], "provides": given}
    assert "payload.provides" in refusal("overlay_registration", registration, catalogue).message


@pytest.mark.parametrize(("kind", "key"), KEYS)
@pytest.mark.parametrize(("value", "code"), [("a\x00", "TEXT_NUL"), ("\udc80", "TEXT_SURROGATE")])
def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(
    kind, key, value, code, catalogue
):
    found = refusal(kind, {**VALID[kind], key: value}, catalogue)
    assert found.code == code
    assert f"payload.{key}" in found.message


@pytest.mark.parametrize("key", ["a\x00", "\ud800"])
def test_a_key_that_cannot_be_stored_is_refused(key, catalogue):
    assert refusal("policy", {key: 1}, catalogue).code in {"TEXT_NUL", "TEXT_SURROGATE"}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**53, -(2**53), pytest.param(10**5000, id="huge")],
)
def test_numbers_that_json_cannot_carry_exactly_are_refused(value, catalogue):
    raw = {"key": "rate_limit.CORE", "new_value": value}
    assert refusal("configuration", raw, catalogue).code == "PAYLOAD_NUMBER"


@pytest.mark.parametrize("value", [Decimal(1), b"a", (1,), {1}, object(), 1j])
def test_what_is_not_json_is_refused(value, catalogue):
    raw = {"key": "rate_limit.CORE", "new_value": value}
    assert refusal("configuration", raw, catalogue).code == "PAYLOAD_WRONG_TYPE"


def test_a_key_that_is_not_text_is_refused(catalogue):
    assert refusal("policy", {1: "a"}, catalogue).code == "PAYLOAD_WRONG_TYPE"


def test_limits_of_depth_keys_and_size_are_inclusive():
    require_plain_object(nested(5))
    require_plain_object({str(i): 1 for i in range(100)})
    require_plain_object({"a": "x" * (10_000 - len('{"a":""}'))})
    require_plain_object({"a": 2**53 - 1})


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (nested(6), "PAYLOAD_TOO_DEEP"),
        (nested(5_000), "PAYLOAD_TOO_DEEP"),
        ({"a": [[[[[1]]]]]}, "PAYLOAD_TOO_DEEP"),
        ({str(i): 1 for i in range(101)}, "PAYLOAD_TOO_MANY_KEYS"),
        (
            {"a": [{str(i): 1 for i in range(50)}, {str(i): 1 for i in range(50)}]},
            "PAYLOAD_TOO_MANY_KEYS",
        ),
        ({"a": "x" * (10_001 - len('{"a":""}'))}, "PAYLOAD_TOO_LARGE"),
        ({"a": "ü" * 5_000}, "PAYLOAD_TOO_LARGE"),
        ({"a": "\x01" * 2_000}, "PAYLOAD_TOO_LARGE"),
        ({"a": [1] * 10_000}, "PAYLOAD_TOO_LARGE"),
        ({"a": [1] * 5_000}, "PAYLOAD_TOO_LARGE"),
        ({"x" * 10_000: 1}, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_beyond_the_limits_a_payload_is_refused(raw, code, catalogue):
    assert refusal("policy", raw, catalogue).code == code


def test_a_payload_that_contains_itself_is_refused(catalogue):
    raw = {}
    raw["a"] = raw
    assert refusal("policy", raw, catalogue).code == "PAYLOAD_TOO_DEEP"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("rate_limit.CORE", 0, "VALUE_OUT_OF_RANGE"),
        ("rate_limit.CORE", 1_000_001, "VALUE_OUT_OF_RANGE"),
        ("rate_limit.CORE", "5", "VALUE_TYPE"),
        ("rate_limit.CORE", 5.0, "VALUE_TYPE"),
        ("rate_limit.CORE", True, "VALUE_TYPE"),
        ("block_reward", 0.5, "VALUE_TYPE"),
        ("block_reward", "lots", "NUMBER_INVALID"),
        ("block_reward", "50.1", "VALUE_OUT_OF_RANGE"),
        ("maintenance", 1, "VALUE_TYPE"),
        ("rate_limit.ROOT", 5, "UNKNOWN_CAPABILITY"),
        ("difficult", 5, "UNKNOWN_CAPABILITY"),
        ("", 5, "TEXT_BLANK"),
        ("k" * 201, 5, "TEXT_TOO_LONG"),
        (5, 5, "TEXT_INVALID_TYPE"),
        ("track.routine.quorum", "0.1", "TYPE_MISMATCH"),
        ("trust.weight.CORE", 6, "TYPE_MISMATCH"),
        ("feature.exchange", 1, "TYPE_MISMATCH"),
        ("treasury.budget", 1, "TYPE_MISMATCH"),
    ],
)
def test_configuration_refuses_by_name(key, value, code, catalogue):
    assert refusal("configuration", {"key": key, "new_value": value}, catalogue).code == code


def test_a_rule_is_changed_only_by_governance_rule(catalogue):
    found = refusal("configuration", {"key": "track.routine.quorum", "new_value": "0.1"}, catalogue)
    assert (
        "track.routine.quorum is of class rule: it is changed only by governance_rule"
        in found.message
    )


@pytest.mark.parametrize(
    ("old", "code"), [(5, "NO_CHANGE"), ("5", "VALUE_TYPE"), (0, "VALUE_OUT_OF_RANGE")]
)
def test_the_old_value_must_be_another_legal_value(old, code, catalogue):
    raw = {"key": "rate_limit.CORE", "new_value": 5, "old_value": old}
    assert refusal("configuration", raw, catalogue).code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"new_trust": "CORE"}, "CORE_NOT_GRANTED"),
        ({"new_trust": "SANDBOX"}, "NO_CHANGE"),
        ({"current_trust": "CORE", "new_trust": "CORE"}, "NO_CHANGE"),
        ({"new_trust": "standard"}, "TRUST_LEVEL_UNKNOWN"),
        ({"current_trust": 60}, "TRUST_LEVEL_UNKNOWN"),
        ({"member": "bob smith"}, "ID_INVALID"),
        ({"member": ""}, "ID_INVALID"),
    ],
)
def test_trust_adjustment_refuses_by_name(change, code, catalogue):
    raw = {**VALID["trust_adjustment"], **change}
    assert refusal("trust_adjustment", raw, catalogue).code == code


def test_a_core_member_can_be_lowered(catalogue):
    raw = {"member": "bob", "current_trust": "CORE", "new_trust": "QUARANTINE"}
    (action,) = parse_payload("trust_adjustment", raw, catalogue).actions
    assert action.new_trust is TrustLevel.QUARANTINE


@pytest.mark.parametrize("version", ["1.0.0", "0.0.1", "10.20.30", "1.0.0-rc.1", "1.0.0+build.5"])
def test_versions(version, catalogue):
    raw = {**VALID["overlay_registration"], "version": version}
    assert parse_payload("overlay_registration", raw, catalogue).json()["version"] == version


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.0", "v1.0.0", "1.0.0 ", "01.0.0", "1.0.0-", "1.0.0\n", "\u0661.0.0", "1." * 40, 1],
)
def test_a_version_of_another_form_is_refused(version, catalogue):
    raw = {**VALID["overlay_registration"], "version": version}
    assert refusal("overlay_registration", raw, catalogue).code == "VERSION_INVALID"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"max_execution_ms": 0}, "VALUE_OUT_OF_RANGE"),
        ({"max_execution_ms": 600_001}, "VALUE_OUT_OF_RANGE"),
        ({"max_execution_ms": "5"}, "PAYLOAD_WRONG_TYPE"),
        ({"max_execution_ms": True}, "PAYLOAD_WRONG_TYPE"),
        ({"name": " "}, "TEXT_BLANK"),
        ({"name": "x" * 201}, "TEXT_TOO_LONG"),
        ({"description": ""}, "TEXT_BLANK"),
        ({"overlay": "a b"}, "ID_INVALID"),
    ],
)
def test_overlay_registration_refuses_by_name(change, code, catalogue):
    raw = {**VALID["overlay_registration"], **change}
    assert refusal("overlay_registration", raw, catalogue).code == code


def test_an_overlay_update_to_the_same_version_is_refused(catalogue):
    raw = {**VALID["overlay_update"], "new_version": "1.0.0"}
    assert refusal("overlay_update", raw, catalogue).code == "NO_CHANGE"


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("configuration", "TRUSTED"),
        ("policy", "TRUSTED"),
        ("trust_adjustment", "TRUSTED"),
        ("overlay_registration", "STANDARD"),
        ("overlay_update", "STANDARD"),
        ("feature_activation", "TRUSTED"),
        ("treasury_allocation", "TRUSTED"),
        ("governance_rule", "CORE"),
        ("role_change", "CORE"),
        ("registry_extension", "CORE"),
        ("emergency", "CORE"),
    ],
)
def test_the_trust_a_type_needs_is_the_seeds(kind, needed, catalogue):
    for level in TrustLevel:
        if level >= TrustLevel(needed):
            check_may_propose(level, catalogue.kind(kind))
        else:
            with pytest.raises(Refused, match=f"needs trust {needed}") as refused:
                check_may_propose(level, catalogue.kind(kind))
            assert refused.value.code == "TRUST_TOO_LOW"


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters(), max_size=8),
        st.sampled_from(
            ["CORE", "STANDARD", "rate_limit.CORE", "block_reward", "1.0.0", "bob", "5"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = sorted({key for raw in VALID.values() for key in raw})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_payload_is_accepted_in_canonical_form_or_refused_by_name(data, catalogue):
    kind = data.draw(st.sampled_from(list(VALID)))
    one = st.one_of(
        JSON,
        st.fixed_dictionaries({}, optional=dict.fromkeys(VALID[kind], JSON)),
        st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(
            lambda change: {**VALID[kind], **change}
        ),
    )
    several = st.lists(one, max_size=4).map(lambda actions: {"actions": actions})
    raw = data.draw(one | several)
    try:
        payload = parse_payload(kind, raw, catalogue)
    except Refused as no:
        f"{no.code} {no.message}".encode()
        return
    again = parse_payload(kind, json.loads(payload.canonical()), catalogue)
    assert again.canonical() == payload.canonical()
