"""Attempts to log in: guessing, spraying, a guess that was right; and what clears them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune.detectors.attempts import (
    GUESSING,
    RIGHT_GUESS,
    SPRAYING,
    Attempt,
    judge_attempts,
)
from forge_core.immune.detectors.finding import judged_again

START = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NUMBERS = {"failures": Fraction(10), "members": Fraction(10), "failures_before": Fraction(5)}
TERMS = {rule.name: NUMBERS for rule in (GUESSING, SPRAYING, RIGHT_GUESS)}
RULES = {rule.name: rule for rule in (GUESSING, SPRAYING, RIGHT_GUESS)}
GUESSED = "auth.guessing"


def attempt(number, *, seconds=None, success=False, member="ada"):
    at = START + SECOND * (number if seconds is None else seconds)
    return Attempt(at, f"e{number:05}", success, member)


def judged(attempts, new=None):
    new = {one.id for one in attempts} if new is None else new
    return judge_attempts("192.0.2.7", attempts, new, TERMS)


def rules(attempts, new=None):
    return [finding.rule for finding in judged(attempts, new)]


def test_the_ninth_failure_is_nothing_and_the_tenth_is_a_finding():
    failures = [attempt(number) for number in range(10)]

    assert rules(failures[:9]) == []
    (finding,) = judged(failures)
    assert finding.rule == GUESSED
    assert finding.verdict.says == "10 attempts failed within 5 minutes"
    assert finding.subject.id == "192.0.2.7"


@pytest.mark.parametrize(("seconds", "guessed"), [(299, True), (300, True), (301, False)])
def test_a_burst_is_found_wherever_the_five_minutes_begin(seconds, guessed):
    """A window that begins at fixed times would let twice as many through."""
    first = attempt(0, seconds=0)
    rest = [attempt(number, seconds=seconds) for number in range(1, 10)]

    assert (GUESSED in rules([first, *rest])) is guessed


def test_a_success_clears():
    failures = [attempt(number) for number in range(9)]
    success = attempt(9, success=True)

    assert GUESSED not in rules([*failures, success, attempt(10)])
    again = [attempt(number) for number in range(10, 20)]
    assert GUESSED not in rules([*failures, success, *again[:9]])
    assert GUESSED in rules([*failures, success, *again])


def test_many_members_from_one_address_are_sprayed_even_slowly():
    slowly = [
        attempt(number, seconds=number * 330, member=f"m{number}", success=False)
        for number in range(11)
    ]

    assert rules(slowly[:9]) == []
    assert rules(slowly) == ["auth.spraying"]
    one_right = [*slowly[:5], attempt(99, seconds=5 * 330 - 1, success=True), *slowly[5:]]
    assert "auth.spraying" in rules(one_right)


def test_a_success_after_many_failures_of_the_same_member_may_be_a_right_guess():
    failures = [attempt(number) for number in range(5)]

    (finding,) = judged([*failures, attempt(5, success=True)])
    assert finding.rule == "auth.right_guess"
    assert rules([*failures[:4], attempt(5, success=True)]) == []
    assert rules([*failures, attempt(5, success=True, member="ben")]) == []


ATTEMPTS = st.lists(
    st.tuples(st.integers(0, 900), st.booleans(), st.sampled_from("abcdefghijkl")), max_size=60
).map(
    lambda given: [
        attempt(number, seconds=seconds, success=success, member=member)
        for number, (seconds, success, member) in enumerate(given)
    ]
)


@given(ATTEMPTS)
def test_a_success_never_blocks_an_address(attempts):
    last = attempt(99_999, seconds=901, success=True)

    assert set(rules([*attempts, last], {last.id})) <= {"auth.right_guess"}


@given(ATTEMPTS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_is_irrelevant(attempts, random):
    shuffled = attempts.copy()
    random.shuffle(shuffled)

    assert judged(shuffled) == judged(attempts)


@given(ATTEMPTS)
def test_each_alone_finds_what_all_at_once_find(attempts):
    found = {}
    for end, one in enumerate(sorted(attempts), start=1):
        for finding in judged(sorted(attempts)[:end], {one.id}):
            found.setdefault(finding.rule, finding)

    assert found == {finding.rule: finding for finding in judged(attempts)}


@given(ATTEMPTS)
def test_a_rule_comes_to_the_same_on_the_stored_evidence(attempts):
    for finding in judged(attempts):
        assert judged_again(RULES[finding.rule], finding.evidence()) == finding.verdict
