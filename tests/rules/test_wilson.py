"""Wilson's interval, against the formula in floating point and against known figures."""

from __future__ import annotations

from fractions import Fraction
from math import isclose, sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from forge_core.immune.detectors.wilson import Wilson


def bounds(part, whole, z=1.96):
    """As in the textbook."""
    share, square = part / whole, z * z
    middle = share + square / (2 * whole)
    half = z * sqrt(share * (1 - share) / whole + square / (4 * whole * whole))
    return (middle - half) / (1 + square / whole), (middle + half) / (1 + square / whole)


SHARES = st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
RATES = st.fractions(0, 1, max_denominator=1_000)


@given(SHARES, RATES)
def test_comparisons_are_those_of_the_formula(share, rate):
    low, high = bounds(*share)
    assume(not isclose(low, rate, abs_tol=1e-9) and not isclose(high, rate, abs_tol=1e-9))

    assert Wilson(*share).is_above(rate) is (low > rate)
    assert Wilson(*share).is_below(rate) is (high < rate)


@given(SHARES)
def test_what_is_shown_is_the_formula_rounded(share):
    shown = [float(bound) for bound in Wilson(*share).shown()]

    assert shown == pytest.approx(bounds(*share), abs=6e-5)


@given(SHARES)
def test_the_share_itself_is_never_outside(share):
    rate = Fraction(*share)

    assert not Wilson(*share).is_above(rate)
    assert not Wilson(*share).is_below(rate)


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, ("0.0000", "1.0000")),
        (6, 10, ("0.3127", "0.8318")),
        (0, 10, ("0.0000", "0.2775")),
        (0, 4, ("0.0000", "0.4899")),
        (5, 5, ("0.5655", "1.0000")),
    ],
)
def test_known_figures(part, whole, shown):
    assert Wilson(part, whole).shown() == shown


def test_ten_clean_calls_are_a_proof_and_three_are_not():
    half = Fraction(1, 2)

    assert Wilson(0, 10).is_below(half)
    assert Wilson(0, 4).is_below(half)
    assert not Wilson(0, 3).is_below(half)
    assert not Wilson(0, 0).is_below(half)


@pytest.mark.parametrize(("part", "whole"), [(1, 0), (-1, 5), (6, 5)])
def test_what_is_no_share_is_an_error(part, whole):
    with pytest.raises(ValueError, match="no share"):
        Wilson(part, whole)
