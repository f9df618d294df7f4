"""Declarations check values; the registry knows every key that may change, and no other."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from forge_core.actions.catalogue import Catalogue
from forge_core.capabilities import rate_limits
from forge_core.capabilities.declaration import Capability, CapabilityClass, Order
from forge_core.capabilities.registry import Registry
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel
from forge_core.proposals import track_values, weights
from forge_core.wiring import CATALOGUE


def declare(type_, default, least=None, most=None, key="some.key"):
    return Capability(
        key=key,
        klass=CapabilityClass.ORDINARY,
        description="a test",
        default=default,
        type=type_,
        least=least,
        most=most,
    )


INTEGER = declare("integer", 4, 1, 10)
DECIMAL = declare("decimal", "0.24", 0, 5)
BOOLEAN = declare("boolean", True)
TIME = declare("time", "2026-11-01T00:00:00Z", "2024-01-01T00:00:00Z", "2100-01-01T00:00:00Z")


class Inner(BaseModel):
    until: datetime | None = None


class Budget(BaseModel):
    """A document such as a platform might govern."""

    model_config = ConfigDict(extra="forbid")

    coins: int
    share: Decimal = Decimal("0.5")
    rate: float = 0.5
    inner: Inner = Inner()
    memo: str | None = None


DOCUMENT = Capability(
    key="some.budget",
    klass=CapabilityClass.ORDINARY,
    description="a test",
    default=Budget(coins=1),
    model=Budget,
)


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
    "value",
    [
        "2026-11-01T00:00:00Z",
        "2026-11-01T00:00:00.000000Z",
        "2026-11-01T05:30:00+05:30",
        "2026-10-31 23:59:59.000000-00:00:01",
    ],
)
def test_one_instant_has_one_spelling(value):
    assert TIME.check(value) == "2026-11-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "value",
    [
        *(None, 0, 1.5, True, [], {}, datetime(2026, 11, 1)),  # noqa: DTZ001  # naive is the point
        *("", "soon", "2026-11-01", "2026-11-01T00:00:00", "2026-13-01T00:00:00Z"),
        *("2026-02-30T00:00:00Z", "2026-11-01T25:00:00Z", "9999-12-31T23:59:59-23:59"),
        *("0001-01-01T00:00:00+23:59", "\u0662026-11-01T00:00:00Z", "\ud800", "9" * 100_000),
        "2026-11-01T00:00:00Z" + " " * 30,
    ],
)
def test_what_is_not_an_instant_is_no_time(value):
    with pytest.raises(Refused, match=r"give a time with its offset") as refused:
        TIME.check(value)
    assert refused.value.code == "VALUE_TYPE"
    assert len(str(refused.value).encode()) < 300


def test_a_document_is_carried_as_plain_json_without_what_is_absent():
    assert DOCUMENT.default == {"coins": 1, "share": "0.5", "rate": 0.5, "inner": {}}
    given = {"coins": 2, "share": "0.25", "inner": {"until": "2026-11-01T00:00:00Z"}}
    assert DOCUMENT.check(given) == {**given, "rate": 0.5}


def test_two_documents_fit_into_one_payload():
    around = len(json.dumps(DOCUMENT.check({"coins": 1, "memo": ""})))
    assert DOCUMENT.check({"coins": 1, "memo": "m" * (4_000 - around)})["coins"] == 1
    with pytest.raises(Refused, match="VALUE_TOO_LARGE"):
        DOCUMENT.check({"coins": 1, "memo": "m" * (4_001 - around)})


@pytest.mark.parametrize(
    "value",
    [
        *(None, 5, "a", True, [], [{"coins": 1}], Inner()),
        *({}, {"coins": 5.0}, {"coins": "5"}, {"coins": True}, {"coins": None}),
        *({"coins": 1, "rate": "nan"}, {"coins": 1, "rate": float("nan")}),
        *({"coins": 1, "rate": float("inf")}, {"coins": 1, "rate": True}),
        *({"coins": 1, "share": "NaN"}, {"coins": 1, "share": "lots"}),
        *({"coins": 1, "inner": []}, {"coins": 1, "inner": {"until": 5}}),
        *({"coins": 1, "zzz": 1}, {"coins": 1, "a\x00\ud800": 1}, {"coins": {1}}, {1: 1}),
    ],
)
def test_a_document_is_as_exact_as_its_model(value):
    with pytest.raises(Refused, match=r"^VALUE_TYPE: payload\.new_value") as refused:
        DOCUMENT.check(value, name="payload.new_value")
    assert str(refused.value).encode()


class Notice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    colour: str = "grey"
    text: str = Field(alias="says", max_length=5)
    hours: int = Field(1, le=1_000)

    @field_validator("colour")
    @classmethod
    def is_known(cls, value):
        if value == "plaid":
            raise ValueError("Plaid should be worn, not shown")
        return value


NOTICE = Capability(
    key="some.notice",
    klass=CapabilityClass.ORDINARY,
    description="a test",
    default={"says": "Hi"},
    model=Notice,
)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "new_value.says is missing; some.notice has: says, colour, hours"),
        (
            {"say": "Hi"},
            (
                "new_value.says is missing; new_value.say is unknown; "
                "some.notice has: says, colour, hours"
            ),
        ),
        (
            {"says": "Hi", "a b": 1},
            "new_value.'a b' is unknown; some.notice has: says, colour, hours",
        ),
        ({"says": 5}, "new_value.says must be a valid string"),
        ({"says": "Hello!"}, "new_value.says must have at most 5 characters"),
        ({"says": "Hi", "hours": 1_001}, "new_value.hours must be less than or equal to 1000"),
        ({"says": "Hi", "colour": "plaid"}, "new_value.colour: Plaid should be worn, not shown"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_under_the_names_of_its_fields(value, message):
    with pytest.raises(Refused) as refused:
        NOTICE.check(value, name="new_value")
    assert (refused.value.code, refused.value.message) == ("VALUE_TYPE", message)


def test_what_is_wrong_inside_a_document_is_not_told_the_fields_around_it():
    with pytest.raises(Refused) as refused:
        DOCUMENT.check({"coins": 1, "inner": {"until": 5}})
    assert refused.value.message.startswith("some.budget.inner.until must be ")


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
        lambda: declare("integer", 4, 1, 10, key="1a"),
        lambda: declare("integer", 4, 1, 10, key="k" * 201),
        lambda: declare("integer", 5, 7, 6),
        lambda: declare("integer", 4, 0.5, 10),
        lambda: declare("integer", 4, 1, 2**53),
        lambda: declare("integer", 4, -(2**53), 10),
        lambda: declare("integer", 4, True, 10),
        lambda: declare("decimal", "1", "0", "NaN"),
        lambda: declare("decimal", 0.5, 0, 1),
        lambda: declare("time", "2026-11-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        lambda: declare("time", "2026-11-01T00:00:00Z", 1, 2),
        lambda: declare("time", "2026-11-01"),
        lambda: declare(None, 5),
        lambda: Capability(
            "a.b", CapabilityClass.ORDINARY, "d", Budget(coins=1), "integer", Budget
        ),
        lambda: Capability("a.b", CapabilityClass.ORDINARY, "d", {"coins": "1"}, model=Budget),
    ],
)
def test_a_declaration_that_contradicts_itself_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_a_key_declared_twice_stops_the_build():
    with pytest.raises(ValueError, match=r"some\.key is declared twice"):
        Registry([INTEGER, DECIMAL])


def test_a_type_declared_twice_stops_the_build():
    with pytest.raises(ValueError, match=r"the type policy is declared twice"):
        CATALOGUE.with_extensions((), [CATALOGUE.kind("policy")])


def test_an_order_between_defaults_holds_from_the_beginning():
    small, large = (
        declare("integer", 4, 1, 10, key="small"),
        declare("integer", 4, 1, 10, key="big"),
    )
    with_both = Catalogue([small, large], (), [Order("small", "big")])
    with_both.check_orders({"small": 10, "big": 10})
    with pytest.raises(Refused, match="VALUES_CONTRADICT: small would be 5 and big 4"):
        with_both.check_orders({"small": 5, "big": 4})
    with pytest.raises(ValueError, match="an order names big, which is not declared"):
        Registry([small], [Order("small", "big")])
    with pytest.raises(Refused, match="VALUES_CONTRADICT"):
        Registry([small, declare("integer", 3, 1, 10, key="big")], [Order("small", "big")])


def test_an_extended_catalogue_keeps_what_it_had(catalogue):
    more = catalogue.with_extensions([INTEGER], ())
    assert "some.key" in more
    assert "some.key" not in catalogue
    assert more.orders == catalogue.orders
    assert more.types == catalogue.types


def test_an_unknown_key_is_refused_with_near_matches(catalogue):
    with pytest.raises(Refused, match=r"did you mean .*rate_limit\.TRUSTED") as refused:
        catalogue.get("rate_limit.TRUSTTED")
    assert refused.value.code == "UNKNOWN_CAPABILITY"


@pytest.mark.parametrize("key", ["", "zzz", "x" * 100_000, "\ud800", "a\x00", None, 5, ["a"], {}])
def test_any_unknown_key_is_refused_in_a_short_printable_sentence(catalogue, key):
    with pytest.raises(Refused) as refused:
        catalogue.get(key)
    assert len(str(refused.value).encode()) < 300


def test_stored_values_go_before_defaults(catalogue):
    values = catalogue.with_defaults({"rate_limit.CORE": 7, "gone": 1})
    assert values["rate_limit.CORE"] == 7
    assert values["rate_limit.TRUSTED"] == 2000
    assert "gone" not in values
    assert len(values) == len(catalogue) == len({declared.key for declared in catalogue})


def test_rate_limits_are_the_seeds():
    assert {c.key: (c.default, c.least, c.most, c.klass) for c in rate_limits.CAPABILITIES} == {
        f"rate_limit.{level}": (limit, 1, 1_000_000, "ordinary")
        for level, limit in zip(TrustLevel, (10_000, 2_000, 1_000, 100, 10), strict=True)
    }


def test_weights_are_the_seeds_and_quarantine_never_weighs(values):
    table = weights.weight_table(values)
    assert list(table.values()) == [5, 3, 1, Fraction(1, 2), 0]
    with pytest.raises(Refused, match="VALUE_OUT_OF_RANGE"):
        CATALOGUE.get("trust.weight.QUARANTINE").check("0.5")


def test_the_rules_of_voting_are_of_class_rule():
    rules = [*weights.CAPABILITIES, *track_values.CAPABILITIES]
    assert {declared.klass for declared in rules} == {CapabilityClass.RULE}
