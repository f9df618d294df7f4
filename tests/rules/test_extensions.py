"""Extensions of the registry: what contradicts itself is refused by name, the rest is usable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.actions import additions
from forge_core.actions.kind import Action
from forge_core.actions.payloads import parse_payload
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.capabilities.extensions import Extension
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel
from forge_core.proposals.tracks import Track, track_of
from forge_core.wiring import CATALOGUE

C = CapabilityClass
PARAMETER = {
    "klass": "ordinary",
    "type": "integer",
    "description": "Rows of a garden.",
    "default": 5,
    "least": 1,
    "most": 10,
}
GRANT = {
    "trust": "STANDARD",
    "klass": "ordinary",
    "description": "Awards a grant.",
    "fields": {
        "why": "text",
        "who": "id",
        "rows": "integer",
        "coins": "decimal",
        "public": "boolean",
    },
}
MODULE = {"version": "1.0.0", "owner": "bob", "governs": "The beds.", "rollback": "Dig it up."}
ABSENT = object()


def refusal(type_, raw, catalogue=CATALOGUE):
    with pytest.raises(Refused) as refused:
        parse_payload(type_, raw, catalogue)
    assert str(refused.value).encode()
    return refused.value


def declared(kind, name, declaration):
    raw = {"kind": kind, "name": name, "declaration": declaration}
    (action,) = parse_payload("registry_extension", raw, CATALOGUE).actions
    return Extension(action.name, action.kind, action.declaration)


def extend(kind, declaration, change, name="gardens"):
    changed = {**declaration, **change}
    plain = {key: value for key, value in changed.items() if value is not ABSENT}
    return {"kind": kind, "name": name, "declaration": plain}


@pytest.mark.parametrize(
    ("change", "key", "least", "most"),
    [
        ({}, 5, 1, 10),
        ({"default": 1}, 1, 1, 10),
        ({"default": 10}, 10, 1, 10),
        ({"least": 5, "most": 5}, 5, 5, 5),
        (
            {"type": "decimal", "default": "0.50", "least": "0.5", "most": "0.50"},
            "0.5",
            "0.5",
            "0.5",
        ),
    ],
)
def test_a_parameter_is_a_key_of_the_catalogue_with_its_bounds(change, key, least, most):
    one = additions.capability(declared("parameter", "gardens.rows", {**PARAMETER, **change}))
    extended = CATALOGUE.with_extensions([one], ())
    assert extended.get("gardens.rows").default == key
    for bound in (least, most):
        raw = {"key": "gardens.rows", "new_value": bound}
        assert parse_payload("configuration", raw, extended).json() == raw
    for beyond in (0, 11):
        raw = {"key": "gardens.rows", "new_value": beyond}
        assert refusal("configuration", raw, extended).code == "VALUE_OUT_OF_RANGE"


@pytest.mark.parametrize("klass", ["ordinary", "protocol", "treasury", "rule"])
def test_the_class_of_a_parameter_decides_who_changes_it(klass):
    one = additions.capability(declared("parameter", "gardens.rows", {**PARAMETER, "klass": klass}))
    extended = CATALOGUE.with_extensions([one], ())
    right, wrong = "configuration", "governance_rule"
    if klass in ("treasury", "rule"):
        right, wrong = wrong, right
    raw = {"key": "gardens.rows", "new_value": 6}
    assert parse_payload(right, raw, extended).classes(extended) == {klass}
    assert refusal(wrong, raw, extended).code == "TYPE_MISMATCH"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"least": 6, "most": 5}, "EXTENSION_INVALID"),
        ({"least": 11, "most": 20}, "EXTENSION_INVALID"),
        ({"default": 0}, "EXTENSION_INVALID"),
        ({"default": 11}, "EXTENSION_INVALID"),
        ({"default": 5.0}, "EXTENSION_INVALID"),
        ({"default": "5"}, "EXTENSION_INVALID"),
        ({"default": True}, "EXTENSION_INVALID"),
        ({"default": [5]}, "EXTENSION_INVALID"),
        ({"default": {"is": 5}}, "EXTENSION_INVALID"),
        ({"default": ABSENT}, "EXTENSION_INVALID"),
        ({"least": 0.5}, "EXTENSION_INVALID"),
        ({"most": 10.0}, "EXTENSION_INVALID"),
        ({"least": True}, "EXTENSION_INVALID"),
        ({"least": "a few"}, "EXTENSION_INVALID"),
        ({"least": [1]}, "EXTENSION_INVALID"),
        ({"most": {"is": 1}}, "EXTENSION_INVALID"),
        ({"most": "NaN"}, "EXTENSION_INVALID"),
        ({"most": "Infinity"}, "EXTENSION_INVALID"),
        ({"most": "9007199254740992"}, "EXTENSION_INVALID"),  # 2^53: JSON rounds beyond it
        ({"least": "-9007199254740992"}, "EXTENSION_INVALID"),
        ({"most": ABSENT}, "EXTENSION_INVALID"),
        ({"least": ABSENT, "most": ABSENT}, "EXTENSION_INVALID"),
        ({"type": "boolean", "default": True}, "EXTENSION_INVALID"),
        ({"type": "time"}, "EXTENSION_INVALID"),
        ({"type": "decimal", "default": 0.5}, "EXTENSION_INVALID"),
        ({"apply": "os.system"}, "EXTENSION_INVALID"),
        ({"key": "difficulty"}, "EXTENSION_INVALID"),
        ({"klass": ABSENT}, "EXTENSION_INVALID"),
        ({"type": ABSENT}, "EXTENSION_INVALID"),
        ({"description": ABSENT}, "EXTENSION_INVALID"),
        ({"type": "float"}, "PAYLOAD_WRONG_TYPE"),
        ({"type": "Integer"}, "PAYLOAD_WRONG_TYPE"),
        ({"type": ["integer"]}, "PAYLOAD_WRONG_TYPE"),
        ({"klass": "feature"}, "PAYLOAD_WRONG_TYPE"),
        ({"klass": "emergency"}, "PAYLOAD_WRONG_TYPE"),
        ({"klass": "royal"}, "PAYLOAD_WRONG_TYPE"),
        ({"description": " "}, "TEXT_BLANK"),
        ({"description": "d" * 1_001}, "TEXT_TOO_LONG"),
        ({"module": "a b"}, "ID_INVALID"),
        ({"default": float("nan")}, "PAYLOAD_NUMBER"),
        ({"most": float("inf")}, "PAYLOAD_NUMBER"),
        ({"most": 2**53}, "PAYLOAD_NUMBER"),
        ({"least": None}, "PAYLOAD_WRONG_TYPE"),
    ],
)
def test_a_parameter_that_contradicts_itself_is_refused_by_name(change, code):
    found = refusal("registry_extension", extend("parameter", PARAMETER, change))
    assert found.code == code


@pytest.mark.parametrize(
    "name", ["a..b", ".a", "a.", "1a", "a-b", "\u00e4", "a:b", "a/b", "k" * 199 + "."]
)
def test_a_parameter_has_the_name_of_a_key(name):
    raw = extend("parameter", PARAMETER, {}, name=name)
    assert refusal("registry_extension", raw).code == "EXTENSION_INVALID"


@pytest.mark.parametrize("name", ["", "a b", "k" * 201, 5, ["a"], "a\u200b"])
def test_an_extension_has_an_identifier(name):
    raw = extend("source", {"description": "Who plants."}, {}, name=name)
    assert refusal("registry_extension", raw).code == "ID_INVALID"


@pytest.mark.parametrize(
    "name", ["track.routine.max_yes_share", "track.emergency.reviewers", "track.new.quorum"]
)
def test_inv_40_no_new_key_becomes_a_threshold_of_a_track(name):
    """A track without a threshold has no key for it; one could make every voting fail."""
    share = {"type": "decimal", "default": "0", "least": "0", "most": "1", "klass": "rule"}
    found = refusal("registry_extension", extend("parameter", PARAMETER, share, name=name))
    assert found.code == "EXTENSION_INVALID"


@pytest.mark.parametrize("default", [True, False])
def test_a_feature_is_a_switch(default):
    one = declared("feature", "gardens", {"description": "Planting.", "default": default})
    extended = CATALOGUE.with_extensions([additions.capability(one)], ())
    assert extended.get("feature.gardens").default is default
    raw = {"feature": "gardens", "enabled": not default}
    payload = parse_payload("feature_activation", raw, extended)
    assert payload.classes(extended) == {C.FEATURE}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"default": 1}, "PAYLOAD_WRONG_TYPE"),
        ({"default": "true"}, "PAYLOAD_WRONG_TYPE"),
        ({"description": ABSENT}, "EXTENSION_INVALID"),
        ({"least": 0}, "EXTENSION_INVALID"),
        ({"klass": "ordinary"}, "EXTENSION_INVALID"),
    ],
)
def test_a_feature_is_nothing_but_a_switch(change, code):
    raw = extend("feature", {"description": "Planting."}, change)
    assert refusal("registry_extension", raw).code == code


def test_a_feature_is_off_unless_its_declaration_says_on():
    assert declared("feature", "gardens", {"description": "P."}).declaration["default"] is False


def test_a_parameter_under_the_name_of_a_feature_is_no_feature():
    disguised = declared("parameter", "feature.gardens", PARAMETER)
    extended = CATALOGUE.with_extensions([additions.capability(disguised)], ())
    found = refusal("feature_activation", {"feature": "gardens", "enabled": True}, extended)
    assert found.code == "TYPE_MISMATCH"


@pytest.fixture(scope="module")
def grants():
    """The catalogue with the type ``grant_award``."""
    kind = additions.recorded_kind(declared("proposal_type", "grant_award", GRANT))
    return CATALOGUE.with_extensions((), [kind])


AWARD = {"why": "For roses.", "who": "bob", "rows": 3, "coins": "1.50", "public": True}


def test_a_new_type_is_usable_at_once(grants):
    payload = parse_payload("grant_award", AWARD, grants)
    assert payload.json() == {**AWARD, "coins": "1.5"}
    assert list(payload.texts()) == [(0, "why", "For roses.")]
    assert payload.classes(grants) == {C.ORDINARY}
    assert (payload.targets(), payload.kind.trust) == ((), TrustLevel.STANDARD)
    assert parse_payload("grant_award", {"actions": [AWARD, AWARD]}, grants).json() == {
        "actions": [payload.json()] * 2
    }
    assert refusal("grant_award", AWARD).code == "UNKNOWN_PROPOSAL_TYPE"


@pytest.mark.parametrize("klass", ["ordinary", "protocol", "treasury", "rule"])
def test_a_new_types_class_decides_its_track(klass):
    one = declared("proposal_type", "grant_award", {**GRANT, "klass": klass})
    extended = CATALOGUE.with_extensions((), [additions.recorded_kind(one)])
    classes = parse_payload("grant_award", AWARD, extended).classes(extended)
    assert classes == {klass}
    assert track_of(classes) is (Track.ROUTINE if klass == "ordinary" else Track.PROTECTED)


@pytest.mark.parametrize("field", AWARD)
def test_every_field_of_a_new_type_is_required(field, grants):
    raw = {key: value for key, value in AWARD.items() if key != field}
    found = refusal("grant_award", raw, grants)
    assert found.code == "PAYLOAD_MISSING_KEY"
    assert found.message == (
        f"payload.{field} is missing; grant_award has: why, who, rows, coins, public"
    )


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *(("why", value, "TEXT_INVALID_TYPE") for value in (5, True, ["a"], {"a": 1})),
        ("why", " ", "TEXT_BLANK"),
        *(("who", value, "ID_INVALID") for value in ("", "a b", 5, True, ["a"])),
        *(("rows", value, "PAYLOAD_WRONG_TYPE") for value in (1.0, True, "1", [1])),
        *(("coins", value, "NUMBER_INVALID") for value in (1.5, True, "NaN", "", [1], {"a": 1})),
        *(("public", value, "PAYLOAD_WRONG_TYPE") for value in (1, "true", [True])),
    ],
)
def test_a_field_of_a_new_type_is_refused_under_its_own_name(field, value, code, grants):
    found = refusal("grant_award", {**AWARD, field: value}, grants)
    assert found.code == code
    assert found.message.startswith(f"payload.{field} ")


def test_a_new_type_has_no_other_field(grants):
    assert refusal("grant_award", {**AWARD, "memo": "a"}, grants).code == "PAYLOAD_UNKNOWN_KEY"
    assert refusal("grant_award", {**AWARD, "type": "policy"}, grants).code == "TYPE_MISMATCH"


def fields(count):
    return {"fields": {f"field_{number}": "text" for number in range(count)}}


@pytest.mark.parametrize("count", [1, 20])
def test_a_type_has_1_to_20_fields(count):
    assert declared("proposal_type", "grant_award", {**GRANT, **fields(count)}).declaration[
        "fields"
    ] == dict.fromkeys((f"field_{number}" for number in range(count)), "text")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (fields(0), "EXTENSION_INVALID"),
        (fields(21), "EXTENSION_INVALID"),
        *(
            ({"fields": {name: "text"}}, "EXTENSION_INVALID")
            for name in (
                "type",
                "actions",
                "Why",
                "a b",
                "",
                "_why",
                "1",
                "wh\u00fd",
                "a.b",
                "why\n",
            )
        ),
        *(
            ({"fields": {"why": type_}}, "EXTENSION_INVALID")
            for type_ in ("float", "Text", "", 5, True, ["text"], {"is": "text"})
        ),
        ({"fields": ["why"]}, "EXTENSION_INVALID"),
        ({"fields": "why"}, "EXTENSION_INVALID"),
        ({"fields": ABSENT}, "EXTENSION_INVALID"),
        ({"trust": ABSENT}, "EXTENSION_INVALID"),
        ({"trust": "ROOT"}, "TRUST_LEVEL_UNKNOWN"),
        ({"trust": 60}, "TRUST_LEVEL_UNKNOWN"),
        ({"klass": "emergency"}, "PAYLOAD_WRONG_TYPE"),
        ({"klass": "feature"}, "PAYLOAD_WRONG_TYPE"),
        ({"description": ""}, "TEXT_BLANK"),
        ({"execute": "print"}, "EXTENSION_INVALID"),
    ],
)
def test_a_type_that_makes_no_sense_is_refused_by_name(change, code):
    raw = extend("proposal_type", GRANT, change, name="grant_award")
    assert refusal("registry_extension", raw).code == code


@pytest.mark.parametrize(
    "name", ["Grant", "grant-award", "1grant", "_grant", "grant.award", "\u00e4"]
)
def test_a_type_has_a_name_like_those_of_the_house(name):
    raw = extend("proposal_type", GRANT, {}, name=name)
    assert refusal("registry_extension", raw).code == "EXTENSION_INVALID"


@pytest.mark.parametrize("name", [name for name in dir(Action) if name.islower()])
def test_no_field_takes_the_name_of_what_every_action_has(name):
    raw = extend("proposal_type", GRANT, {"fields": {name: "text"}}, name="grant_award")
    assert refusal("registry_extension", raw).code == "EXTENSION_INVALID"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
        st.sampled_from(["text", "id", "integer", "decimal", "boolean"]),
        max_size=22,
    )
)
def test_any_set_of_fields_makes_a_usable_type_or_is_refused(fields):
    raw = extend("proposal_type", GRANT, {"fields": fields}, name="grant_award")
    try:
        payload = parse_payload("registry_extension", raw, CATALOGUE)
    except Refused as refused:
        assert refused.code == "EXTENSION_INVALID"  # noqa: PT017  # most draws are legal
        return
    (action,) = payload.actions
    kind = additions.recorded_kind(Extension(action.name, action.kind, action.declaration))
    extended = CATALOGUE.with_extensions((), [kind])
    example = {"text": "a", "id": "a", "integer": -1, "decimal": "0.5", "boolean": False}
    award = {name: example[type_] for name, type_ in fields.items()}
    assert parse_payload("grant_award", award, extended).json() == award


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *(({key: ABSENT}, "EXTENSION_INVALID") for key in MODULE),
        ({"version": "1"}, "VERSION_INVALID"),
        ({"owner": "a b"}, "ID_INVALID"),
        ({"governs": ""}, "TEXT_BLANK"),
        ({"rollback": "r" * 1_001}, "TEXT_TOO_LONG"),
        ({"url": "here"}, "EXTENSION_INVALID"),
    ],
)
def test_a_module_says_who_owns_it_and_how_it_is_rolled_back(change, code):
    assert declared("module", "gardens", MODULE).declaration == MODULE
    assert refusal("registry_extension", extend("module", MODULE, change)).code == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"default": ABSENT, "lesat": 1},
            (
                "payload.declaration.default is missing; payload.declaration.lesat is unknown; "
                "parameter has: klass, type, description, default, least, most, module"
            ),
        ),
        ({"least": 11, "most": 20}, "gardens: its default is refused: gardens is 5; "),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said_in_full(change, message):
    found = refusal("registry_extension", extend("parameter", PARAMETER, change))
    assert found.message.startswith(message)


@pytest.mark.parametrize("kind", ["widget", "Parameter", "", 5, ["parameter"], True])
def test_an_extension_is_of_a_known_kind(kind):
    found = refusal("registry_extension", extend(kind, PARAMETER, {}))
    assert found.code == "PAYLOAD_WRONG_TYPE"
    assert "it is one of parameter, feature, proposal_type, source, module" in found.message


@pytest.mark.parametrize("kind", additions.DECLARATIONS)
@pytest.mark.parametrize("declaration", [None, [], "a", 5, True])
def test_a_declaration_is_an_object(kind, declaration):
    raw = {"kind": kind, "name": "gardens", "declaration": declaration}
    assert refusal("registry_extension", raw).code == "PAYLOAD_WRONG_TYPE"


@pytest.mark.parametrize("kind", additions.DECLARATIONS)
def test_an_empty_declaration_declares_nothing(kind):
    raw = {"kind": kind, "name": "gardens", "declaration": {}}
    assert refusal("registry_extension", raw).code == "EXTENSION_INVALID"
