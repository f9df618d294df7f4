"""The models that ours is compared with do what is published of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.breakers import (
    BREAKERS,
    EPOCH,
    NEVER,
    TERMS,
    Envoy,
    Fail2ban,
    Forge,
    Resilience4j,
)
from benchmarks.containment import Calls, Spread, _let_through
from forge_core.immune.detectors.overlay_calls import LAST, Call, Fault, judge_calls


def fed(breaker, outcomes, *, start=0.0, every=1.0):
    """Calls one after the other; returns when it stopped letting them through, if it did."""
    for number, outcome in enumerate(outcomes):
        now = start + number * every
        if not breaker.admits(now):
            return now
        breaker.called(now, success=outcome == "s")
    return None


def test_envoy_ejects_at_five_in_a_row_for_longer_each_time():
    envoy = Envoy()
    assert fed(envoy, "ffffsffff") is None
    assert envoy.opened == 0
    fed(envoy, "f", start=9)
    assert envoy.opened == 1
    assert not envoy.admits(39)
    assert envoy.admits(40)
    fed(envoy, "fffff", start=41)
    assert not envoy.admits(99)
    assert envoy.admits(110)


def test_envoy_forgets_by_sweeps_in_which_all_was_well():
    envoy = Envoy()
    fed(envoy, "fffff")
    assert envoy.admits(40)
    assert envoy.admits(60)
    fed(envoy, "fffff", start=61)
    assert envoy.admits(100)


def test_envoy_remembers_no_more_than_eleven_ejections():
    envoy = Envoy()
    now = 0.0
    for _ in range(30):
        fed(envoy, "fffff", start=now)
        assert envoy.shut_until <= now + 4 + 300 + 10
        now = envoy.shut_until
    # Ten well sweeps later one is left of the eleven, so this is the second.
    fed(envoy, "fffff", start=now + 100)
    assert envoy.shut_until == now + 100 + 70


def test_resilience4j_opens_at_half_of_a_hundred_and_asks_ten():
    breaker = Resilience4j()
    assert fed(breaker, "f" * 49 + "s" * 51) is None
    breaker = Resilience4j()
    assert fed(breaker, "f" * 50 + "s" * 51) == 100
    assert not breaker.admits(99 + 60)
    assert fed(breaker, "sssssfffff", start=160) is None
    assert breaker.opened == 2
    assert fed(breaker, "ssssssffff" + "f" * 49, start=300) is None
    assert breaker.opened == 2


def test_fail2ban_counts_failures_whatever_is_between_them():
    jail = Fail2ban()
    assert fed(jail, "fsfsfsfs") is None
    assert fed(jail, "fs", start=100) == 101
    assert not jail.admits(700)
    assert jail.admits(701)


def test_fail2ban_takes_what_is_older_than_ten_minutes_at_its_rate():
    """By ``FailTicket.adjustTime``: four in 608 s count as round(4 / 608 * 600), which is four."""
    jail = Fail2ban()
    fed(jail, "fffff", every=152)
    assert jail.opened == 1
    jail = Fail2ban()
    fed(jail, "f" * 20, every=300)
    assert jail.opened == 0


def test_fail2ban_forgets_ten_minutes_after_the_last_failure():
    jail = Fail2ban()
    fed(jail, "ffff")
    fed(jail, "f", start=3 + 600)
    assert jail.opened == 0


def test_ours_needs_ten_and_then_asks_for_people():
    ours = Forge()
    assert fed(ours, "f" * 10) is None
    assert ours.opened == 1
    reached = 10
    for second in range(100, 100_000, 10):
        if ours.admits(second):
            ours.called(second, success=False)
            reached += 1
    assert reached == 19
    assert ours.shut_until == NEVER


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([0.2, 0.35, 0.45, 0.7]),
    st.sampled_from([(1,), (1, 5, 600), (100,)]),
)
def test_ours_is_set_aside_at_the_call_at_which_the_product_would(random, failing, pauses):
    ours = Forge()
    told, now = [], 0
    for number in range(300):
        now += random.choice(pauses)
        success = random.random() >= failing
        ours.called(float(now), success=success)
        at = EPOCH + timedelta(seconds=now)
        told.append(Call(at, f"{number:09}", success, None if success else Fault.OVERLAY))
        found = judge_calls("it", told[-LAST - 1 :], {told[-1].id}, TERMS)
        assert bool(found) == bool(ours.opened)
        if found:
            return


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=200))
@pytest.mark.parametrize("kind", BREAKERS.values())
def test_no_call_is_let_through_before_the_moment_that_is_told(kind, calls):
    at, now = [], 0.0
    for pause, _ in calls:
        now += pause
        at.append(now)
    well = [success for _, success in calls]
    asked = kind()
    through = []
    for number, (moment, success) in enumerate(zip(at, well, strict=True)):
        if asked.admits(moment):
            asked.called(moment, success=success)
            through.append(number)

    assert list(_let_through(kind(), Calls(at, well))) == through


@pytest.mark.parametrize("kind", BREAKERS.values())
def test_what_always_goes_well_is_never_set_aside(kind):
    breaker = kind()
    assert fed(breaker, "s" * 2_000) is None
    assert breaker.opened == 0


def test_a_spread_is_of_values_that_there_were():
    assert Spread.of([3, 1, 2, NEVER]) == Spread(2, NEVER, NEVER)
    assert Spread.of(range(1, 101)) == Spread(50, 95, 100)
