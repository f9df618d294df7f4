"""Overlays: which calls give rise to a finding, and that nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune.detectors.finding import Severity, judged_again
from forge_core.immune.detectors.overlay_calls import (
    EXHAUSTION,
    FAILURE_RATE,
    FAILURES_IN_A_ROW,
    SLOW_CALLS,
    Call,
    Fault,
    judge_calls,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HALF = Fraction(1, 2)
NUMBERS = {
    "rate": HALF,
    "least_calls": Fraction(10),
    "in_a_row": Fraction(10),
    "slow_rate": HALF,
    "exhausted_rate": HALF,
}
TERMS = {rule.name: NUMBERS for rule in (FAILURE_RATE, FAILURES_IN_A_ROW, SLOW_CALLS, EXHAUSTION)}
RULES = {rule.name: rule for rule in (FAILURE_RATE, FAILURES_IN_A_ROW, SLOW_CALLS, EXHAUSTION)}


def call(number, outcome, *, at=None, **more):
    """``outcome``: s a success, f a failure, c one by the caller's fault, p by the platform's."""
    fault = {"s": None, "f": Fault.OVERLAY, "c": Fault.CALLER, "p": Fault.PLATFORM}[outcome]
    at = START + number * SECOND if at is None else at
    return Call(at, f"e{number:06}", outcome == "s", fault, **more)


def calls(outcomes):
    return [call(number, outcome) for number, outcome in enumerate(outcomes)]


def judged(given_calls, new=None):
    new = {one.id for one in given_calls} if new is None else new
    return judge_calls("scout", given_calls, new, TERMS)


def found(outcomes):
    return {finding.rule: finding.verdict.says for finding in judged(calls(outcomes))}


@pytest.mark.parametrize(
    ("outcomes", "rules"),
    [
        ("f" * 9, []),
        ("s" * 5 + "f" * 5, []),
        ("s" * 4 + "f" * 6, ["overlay.failure_rate"]),
        ("s" * 9 + "f" * 11, ["overlay.failures_in_a_row", "overlay.failure_rate"]),
        ("sf" * 10, []),
        ("sf" * 9 + "ff", ["overlay.failure_rate"]),
        ("s" * 10_000 + "f" * 20, ["overlay.failures_in_a_row"]),
        ("f" * 9 + "s", []),
        ("f" * 10, ["overlay.failures_in_a_row", "overlay.failure_rate"]),
        ("c" * 100, []),
        ("p" * 100, []),
        ("cp" * 40 + "f" * 9, []),
        ("f" * 5 + "c" * 60 + "f" * 5, ["overlay.failures_in_a_row", "overlay.failure_rate"]),
    ],
)
def test_boundaries(outcomes, rules):
    assert [*found(outcomes)] == rules


def test_the_finding_says_what_it_saw():
    (finding,) = judged(calls("s" * 4 + "f" * 6))

    assert finding.verdict.says == "60.0 % of the last 10 calls failed (95 %: 0.3127 to 0.8318)"
    assert finding.measures["failed"] == 6
    assert (finding.since, finding.until) == (START, START + 9 * SECOND)
    assert finding.samples == tuple(f"e{number:06}" for number in range(5, 10))
    assert finding.verdict.severity is Severity.WARNING


def test_it_is_critical_once_even_the_lower_bound_is_over_the_threshold():
    (finding,) = judged(calls("s" * 1 + "f" * 9))

    assert finding.verdict.severity is Severity.CRITICAL


def test_a_window_is_an_hour_at_most():
    hour = timedelta(hours=1)
    old = [call(number, "f", at=START) for number in range(9)]

    assert judged([*old, call(9, "f", at=START + hour)]) != []
    assert judged([*old, call(9, "f", at=START + hour + SECOND)]) == []


def test_slow_and_exhausted_calls_are_found_whether_or_not_they_failed():
    slow = [call(number, "s", slow=number >= 4) for number in range(10)]
    exhausted = [call(number, "s", exhausted=number % 10 < 6) for number in range(100)]

    assert [finding.rule for finding in judged(slow)] == ["overlay.slow_calls"]
    assert [finding.rule for finding in judged(exhausted)] == ["overlay.exhaustion"]
    assert judged([*slow[:9], call(9, "s")]) == []


OUTCOMES = st.text("sssfffcp", max_size=70)


@given(OUTCOMES)
def test_a_success_never_triggers(outcomes):
    one_more = calls(outcomes + "s")

    assert judged(one_more, {one_more[-1].id}) == []


@given(OUTCOMES)
def test_what_was_seen_before_gives_rise_to_nothing_again(outcomes):
    assert judged(calls(outcomes), set()) == []


@given(OUTCOMES, st.integers(0, 70))
def test_how_calls_were_batched_makes_no_difference(outcomes, size):
    given_calls = calls(outcomes)
    at_once = judged(given_calls)
    in_pieces = {}
    step = max(size, 1)
    for start in range(0, len(given_calls), step):
        end = start + step
        new = {one.id for one in given_calls[start:end]}
        for finding in judge_calls("scout", given_calls[:end], new, TERMS):
            in_pieces.setdefault(finding.rule, finding)

    assert in_pieces == {finding.rule: finding for finding in at_once}


@given(OUTCOMES, st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_of_arrival_is_irrelevant(outcomes, random, at_once):
    """Also of those that happened at one moment."""
    given_calls = [
        call(number, outcome, at=START + number // at_once * SECOND)
        for number, outcome in enumerate(outcomes)
    ]
    shuffled = given_calls.copy()
    random.shuffle(shuffled)

    assert judged(shuffled) == judged(given_calls)


@given(OUTCOMES)
def test_what_is_not_the_overlays_fault_changes_nothing(outcomes):
    """Neither the verdict nor what was measured."""
    given_calls = calls(outcomes)

    assert judged([one for one in given_calls if one.counts]) == judged(given_calls)


@given(st.text("sfff", min_size=10, max_size=70), st.integers(0, 2**32))
def test_a_rule_comes_to_the_same_on_the_stored_evidence(outcomes, seed):
    slow = Random(seed)
    given_calls = [
        call(number, outcome, slow=slow.random() < 0.6, exhausted=slow.random() < 0.6)
        for number, outcome in enumerate(outcomes)
    ]
    for finding in judged(given_calls):
        assert judged_again(RULES[finding.rule], finding.evidence()) == finding.verdict
