"""The way of an overlay through quarantine and probation, step by step and for any steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from forge_core.immune.containment import (
    Containment,
    Stage,
    called,
    contained,
    elapsed,
    held,
    released,
)
from forge_core.immune.ladder import (
    CANARIES_MOST,
    PROBATION_MOST,
    PROBATIONS_MOST,
    QUARANTINE_MOST,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HALF = Fraction(1, 2)
ACTIVE = Containment(Stage.ACTIVE, NOW)


def after(state, seconds):
    return elapsed(state, HALF, "r1", NOW + seconds * SECOND)


def with_calls(state, outcomes, seconds=100):
    for outcome in outcomes:
        now = NOW + seconds * SECOND
        state = called(state, HALF, "r1", now, success=outcome == "s")
    return state


def test_a_quarantine_ends_in_a_probation_and_that_in_a_release():
    quarantined = contained(ACTIVE, "r1", NOW)
    assert (quarantined.stage, quarantined.admits()) == (Stage.QUARANTINED, False)
    assert 60 <= (quarantined.until - NOW).total_seconds() <= 72

    assert after(quarantined, 59) == quarantined
    probation = after(quarantined, 73)
    assert (probation.stage, probation.admits()) == (Stage.PROBATION, True)
    assert with_calls(probation, "sss").stage is Stage.PROBATION
    assert with_calls(probation, "ssss").stage is Stage.ACTIVE


def test_three_failures_put_it_back_for_longer_and_three_times_hold_it():
    state = contained(ACTIVE, "r1", NOW)
    now = NOW
    lasted = []
    while state.stage is not Stage.HELD:
        lasted.append(state.until - now)
        state = elapsed(state, HALF, "r1", state.until)
        now = state.since
        for _ in range(3):
            assert state.admits()
            state = called(state, HALF, "r1", now, success=False)
    assert len(lasted) == PROBATIONS_MOST
    assert lasted == sorted(lasted)
    assert lasted[2] >= 240 * SECOND
    assert not state.admits()


def test_health_makes_forgotten_what_was():
    once = with_calls(after(contained(ACTIVE, "r1", NOW), 73), "ssss")
    soon = contained(once, "r2", once.since + 60 * SECOND)
    late = contained(once, "r2", once.since + timedelta(hours=1))

    assert soon.until - soon.since >= 120 * SECOND
    assert late.until - late.since <= 72 * SECOND


def test_a_probation_without_calls_ends_in_a_release():
    probation = after(contained(ACTIVE, "r1", NOW), 73)

    ended = after(probation, 73 + PROBATION_MOST.total_seconds())
    assert ended.stage is Stage.ACTIVE


def test_people_hold_and_release():
    by_hand = held(ACTIVE, NOW)
    assert after(by_hand, 10**8) == by_hand
    assert contained(by_hand, "r1", NOW) == by_hand
    assert released(by_hand, NOW + SECOND) == Containment(Stage.ACTIVE, NOW + SECOND)
    assert released(ACTIVE, NOW + SECOND) == ACTIVE


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["contain", "wait", "success", "failure", "failure", "release", "hold"]),
        st.integers(-30, 4_000),
    ),
    max_size=40,
)


def stepped(state, step, now):
    if step == "contain":
        return contained(state, "r", now)
    if step == "wait":
        return elapsed(state, HALF, "r", now)
    if step in ("release", "hold"):
        return released(state, now) if step == "release" else held(state, now)
    if not state.admits():
        return state
    return called(state, HALF, "r", now, success=step == "success")


@given(STEPS)
def test_whatever_happens(steps):
    """No clock frees early, no quarantine is endless, no probation is stuck or a sieve."""
    state, now = ACTIVE, NOW
    for step, seconds in steps:
        now += seconds * SECOND
        before, state = state, stepped(state, step, now)
        if before.stage is Stage.QUARANTINED and state.stage is Stage.PROBATION:
            assert now >= before.until
        if before.stage is Stage.HELD:
            assert state.stage is Stage.HELD or step == "release"
        assert (state.canaries is not None) == (state.stage is Stage.PROBATION)
        assert (state.until is not None) == (state.stage is Stage.QUARANTINED)
        assert state.canaries is None or state.canaries.calls <= CANARIES_MOST
        assert state.until is None or state.until - state.since <= QUARANTINE_MOST
    if state.stage is Stage.PROBATION:
        late = state.canaries.began_at + PROBATION_MOST
        assert elapsed(state, HALF, "r", late).stage is not Stage.PROBATION
