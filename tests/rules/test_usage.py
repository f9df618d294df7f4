"""Use of the platform: limits that are used up again and again, and hoarding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune.detectors.finding import judged_again
from forge_core.immune.detectors.usage import (
    HOARDING,
    RATE_ABUSE,
    Minute,
    judge_downloads,
    judge_minutes,
    may_be_hoarding,
    usual_items,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
NUMBERS = {
    "full": Fraction(9, 10),
    "full_minutes": Fraction(3),
    "floor": Fraction(100),
    "times_usual": Fraction(5),
}
TERMS = {rule.name: NUMBERS for rule in (HOARDING, RATE_ABUSE)}


def minute(number, used, *, limit=100, refused=0):
    return Minute(START + number * timedelta(minutes=1), limit, used, refused)


def found(*minutes):
    return judge_minutes("ada", minutes, TERMS)


def test_three_full_minutes_of_the_last_five_are_abuse():
    assert found() is None
    assert found(minute(0, 100)) is None
    assert found(minute(0, 90), minute(1, 90)) is None
    assert found(minute(0, 90), minute(1, 89), minute(4, 90)) is None
    finding = found(minute(0, 90), minute(2, 0), minute(3, 90), minute(4, 95, refused=7))
    assert finding.verdict.says == (
        "the limit was used up in 3 of 5 minutes (7 requests were refused)"
    )


def test_what_was_refused_was_wanted_too():
    assert found(*(minute(n, 60, refused=30) for n in range(3))) is not None
    assert found(*(minute(n, 60, refused=29) for n in range(3))) is None


@pytest.mark.parametrize(("last", "abuse"), [(4, True), (5, False)])
def test_minutes_without_requests_count_among_the_five(last, abuse):
    assert (found(minute(0, 99), minute(1, 99), minute(last, 99)) is not None) is abuse


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100), st.integers(0, 9))))
def test_one_minute_alone_is_never_abuse(given_minutes):
    last = minute(10, 10_000, refused=10_000)
    quiet = [minute(number, 89 - refused, refused=refused) for number, _, refused in given_minutes]

    assert found(*{one.at: one for one in [*quiet, last]}.values()) is None


@pytest.mark.parametrize(
    ("items", "usual", "hoards"),
    [(100, 0, False), (101, 0, True), (150, 30, False), (151, 30, True), (101, 10, True)],
)
def test_hoarding_is_measured_by_what_is_usual(items, usual, hoards):
    assert (judge_downloads("ada", items, usual, START, TERMS) is not None) is hoards


def test_what_is_usual_is_the_median():
    assert usual_items([]) == 0
    assert usual_items([1, 2, 300]) == 2
    assert usual_items([10, 20]) == 15


@given(st.integers(0, 10_000), st.integers(0, 100), st.integers(-243, 243))
def test_an_estimate_within_its_error_misses_nobody(items, usual, error):
    """HyperLogLog's figure, up to 2.43 % off, nominates everybody whom the count would convict."""
    estimate = items + items * error // 10_000
    if judge_downloads("ada", items, usual, START, TERMS) is not None:
        assert may_be_hoarding(estimate, usual, NUMBERS)


@given(st.lists(st.integers(0, 200), min_size=5, max_size=5), st.integers(0, 1_000))
def test_a_rule_comes_to_the_same_on_the_stored_evidence(used, items):
    for rule, finding in (
        (RATE_ABUSE, found(*(minute(number, count) for number, count in enumerate(used)))),
        (HOARDING, judge_downloads("ada", items, 10, START, TERMS)),
    ):
        if finding is not None:
            assert judged_again(rule, finding.evidence()) == finding.verdict
