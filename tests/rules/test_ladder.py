"""How long responses last, how a probation ends, and how many overlays may be contained."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune import ladder
from forge_core.immune.ladder import (
    Canaries,
    Probation,
    block_until,
    doublings_left,
    is_held,
    probation_of,
    quarantine_lasts,
    within_blast_radius,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HALF = Fraction(1, 2)
HOUR = timedelta(hours=1)


@given(st.integers(0, 10_000), st.text())
def test_a_quarantine_doubles_up_to_an_hour_with_some_jitter(doublings, response):
    least = min(60 * 2 ** min(doublings, 10), 3_600)

    lasts = quarantine_lasts(doublings, response).total_seconds()

    assert least <= lasts <= min(least * 1.2 + 1, 3_600)
    assert quarantine_lasts(doublings, response).total_seconds() == lasts


def test_those_that_begin_together_do_not_end_together():
    assert len({quarantine_lasts(3, f"r{number}") for number in range(100)}) > 30


@pytest.mark.parametrize(
    ("doublings", "healthy", "left"),
    [(3, -HOUR, 3), (3, HOUR - timedelta(seconds=1), 3), (3, HOUR, 2), (3, 9 * HOUR, 0)],
)
def test_health_takes_doublings_back(doublings, healthy, left):
    assert doublings_left(doublings, healthy) == left


def probation(calls, failed, minutes=0):
    now = NOW + timedelta(minutes=minutes)
    return probation_of(Canaries(NOW, calls, failed), HALF, now)


def test_a_probation_ends_as_it_should():
    assert probation(0, 0) is Probation.GOES_ON
    assert probation(3, 0) is Probation.GOES_ON
    assert probation(4, 0) is Probation.PASSED
    assert probation(9, 1) is Probation.PASSED
    assert probation(5, 2) is Probation.GOES_ON
    assert probation(3, 3) is Probation.FAILED
    assert probation(10, 2) is Probation.FAILED
    assert probation(0, 0, minutes=10) is Probation.PASSED
    assert probation(5, 1, minutes=10) is Probation.FAILED


@given(st.lists(st.booleans(), min_size=10, max_size=20), st.fractions("0.1", "0.9"))
def test_no_probation_lets_more_than_ten_calls_through_or_a_fourth_fail(outcomes, threshold):
    calls = failed = 0
    for success in outcomes:
        if probation_of(Canaries(NOW, calls, failed), threshold, NOW) is not Probation.GOES_ON:
            break
        calls, failed = calls + 1, failed + (not success)
    assert calls <= 10
    assert failed <= 3


@given(st.integers(0, 9), st.fractions(0, 1))
def test_a_probation_is_never_stuck(calls, threshold):
    late = NOW + ladder.PROBATION_MOST
    for failed in range(calls + 1):
        ended = probation_of(Canaries(NOW, calls, failed), threshold, late)
        assert ended is not Probation.GOES_ON


@given(st.integers(0, 9), st.integers(0, 9), st.fractions(0, 1))
def test_one_more_success_never_fails_a_probation_that_has_room(calls, failed, threshold):
    if failed > calls or calls + 1 >= ladder.CANARIES_MOST:
        return
    before = probation_of(Canaries(NOW, calls, failed), threshold, NOW)
    after = probation_of(Canaries(NOW, calls + 1, failed), threshold, NOW)
    if before is Probation.GOES_ON:
        assert after is not Probation.FAILED


def test_three_failed_probations_are_for_people():
    assert [is_held(number) for number in range(5)] == [False, False, False, True, True]


def test_the_first_block_is_an_hour_and_they_double_up_to_a_day():
    hours = [(block_until(NOW, before, None) - NOW) / HOUR for before in range(7)]

    assert hours == [1, 2, 4, 8, 16, 24, 24]
    assert block_until(NOW, 10_000, None) == NOW + 24 * HOUR


@given(st.integers(0, 20), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_blocking_again_never_shortens(before, left):
    assert block_until(NOW, before, NOW + left) >= NOW + left


@pytest.mark.parametrize(
    ("active", "most"), [(0, 1), (1, 1), (4, 1), (9, 1), (10, 2), (14, 2), (15, 3), (1_000, 200)]
)
def test_the_blast_radius_is_a_fifth_and_at_least_one(active, most):
    allowed = 0
    while within_blast_radius(active, allowed):
        allowed += 1
    assert allowed == most
