"""Emergencies, pauses and freezes: what they stop, what not, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from forge_core.clock import rfc3339
from tests.core.factories import Answer, House
from tests.core.full_house import (
    CASES,
    PAUSE,
    PAUSES,
    carried,
    clock_stopped,
    done,
    play,
    queued,
    reason,
    send,
    setting,
    undo,
    warned,
)

ORDINARY = {"type": "configuration", "payload": {"key": "rate_limit.CORE", "new_value": 7}}
PROTOCOL = {"type": "configuration", "payload": {"key": "difficulty", "new_value": 5}}
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def now(house: House) -> datetime:
    moment: datetime = house.one("SELECT forge_now()")
    return moment


def freeze(house: House, begins: datetime, ends: datetime, *, actor: str = "gus") -> str:
    given = {"from": rfc3339(begins), "until": rfc3339(ends), "reason": "holiday"}
    return str(house.do("enforcement.freeze", actor, **given)["window"])


def freeze_now(house: House, lasting: timedelta = DAY) -> str:
    given = {"until": rfc3339(now(house) + lasting), "reason": "holiday"}
    return str(house.do("enforcement.freeze", "gus", **given)["window"])


def waiting(house: House, **given: Any) -> str:
    """Due, and not executed yet."""
    proposal = queued(house, **(given or ORDINARY))
    house.advance_to(house.column(proposal, "eta"))
    return proposal


# Pause


def test_a_pause_is_an_emergency_with_its_own_track(full_house):
    """Four hours of voting, a day of timelock, two days of grace; nobody reviews or signs."""
    proposal = full_house.open("carl", **PAUSE.given)
    terms = full_house.column(proposal, "terms")

    assert full_house.column(proposal, "track") == "emergency"
    assert {name: terms[name] for name in ("voting_hours", "timelock_hours", "grace_hours")} == {
        "voting_hours": 4,
        "timelock_hours": 24,
        "grace_hours": 48,
    }
    assert (terms["min_yes_voters"], terms["approval"], terms["max_yes_share"]) == (
        5,
        "0.66",
        "0.2",
    )
    assert (terms["reviewers"], terms["sign_off"]) == (None, None)


def test_four_hours_are_all_an_emergency_may_take(full_house):
    """Outside a sandbox; neither less nor more."""
    answer = full_house.command(
        "proposals.create",
        "carl",
        {"title": "t", "description": "d", "voting_hours": 3, **PAUSE.given},
    )
    assert answer.code == "VALUE_OUT_OF_RANGE"


def test_four_of_five_voters_make_no_emergency(full_house):
    proposal = full_house.open("carl", **PAUSE.given)
    for member in ("cora", "carl", "cleo", "gus"):
        full_house.vote(proposal, member, "for")
    full_house.end_voting(proposal)

    assert full_house.status(proposal) == "rejected"


def test_a_pause_stops_execution_until_it_ends_by_itself(full_house):
    """INV-37: to the microsecond."""
    play(full_house, PAUSE)
    proposal = waiting(full_house)
    until = full_house.one("SELECT until_at FROM execution_windows")

    with clock_stopped(full_house, until - MICROSECOND):
        assert send(full_house, proposal) == ("refused", "EXECUTION_HELD")
    with clock_stopped(full_house, until):
        assert send(full_house, proposal) == ("done", None)


def test_a_pause_does_not_stop_emergencies(full_house):
    """INV-37: what waited goes on when one of them resumes."""
    play(full_house, PAUSE)
    stopped = waiting(full_house)
    full_house.settle()
    play(full_house, CASES["an adjustment"])
    assert full_house.status(stopped) == "queued"

    done(full_house, type="emergency", payload={"action": "resume"})
    full_house.settle()

    assert full_house.status(stopped) == "executed"


def test_a_pause_does_not_stop_rollbacks(full_house):
    """INV-37."""
    changed = done(full_house, **ORDINARY)
    play(full_house, PAUSE)

    undo(full_house, changed)

    assert full_house.sql(PAUSES) != []
    assert full_house.status(changed) == "rolled_back"


def test_a_pause_is_renewed_by_another_and_by_nothing_else(full_house):
    """At most a week each; the second begins when it is executed."""
    first = play(full_house, PAUSE)
    ends = full_house.one("SELECT until_at FROM execution_windows")
    full_house.advance_to(ends - timedelta(days=2))
    second = play(full_house, PAUSE)
    renewed = full_house.one("SELECT max(until_at) FROM execution_windows")

    assert timedelta(days=6) < renewed - ends <= timedelta(days=7)
    held = [row[0] for row in full_house.sql(f"{PAUSES} ORDER BY until_at")]
    assert held == [first, second]
    proposal = waiting(full_house)
    full_house.advance_to(ends)
    assert send(full_house, proposal) == ("refused", "EXECUTION_HELD")
    full_house.advance_to(renewed)
    assert send(full_house, proposal) == ("done", None)


def test_a_resumption_ends_every_pause_at_once(full_house):
    play(full_house, PAUSE)
    play(full_house, PAUSE)
    proposal = waiting(full_house)

    done(full_house, type="emergency", payload={"action": "resume"})

    assert full_house.sql(PAUSES) == []
    assert send(full_house, proposal) == ("done", None)


def test_a_resumption_does_not_end_a_freeze(full_house):
    play(full_house, PAUSE)
    resumption = queued(full_house, type="emergency", payload={"action": "resume"})
    full_house.advance_to(full_house.column(resumption, "eta"))
    freeze_now(full_house)

    assert send(full_house, resumption) == ("refused", "EXECUTION_HELD")
    full_house.advance(days=1)
    assert send(full_house, resumption) == ("done", None)


# Bounded adjustment


@pytest.mark.parametrize(
    ("value", "code"),
    [(18, None), ("18.000001", "ADJUSTMENT_TOO_LARGE"), (6, None), ("5.9", "ADJUSTMENT_TOO_LARGE")],
)
def test_an_adjustment_changes_a_number_by_at_most_half(full_house, value, code):
    """The bound is inclusive on both sides, and of the value at execution."""
    payload = {"action": "adjust", "key": "block_reward", "new_value": value}
    proposal = carried(full_house, type="emergency", payload=payload)

    assert full_house.column(proposal, "failure") == code


def test_the_bound_of_adjustments_is_a_rule(full_house):
    payload = {"action": "adjust", "key": "block_reward", "new_value": 18}
    done(full_house, **setting("emergency.adjustment", "0.1", "governance_rule").given)

    assert warned(full_house, type="emergency", payload=payload) == "ADJUSTMENT_TOO_LARGE"
    payload["new_value"] = "13.2"
    done(full_house, type="emergency", payload=payload)


def test_an_adjustment_and_a_configuration_of_one_key_are_rivals(full_house):
    """INV-34: the later one is stale."""
    payload = {"action": "adjust", "key": "difficulty", "new_value": 6}
    slow = queued(full_house, **PROTOCOL)
    fast = carried(full_house, type="emergency", payload=payload)

    full_house.ripen(slow)

    assert full_house.status(fast) == "executed"
    assert full_house.column(slow, "failure") == "STALE_VALUE"
    targets = full_house.sql("SELECT DISTINCT target FROM proposal_targets")
    assert targets == [("setting:difficulty",)]


# Freeze and thaw


def test_a_freeze_stops_everything_while_it_lasts(full_house):
    """INV-37: emergencies and rollbacks as well; to the microsecond at both ends."""
    changed = done(full_house, **ORDINARY)
    proposals = [
        queued(full_house, **setting("rate_limit.TRUSTED", 7).given),
        queued(full_house, type="rollback", payload={"proposal": changed}),
        queued(full_house, **PAUSE.given),
    ]
    full_house.advance_to(full_house.column(proposals[2], "eta"))
    begins = now(full_house) + timedelta(hours=1)
    ends = begins + timedelta(hours=2)
    freeze(full_house, begins, ends)

    for moment in (begins, ends - MICROSECOND):
        with clock_stopped(full_house, moment):
            for proposal in proposals:
                assert send(full_house, proposal) == ("refused", "EXECUTION_HELD")
    with clock_stopped(full_house, begins - MICROSECOND):
        assert send(full_house, proposals[0]) == ("done", None)
    with clock_stopped(full_house, ends):
        assert send(full_house, proposals[1]) == ("done", None)


def test_the_sweep_executes_when_a_freeze_has_ended(full_house):
    """INV-05: what waited does not have to be told."""
    proposal = waiting(full_house)
    full_house.sql("UPDATE jobs SET state = 'superseded' WHERE state = 'pending'")
    freeze_now(full_house)
    full_house.settle()
    assert full_house.status(proposal) == "queued"

    full_house.advance(days=1)
    full_house.settle()

    assert full_house.status(proposal) == "executed"


def test_a_thaw_ends_a_freeze_from_then_on(full_house):
    proposal = waiting(full_house)
    window = freeze_now(full_house, timedelta(days=10))
    assert send(full_house, proposal) == ("refused", "EXECUTION_HELD")

    full_house.do("enforcement.thaw", "gail", window=window, reason="back early")

    assert send(full_house, proposal) == ("done", None)
    (imposed,) = full_house.entries("execution.window_imposed")
    (ended,) = full_house.entries("execution.window_ended")
    assert (imposed["actor"], imposed["subject"]) == ("gus", window)
    assert (ended["actor"], ended["subject"]) == ("gail", window)
    said = full_house.one("SELECT body FROM texts WHERE commitment = %s", ended["data"]["reason"])
    assert said == "back early"
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


def test_a_freeze_that_was_thawed_before_it_began_has_held_nothing(full_house):
    proposal = waiting(full_house)
    ends = full_house.column(proposal, "expires_at")
    window = freeze(full_house, now(full_house) + DAY, now(full_house) + 2 * DAY)
    full_house.do("enforcement.thaw", "gus", window=window, reason="not needed")

    with clock_stopped(full_house, ends):
        assert send(full_house, proposal) == ("failed", "EXPIRED")


def _freeze(**changes: object) -> Callable[[House], Answer]:
    def make(house: House) -> Answer:
        begin = now(house)
        given = {
            key: rfc3339(begin + value) if isinstance(value, timedelta) else value
            for key, value in ({"until": DAY, "reason": "holiday"} | changes).items()
            if key != "actor"
        }
        return house.command("enforcement.freeze", str(changes.get("actor", "gus")), given)

    return make


FREEZES: Mapping[str, tuple[Callable[[House], Answer], str | None]] = {
    "a CORE member's": (_freeze(actor="carl"), "POWER_MISSING"),
    "an operator's": (_freeze(actor="otto"), "POWER_MISSING"),
    "nobody's": (_freeze(actor="nobody"), "MEMBER_UNKNOWN"),
    "without a reason": (_freeze(reason=""), "TEXT_BLANK"),
    "without an end": (_freeze(until=None), "WINDOW_INVALID"),
    "until no time": (_freeze(until="tomorrow"), "TIME_INVALID"),
    "until a time without offset": (_freeze(until="2999-01-01T00:00:00"), "TIME_INVALID"),
    "that has ended": (_freeze(until=-DAY), "WINDOW_INVALID"),
    "that began already": (_freeze(**{"from": -DAY}), "WINDOW_INVALID"),
    "that ends before it begins": (_freeze(**{"from": 2 * DAY}), "WINDOW_INVALID"),
    "of more than a fortnight": (
        _freeze(**{"from": DAY, "until": 15 * DAY + MICROSECOND}),
        "WINDOW_INVALID",
    ),
    "of a fortnight": (_freeze(**{"from": DAY, "until": 15 * DAY}), None),
    "far ahead": (_freeze(**{"from": 91 * DAY, "until": 92 * DAY}), "WINDOW_INVALID"),
    "almost as far ahead": (_freeze(**{"from": 89 * DAY, "until": 90 * DAY}), None),
}


@pytest.mark.parametrize("name", FREEZES)
def test_a_freeze_is_a_guardians_with_a_reason_and_an_end(full_house, name):
    make, code = FREEZES[name]

    assert make(full_house).code == code
    assert full_house.one("SELECT count(*) FROM execution_windows") == (code is None)


def test_only_a_freeze_in_force_or_to_come_is_thawed(full_house):
    pause = play(full_house, PAUSE)
    over = freeze_now(full_house, timedelta(hours=1))
    full_house.advance(hours=1)
    for window in (f"w-{pause}-0", over, "w-none", 5, None):
        given = {"window": window, "reason": "enough"}
        assert full_house.command("enforcement.thaw", "gus", given).code == "WINDOW_UNKNOWN"
    given = {"window": freeze_now(full_house), "reason": "enough"}
    assert full_house.command("enforcement.thaw", "carl", given).code == "POWER_MISSING"


# Grace does not run while execution is held

HELD: Mapping[str, tuple[list[tuple[int, int]], int]] = {
    "one": ([(1, 3)], 2),
    "two": ([(1, 3), (5, 6)], 3),
    "two that overlap": ([(1, 4), (3, 6)], 5),
    "one inside another": ([(1, 6), (2, 3)], 5),
    "two that touch": ([(1, 3), (3, 5)], 4),
    "one that began before eta": ([(-2, 1)], 1),
    "one that was over before eta": ([(-3, -1)], 0),
    "one over the end of grace": ([(13, 20)], 7),
    "one in the time that another gained": ([(12, 14), (15, 17)], 4),
}


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize(
    ("ticks", "answer"),
    [(-1, ("done", None)), (0, ("failed", "EXPIRED")), (1, ("failed", "EXPIRED"))],
)
def test_grace_does_not_run_in_a_window(full_house, name, ticks, answer):
    """INV-06, INV-27: days from eta; to the microsecond, whatever the windows look like."""
    windows, gained = HELD[name]
    proposal = queued(full_house, **PROTOCOL)
    eta = full_house.column(proposal, "eta")
    ends = full_house.column(proposal, "expires_at")
    for begin, end in windows:
        freeze(full_house, eta + begin * DAY, eta + end * DAY)

    with clock_stopped(full_house, ends + gained * DAY + ticks * MICROSECOND):
        full_house.sweep()
        over = full_house.one("SELECT count(*) FROM jobs WHERE kind = 'proposals.expire'")
        assert over == (ticks >= 0)
        assert send(full_house, proposal) == answer


def test_grace_does_not_run_in_a_pause_either(full_house):
    proposal = queued(full_house, **ORDINARY)
    ends = full_house.column(proposal, "expires_at")
    full_house.sql("UPDATE jobs SET state = 'superseded' WHERE state = 'pending'")
    play(full_house, PAUSE)
    (held,) = full_house.sql("SELECT until_at - from_at FROM execution_windows")

    full_house.advance_to(ends + held[0] - timedelta(hours=1))
    full_house.settle()

    assert full_house.status(proposal) == "executed"


def test_what_a_long_freeze_holds_is_not_expired_by_any_sweep(full_house):
    """INV-03, INV-04."""
    proposal = waiting(full_house)
    full_house.advance(days=13)
    freeze_now(full_house, timedelta(days=14))
    full_house.advance(days=13)
    full_house.settle()
    assert full_house.status(proposal) == "queued"

    full_house.advance(days=2)
    full_house.settle()

    assert full_house.status(proposal) == "expired"


# Breaking glass


def break_glass(house: House, proposal: str) -> str:
    given = {"kind": "break_glass", "subject": proposal, "reason": "the house is on fire"}
    joint: str = house.do("joint.propose", "gus", **given)["joint_id"]
    house.do("joint.confirm", "gail", joint_id=joint)
    return joint


@pytest.mark.parametrize("held", ["freeze", "pause"])
def test_two_guardians_let_one_proposal_through_and_it_is_recorded(full_house, held):
    """INV-37: nothing else comes with it."""
    if held == "pause":
        play(full_house, PAUSE)
    through = waiting(full_house)
    other = waiting(full_house, **setting("rate_limit.TRUSTED", 7).given)
    if held == "freeze":
        freeze_now(full_house)

    joint = break_glass(full_house, through)

    assert send(full_house, other) == ("refused", "EXECUTION_HELD")
    assert send(full_house, through) == ("done", None)
    (proposed,) = full_house.entries("joint.proposed")
    (confirmed,) = full_house.entries("joint.confirmed")
    assert (proposed["actor"], confirmed["actor"]) == ("gus", "gail")
    assert proposed["data"]["on"] == through
    assert proposed["subject"] == confirmed["subject"] == joint
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


def test_the_sweep_executes_what_glass_was_broken_for(full_house):
    proposal = waiting(full_house)
    full_house.sql("UPDATE jobs SET state = 'superseded' WHERE state = 'pending'")
    freeze_now(full_house)
    break_glass(full_house, proposal)

    full_house.settle()

    assert full_house.status(proposal) == "executed"


def test_broken_glass_shortens_no_timelock_and_no_gate(full_house):
    """INV-27, INV-42: it opens windows and nothing else."""
    proposal = queued(full_house, **PROTOCOL)
    freeze_now(full_house)
    break_glass(full_house, proposal)
    assert send(full_house, proposal) == ("refused", "TIMELOCK_ACTIVE")

    unreviewed = full_house.approved("carl", **setting("block_reward", 13).given)
    given = {"kind": "break_glass", "subject": unreviewed, "reason": "quick"}
    joint = full_house.do("joint.propose", "gus", **given)["joint_id"]
    confirmed = full_house.command("joint.confirm", "gail", {"joint_id": joint})
    assert confirmed.code == "PROPOSAL_STATUS"


def test_what_two_guardians_let_through_they_can_still_cancel(full_house):
    proposal = waiting(full_house)
    freeze_now(full_house)
    break_glass(full_house, proposal)
    full_house.do("proposals.cancel", "gus", proposal_id=proposal, reason="a mistake")

    assert send(full_house, proposal) == ("refused", "CANCELLED")
    assert reason(full_house, proposal) == "a mistake"
