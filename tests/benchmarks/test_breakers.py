"""The models that ours is compared with do what is published of them."""

from __future__ import annotations

import pytest

from benchmarks.breakers import BREAKERS, Envoy, Fail2ban, Forge, Resilience4j


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


def test_resilience4j_opens_at_half_of_a_hundred_and_asks_ten():
    breaker = Resilience4j()
    assert fed(breaker, "f" * 49 + "s" * 51) is None
    breaker = Resilience4j()
    assert fed(breaker, "f" * 50 + "s" * 51) == 100
    assert not breaker.admits(99 + 59.9)
    assert fed(breaker, "sssssfffff", start=159) is None
    assert breaker.opened == 2
    assert fed(breaker, "ssssssffff" + "f" * 49, start=300) is None
    assert breaker.opened == 2


def test_fail2ban_counts_failures_whatever_is_between_them():
    jail = Fail2ban()
    assert fed(jail, "fsfsfsfs") is None
    assert fed(jail, "fs", start=100) == 101
    assert not jail.admits(699)
    assert jail.admits(700)
    assert fed(Fail2ban(), "fffff", every=151) is None


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


@pytest.mark.parametrize("kind", BREAKERS.values())
def test_what_always_goes_well_is_never_set_aside(kind):
    breaker = kind()
    assert fed(breaker, "s" * 2_000) is None
    assert breaker.opened == 0
