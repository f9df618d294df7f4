"""Overlays among their peers and over time; hosts; crowds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune.detectors.crowds import (
    BURST,
    NEW_ACCOUNTS,
    Cast,
    judge_burst,
    judge_new_accounts,
)
from forge_core.immune.detectors.finding import Severity, judged_again
from forge_core.immune.detectors.hosts import RUNNING_OUT, judge_sample
from forge_core.immune.detectors.overlay_life import (
    FLAPS,
    OUTLIER,
    SILENCE,
    judge_peers,
    judge_quarantines,
    judge_silence,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBERS = {
    "least_calls": Fraction(50),
    "least_peers": Fraction(5),
    "deviations": Fraction(7, 2),
    "quarantines": Fraction(3),
    "expected": Fraction(10),
    "memory_warning": Fraction(80, 100),
    "memory_critical": Fraction(95, 100),
    "disk_warning": Fraction(85, 100),
    "disk_critical": Fraction(95, 100),
    "least_ballots": Fraction(20),
    "times_usual": Fraction(10),
    "least_new": Fraction(5),
    "new_share": Fraction(1, 2),
}
TERMS = {rule.name: NUMBERS for rule in (OUTLIER, FLAPS, SILENCE, RUNNING_OUT, BURST, NEW_ACCOUNTS)}
RULES = {rule.name: rule for rule in (OUTLIER, FLAPS, SILENCE, RUNNING_OUT, BURST, NEW_ACCOUNTS)}


def outliers(calls):
    return [finding.subject.id for finding in judge_peers(calls, NOW - HOUR, NOW, TERMS)]


PEERS = {f"o{number}": (100, number) for number in range(6)}


def test_who_fails_far_more_than_its_peers_is_an_outlier():
    assert outliers({**PEERS, "bad": (100, 40)}) == ["bad"]
    assert outliers(PEERS) == []


def test_it_takes_enough_peers_and_enough_calls():
    assert outliers({"bad": (100, 40), **dict([*PEERS.items()][:4])}) == []
    assert outliers({"bad": (49, 40), **PEERS}) == []
    assert outliers({}) == outliers({"bad": (100, 100)}) == []


def test_where_all_are_alike_a_percent_is_no_outlier():
    alike = {f"o{number}": (1_000, 0) for number in range(9)}

    assert outliers({**alike, "other": (1_000, 10)}) == []
    assert outliers({**alike, "other": (1_000, 100)}) == ["other"]


@given(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 100), min_size=6))
def test_never_more_than_half_are_outliers(failed):
    found = outliers({id_: (100, count) for id_, count in failed.items()})

    assert 2 * len(found) <= len(failed)


@pytest.mark.parametrize(
    ("hours", "flaps"), [([1, 2], False), ([1, 2, 24], True), ([1, 2, 25], False)]
)
def test_three_quarantines_within_a_day_are_flapping(hours, flaps):
    began = [NOW - number * HOUR for number in hours]

    assert (judge_quarantines("scout", began, NOW, TERMS) is not None) is flaps


def test_silence_is_measured_by_what_is_usual():
    def silent(usual, minutes):
        since = NOW - timedelta(minutes=minutes)
        return judge_silence("scout", Fraction(usual), since, NOW, TERMS) is not None

    assert [silent(2, minutes) for minutes in (0, 4, 5, -5)] == [False, False, True, False]
    assert not silent(0, 10_000)


@pytest.mark.parametrize(
    ("memory", "disk", "severity"),
    [
        (79.9, 84.9, None),
        (80, 0, Severity.WARNING),
        (0, 85, Severity.WARNING),
        (94.9, 94.9, Severity.WARNING),
        (95, 0, Severity.CRITICAL),
        (80, 95, Severity.CRITICAL),
    ],
)
def test_hosts_that_run_out(memory, disk, severity):
    finding = judge_sample("h1", memory, disk, NOW, TERMS)

    assert (finding and finding.verdict.severity) == severity


def test_a_burst_is_many_and_many_more_than_usual():
    def burst(*a_minute):
        return judge_burst("p", a_minute, NOW, TERMS) is not None

    assert [burst(), burst(19), burst(20), burst(2, 2, 20), burst(3, 3, 20)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_a_cluster_of_new_accounts_is_half_of_a_side_and_five():
    def cast(choice, days):
        return Cast(NOW, choice, NOW - timedelta(days=days))

    five = [cast("for", 1)] * 5
    assert [f.samples for f in judge_new_accounts("p", five, TERMS)] == [("for",)]
    assert judge_new_accounts("p", five[:4], TERMS) == []
    assert judge_new_accounts("p", [*five, *[cast("for", 8)] * 6], TERMS) == []
    assert judge_new_accounts("p", [*five, *[cast("against", 8)] * 60], TERMS) != []
    assert judge_new_accounts("p", [cast("for", 7)] * 5, TERMS) == []


@given(st.lists(st.integers(0, 100), min_size=7, max_size=7), st.integers(0, 60))
def test_a_rule_comes_to_the_same_on_the_stored_evidence(numbers, number):
    found = [
        *judge_peers({f"o{i}": (100, n) for i, n in enumerate(numbers)}, NOW - HOUR, NOW, TERMS),
        judge_quarantines("scout", [NOW] * (number % 5), NOW, TERMS),
        judge_silence("scout", Fraction(number), NOW - HOUR, NOW, TERMS),
        judge_sample("h1", numbers[0], numbers[1], NOW, TERMS),
        judge_burst("p", numbers, NOW, TERMS),
        *judge_new_accounts("p", [Cast(NOW, "for", NOW - HOUR * n) for n in numbers], TERMS),
    ]
    for finding in filter(None, found):
        assert judged_again(RULES[finding.rule], finding.evidence()) == finding.verdict
