"""INV-39: every key of the catalogue holds its bounds, at the edge and one step beyond.

Parametrised over the catalogue itself, so that a new key is covered by being declared.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.actions.payloads import parse_payload
from forge_core.capabilities import features, protocol
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.clock import rfc3339
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.wiring import CATALOGUE

TINY = Fraction(1, 10**90)  # a decimal has at most 100 digits
TICK = timedelta(microseconds=1)

# The type of proposal that changes a key of each class.
CHANGED_BY = {
    CapabilityClass.ORDINARY: "configuration",
    CapabilityClass.PROTOCOL: "configuration",
    CapabilityClass.TREASURY: "governance_rule",
    CapabilityClass.RULE: "governance_rule",
    CapabilityClass.FEATURE: "feature_activation",
}


def of_type(*types):
    keys = [declared for declared in CATALOGUE if declared.type in types]
    assert keys, f"nothing of {types} is declared"
    return pytest.mark.parametrize("declared", keys, ids=lambda declared: declared.key)


def every_key():
    return pytest.mark.parametrize("declared", CATALOGUE, ids=lambda declared: declared.key)


def instant(value):
    return datetime.fromisoformat(value).astimezone(UTC)


def refused_as(declared, value):
    """The code with which the value is refused, by a message that names what it stands in."""
    with pytest.raises(Refused) as refused:
        pytest.fail(f"accepted {value!a} as {declared.check(value, name='payload.new_value')}")
    assert refused.value.message.startswith("payload.new_value")
    assert str(refused.value).encode()
    return refused.value.code


def refusals(declared, *wrong):
    """The codes with which the values are refused; every one of them is."""
    return {refused_as(declared, value) for value in wrong}


def set_by_proposal(declared, value):
    if declared.klass is CapabilityClass.FEATURE:
        raw = {"feature": declared.key.removeprefix(features.PREFIX), "enabled": value}
    else:
        raw = {"key": declared.key, "new_value": value}
    return parse_payload(CHANGED_BY[declared.klass], raw, CATALOGUE)


@of_type("integer")
def test_an_integer_is_held_to_its_bounds(declared):
    for bound, beyond in ((declared.least, -1), (declared.most, 1)):
        assert declared.check(bound) == bound
        assert set_by_proposal(declared, bound).json()["new_value"] == bound
        assert refused_as(declared, bound + beyond) == "VALUE_OUT_OF_RANGE"
        with pytest.raises(Refused, match="VALUE_OUT_OF_RANGE"):
            set_by_proposal(declared, bound + beyond)


@of_type("integer")
def test_an_integer_is_nothing_that_equals_one(declared):
    n = declared.default
    equal = (float(n), str(n), Decimal(n), Fraction(n), complex(n), [n], {"n": n})
    other = (True, False, None, 5.0, "5", "", float("nan"), float("inf"))
    assert refusals(declared, *equal, *other) == {"VALUE_TYPE"}


@of_type("decimal")
def test_a_decimal_is_held_to_its_bounds_exactly(declared):
    for bound, beyond in ((declared.least, -TINY), (declared.most, TINY)):
        exact = parse_decimal(bound)
        outside = to_decimal_string(exact + beyond)
        assert declared.check(bound) == to_decimal_string(exact)
        assert set_by_proposal(declared, bound).json()["new_value"] == to_decimal_string(exact)
        assert refused_as(declared, outside) == "VALUE_OUT_OF_RANGE"
        assert refused_as(declared, Decimal(outside)) == "VALUE_OUT_OF_RANGE"
        with pytest.raises(Refused, match="VALUE_OUT_OF_RANGE"):
            set_by_proposal(declared, outside)


@of_type("decimal")
def test_a_decimal_is_no_float_and_no_switch(declared):
    floats = (0.5, 0.0, 1.0, float("nan"), float("inf"), -float("inf"))
    assert refusals(declared, *floats, True, False, None) == {"VALUE_TYPE"}


@of_type("decimal")
def test_a_decimal_is_readable_and_finite(declared):
    words = ("NaN", "Infinity", "-inf", "", " ", ".", "1/2", "0,5", "0x1", "1_0", " 1", "1\n")
    digits = ("\u0661", "1e400", "1e-400", "0." + "1" * 101, 10**400)
    other = (Decimal("NaN"), Decimal("sNaN"), Decimal("inf"), Fraction(1, 2), [], {}, b"1", 1j)
    assert refusals(declared, *words, *digits, *other) == {"NUMBER_INVALID"}


@of_type("boolean")
def test_a_switch_is_true_or_false_and_nothing_like_it(declared):
    alike = ("true", "false", "", 0, 1, None, 1.0, [], [True], {})
    assert refusals(declared, *alike) == {"VALUE_TYPE"}
    assert [declared.check(value) for value in (True, False)] == [True, False]


@of_type("time")
def test_a_time_is_held_to_its_bounds_by_the_microsecond(declared):
    for bound, beyond in ((declared.least, -TICK), (declared.most, TICK)):
        assert declared.check(bound) == rfc3339(instant(bound))
        assert set_by_proposal(declared, bound).json()["new_value"] == rfc3339(instant(bound))
        assert refused_as(declared, rfc3339(instant(bound) + beyond)) == "VALUE_OUT_OF_RANGE"


@of_type("time")
def test_a_time_names_its_offset_and_exists(declared):
    texts = ("2026-11-01", "2026-11-01T00:00:00", "noon", "", "2026-02-30T00:00:00Z")
    absurd = ("2026-11-01T24:00:01Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z")
    other = (1_793_491_200, 1.5, True, None, [], {}, datetime(2026, 11, 1, tzinfo=UTC))
    assert refusals(declared, *texts, *absurd, *other) == {"VALUE_TYPE"}


@of_type("time")
def test_a_time_beyond_any_plan_is_out_of_range(declared):
    ends = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
    assert refusals(declared, *ends) == {"VALUE_OUT_OF_RANGE"}


@every_key()
def test_a_default_is_a_legal_value_in_canonical_form(declared):
    assert declared.check(declared.default) == declared.default
    assert type(declared.check(declared.default)) is type(declared.default)


@every_key()
def test_a_key_says_what_it_is(declared):
    assert declared.description.strip() == declared.description != ""
    assert declared.klass in CHANGED_BY


@settings(deadline=None)
@given(st.sampled_from([one for one in CATALOGUE if one.type is not None]), st.data())
def test_what_is_checked_once_is_checked_for_ever(declared, data):
    """INV-33, INV-39: execution checks the stored value again and finds it as it was."""
    value = data.draw(
        {
            "integer": st.integers(-10, 20_000_000),
            "decimal": st.decimals(-1, 2_000, allow_nan=False).map(str),
            "boolean": st.booleans(),
            "time": st.datetimes(timezones=st.just(UTC)).map(rfc3339),
        }[declared.type]
    )
    try:
        checked = declared.check(value)
    except Refused as refused:
        assert refused.code == "VALUE_OUT_OF_RANGE"  # noqa: PT017  # most draws are legal
        return
    assert declared.check(checked) == checked
    assert (
        set_by_proposal(declared, checked).actions[0] == set_by_proposal(declared, value).actions[0]
    )


def test_the_protocols_parameters_are_the_seeds():
    found = [(c.key, c.type, c.least, c.most, c.default) for c in protocol.CAPABILITIES]
    assert found == [
        ("difficulty", "integer", 1, 10, 4),
        ("block_reward", "decimal", 0, 50, "12"),
        ("transaction_fee_percent", "decimal", 0, 5, "0.24"),
        ("max_block_size", "integer", 1_000, 10_000_000, 1_000_000),
        ("halving_interval", "integer", 100_000, 1_000_000, 262_800),
        ("airdrop_frequency", "integer", 10, 1_000, 100),
        ("min_airdrop_amount", "decimal", 1, 100, "10"),
        ("max_airdrop_amount", "decimal", 10, 1_000, "100"),
    ]
    assert {c.klass for c in protocol.CAPABILITIES} == {CapabilityClass.PROTOCOL}


def test_the_features_are_the_seeds():
    switches = {c.key: c.default for c in CATALOGUE if c.klass is CapabilityClass.FEATURE}
    assert switches == {
        "feature.airdrops": True,
        "feature.treasure_hunts": True,
        "feature.time_capsules": True,
        "feature.mining_bonuses": True,
        "feature.social_bonuses": True,
        "feature.fee_refunds": True,
        "feature.ai_development_pool": True,
        "feature.exchange": True,
        "feature.social_recovery": True,
        "feature.token_burning": True,
        "feature.smart_contracts": False,
        "feature.fiat_unlock": False,
    }
    assert {CATALOGUE.get(key).type for key in switches} == {"boolean"}


def test_what_unlocks_fiat_is_the_second_seeds_and_a_rule():
    found = {c.key: (c.type, c.default) for c in CATALOGUE if c.key.startswith("fiat_unlock.")}
    assert found == {
        "fiat_unlock.opens_at": ("time", "2026-03-12T00:00:00.000000Z"),
        "fiat_unlock.automatic_at": ("time", "2026-11-01T00:00:00.000000Z"),
        "fiat_unlock.min_yes_voters": ("integer", 5),
        "fiat_unlock.approval": ("decimal", "0.66"),
    }
    assert {CATALOGUE.get(key).klass for key in found} == {CapabilityClass.RULE}


ORDERED = [(order.lower, order.upper) for order in CATALOGUE.orders]


def test_the_orders_between_keys_are_these():
    assert [
        ("min_airdrop_amount", "max_airdrop_amount"),
        *(
            (f"track.{track}.voting_hours_least", f"track.{track}.voting_hours")
            for track in ("routine", "protected", "emergency")
        ),
    ] == ORDERED


@pytest.mark.parametrize(("lower", "upper"), ORDERED)
def test_an_order_allows_equality_and_nothing_beyond(lower, upper, values):
    whole = CATALOGUE.get(lower).type == "integer"
    edge = 50 if whole else "50"
    over = 51 if whole else "50." + "0" * 80 + "1"
    CATALOGUE.check_orders({**values, lower: edge, upper: edge})
    with pytest.raises(Refused, match=f"{lower} would be") as refused:
        CATALOGUE.check_orders({**values, lower: over, upper: edge})
    assert refused.value.code == "VALUES_CONTRADICT"


@settings(deadline=None)
@given(st.decimals(1, 1_000, places=40), st.decimals(1, 1_000, places=40))
def test_an_order_compares_exactly(values, least, most):
    """INV-12: not as text, and without rounding."""
    present = {**values, "min_airdrop_amount": str(least), "max_airdrop_amount": str(most)}
    with localcontext() as context:
        context.prec = 100
        keeps = least <= most
    if keeps:
        CATALOGUE.check_orders(present)
        return
    with pytest.raises(Refused, match="VALUES_CONTRADICT"):
        CATALOGUE.check_orders(present)
