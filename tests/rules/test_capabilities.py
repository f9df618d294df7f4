"""Declarations check values; the registry knows every key that may change, and no other."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from forge_core.capabilities import rate_limits
from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.capabilities.registry import Registry
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.members.levels import TrustLevel
from forge_core.proposals import track_values, weights


def declare(type_, default, least=None, most=None, key="some.key"):
    return Capability(key, CapabilityClass.ORDINARY, "a test", type_, default, least, most)


INTEGER = declare("integer", 4, 1, 10)
DECIMAL = declare("decimal", "0.24", 0, 5)
BOOLEAN = declare("boolean", True)
DECLARED = [
    *rate_limits.CAPABILITIES,
    *track_values.CAPABILITIES,
    *weights.CAPABILITIES,
]


@pytest.mark.parametrize("value", [1, 4, 10])
def test_an_integer_within_its_bounds(value):
    assert INTEGER.check(value) == value


@pytest.mark.parametrize("value", [5.0, True, "5", None, Decimal(5), [5], {}, Fraction(5)])
def test_an_integer_refuses_every_other_type(value):
    with pytest.raises(Refused) as refused:
        INTEGER.check(value)
    assert refused.value.code == "VALUE_TYPE"


@pytest.mark.parametrize("value", [0, 11, -1, 10**400])
def test_an_integer_beyond_its_bounds(value):
    with pytest.raises(Refused, match=r"some\.key allows 1 to 10") as refused:
        INTEGER.check(value)
    assert refused.value.code == "VALUE_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("value", "canonical"),
    [(0, "0"), (5, "5"), ("5.000", "5"), ("0.240", "0.24"), (Decimal("1.5"), "1.5"), ("-0", "0")],
)
def test_a_decimal_is_carried_as_canonical_text(value, canonical):
    assert DECIMAL.check(value) == canonical


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.24, "VALUE_TYPE"),
        (float("nan"), "VALUE_TYPE"),
        (True, "VALUE_TYPE"),
        (None, "VALUE_TYPE"),
        ("", "NUMBER_INVALID"),
        ("NaN", "NUMBER_INVALID"),
        ("Infinity", "NUMBER_INVALID"),
        ([], "NUMBER_INVALID"),
        ("1e400", "NUMBER_INVALID"),
        ("5.0000000000000000000000000000000000000001", "VALUE_OUT_OF_RANGE"),
        ("-0.1", "VALUE_OUT_OF_RANGE"),
        (6, "VALUE_OUT_OF_RANGE"),
    ],
)
def test_a_decimal_refuses_by_name(value, code):
    with pytest.raises(Refused) as refused:
        DECIMAL.check(value, name="payload.new_value")
    assert refused.value.code == code
    assert refused.value.message.startswith("payload.new_value ")


@pytest.mark.parametrize("value", [0, 1, "true", None, 1.0, []])
def test_a_boolean_refuses_everything_else(value):
    with pytest.raises(Refused) as refused:
        BOOLEAN.check(value)
    assert refused.value.code == "VALUE_TYPE"


def test_a_boolean_is_itself():
    assert BOOLEAN.check(False) is False


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: declare("integer", 11, 1, 10),
        lambda: declare("integer", 4),
        lambda: declare("integer", 4, 1),
        lambda: declare("boolean", True, 0, 1),
        lambda: declare("text", "a", 0, 1),
        lambda: declare("integer", 4, 1, 10, key="a b"),
        lambda: declare("integer", 4, 1, 10, key="a..b"),
        lambda: declare("integer", 4, 1, 10, key=""),
    ],
)
def test_a_declaration_that_contradicts_itself_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_a_key_declared_twice_stops_the_build():
    with pytest.raises(ValueError, match=r"some\.key is declared twice"):
        Registry([INTEGER, DECIMAL])


def test_an_unknown_key_is_refused_with_near_matches(registry):
    with pytest.raises(Refused, match=r"did you mean .*rate_limit\.TRUSTED") as refused:
        registry.get("rate_limit.TRUSTTED")
    assert refused.value.code == "UNKNOWN_CAPABILITY"


@pytest.mark.parametrize("key", ["", "zzz", "x" * 100_000, "\ud800", "a\x00", None, 5, ["a"], {}])
def test_any_unknown_key_is_refused_in_a_short_printable_sentence(registry, key):
    with pytest.raises(Refused) as refused:
        registry.get(key)
    assert len(str(refused.value).encode()) < 300


def test_stored_values_go_before_defaults(registry):
    values = registry.with_defaults({"rate_limit.CORE": 7, "gone": 1})
    assert values["rate_limit.CORE"] == 7
    assert values["rate_limit.TRUSTED"] == 2000
    assert "gone" not in values
    assert len(values) == len(registry) == len({declared.key for declared in registry})


def test_rate_limits_are_the_seeds():
    assert {c.key: (c.default, c.least, c.most, c.klass) for c in rate_limits.CAPABILITIES} == {
        f"rate_limit.{level}": (limit, 1, 1_000_000, "ordinary")
        for level, limit in zip(TrustLevel, (10_000, 2_000, 1_000, 100, 10), strict=True)
    }


def test_weights_are_the_seeds_and_quarantine_never_weighs(values):
    table = weights.weight_table(values)
    assert list(table.values()) == [5, 3, 1, Fraction(1, 2), 0]
    quarantine = weights.CAPABILITIES[-1]
    with pytest.raises(Refused, match="VALUE_OUT_OF_RANGE"):
        quarantine.check("0.5")


def test_the_rules_of_voting_are_of_class_rule():
    rules = [*weights.CAPABILITIES, *track_values.CAPABILITIES]
    assert {declared.klass for declared in rules} == {CapabilityClass.RULE}


@pytest.mark.parametrize(
    "declared",
    [c for c in DECLARED if c.type != "boolean"],
    ids=lambda declared: declared.key,
)
def test_every_declared_bound_is_inclusive_and_holds_on_both_sides(declared):
    step = 1 if declared.type == "integer" else Decimal("1E-20")
    for bound, beyond in ((declared.least, -step), (declared.most, step)):
        exact = bound if declared.type == "integer" else Decimal(str(bound))
        assert parse_decimal(declared.check(exact)) == parse_decimal(bound)
        with pytest.raises(Refused, match=r"VALUE_OUT_OF_RANGE"):
            declared.check(exact + beyond)
