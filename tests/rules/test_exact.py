"""INV-12: numbers go in and come out exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Refused
from forge_core.exact import parse_decimal, rounded, to_decimal_string


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("007.50", "7.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+1", "1"),
        ("-0.25", "-0.25"),
        ("1e3", "1000"),
        ("25E-4", "0.0025"),
        (2**64 + 1, "18446744073709551617"),
        (Decimal("1E+2"), "100"),
        (Decimal("0E-20"), "0"),
        (Decimal("0.1"), "0.1"),
        ("9" * 100, "9" * 100),
        ("0." + "0" * 99 + "1", "0." + "0" * 99 + "1"),
        ("9" * 60 + "." + "9" * 40, "9" * 60 + "." + "9" * 40),
    ],
)
def test_decimals_are_read_exactly_and_written_canonically(given_, canonical):
    assert to_decimal_string(parse_decimal(given_)) == canonical


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            ".",
            "-",
            "e5",
            "1 ",
            " 1",
            "1\n",
            "1_000",
            "1,5",
            "0x10",
            "١٢",
            "½",
            "1e",
            "--1",
        ),
        *("nan", "NaN", "Infinity", "-inf", "1/3", "1e101", "1e-101", "1e99999", "1e999999999"),
        *("9" * 101, "0." + "0" * 100 + "1", "9" * 100_000, "1\x00", "\ud800"),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+100")),
        *(Decimal("1E-101"), Decimal("1E+999999"), 10**100, -(10**100)),
        *(True, False, 0.5, float("nan"), float("inf"), None, b"1", [], {}, Fraction(1, 3), 1j),
    ],
)
def test_what_is_not_a_finite_decimal_of_reasonable_size_is_refused(value):
    with pytest.raises(Refused) as refused:
        parse_decimal(value, name="weight")
    assert refused.value.code == "NUMBER_INVALID"
    assert refused.value.message.startswith("weight ")
    assert len(refused.value.message) < 200


@given(st.integers(-(10**90), 10**90), st.integers(0, 90))
def test_every_decimal_survives_the_round_trip(digits, places):
    number = Fraction(digits, 10**places)
    assert parse_decimal(to_decimal_string(number)) == number


@given(st.integers(-(10**40), 10**40), st.integers(0, 40))
def test_canonical_text_is_the_shortest_plain_decimal(digits, places):
    text = to_decimal_string(Fraction(digits, 10**places))
    assert "e" not in text.lower()
    assert text != "-0"
    whole, _, fraction = text.lstrip("-").partition(".")
    assert whole == "0" or not whole.startswith("0")
    assert not fraction.endswith("0")
    assert not text.endswith(".")


@given(st.text(alphabet="0123456789+-.eE", max_size=12))
def test_reading_agrees_with_decimal_wherever_both_read(text):
    try:
        read = parse_decimal(text)
    except Refused:
        return
    assert read == Fraction(Decimal(text))


def test_a_repeating_fraction_has_no_decimal_text():
    with pytest.raises(ValueError, match="1/3 has no finite decimal form"):
        to_decimal_string(Fraction(1, 3))


def test_more_digits_can_be_allowed():
    assert parse_decimal("9" * 4000, most_digits=4000) == 10**4000 - 1
    with pytest.raises(Refused, match="more than 4,000 digits"):
        parse_decimal("9" * 4001, most_digits=1_000_000)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 3, "0.333333"),
        (2, 3, "0.666667"),
        (1, 2, "0.5"),
        (0, 9, "0"),
        (Fraction(5, 2), 2, "1.25"),
    ],
)
def test_rounding_is_for_people(part, whole, text):
    assert rounded(part, whole) == text
