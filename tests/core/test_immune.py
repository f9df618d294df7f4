"""What runtime events lead to: found, answered once, and undone in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.core.factories import House
from tests.core.full_house import done
from tests.core.immunity import SECOND, Runtime


@pytest.fixture
def runtime(house: House) -> Runtime:
    return Runtime(house)


@pytest.fixture
def scout(runtime: Runtime) -> Runtime:
    """With an overlay "scout" among nine others."""
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    return runtime


# Overlays


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ("f" * 9, None),
        ("sssss" + "fffff", None),
        ("ssss" + "ffffff", "60.0 % of the last 10 calls failed (95 %: 0.3127 to 0.8318)"),
        ("f" * 9 + "s" * 9 + "ff", "52.6 % of the last 19 calls failed (95 %: 0.3171 to 0.7267)"),
        ("sf" * 10, None),
        ("f" * 10, "the last 10 calls failed, one after the other"),
        ("c" * 30 + "p" * 30, None),
        ("s" + "fc" * 8, None),
    ],
)
def test_an_overlay_is_quarantined_at_the_threshold_and_not_before(scout, outcomes, says):
    scout.tell(scout.calls("scout", outcomes))

    assert [one["evidence"]["says"] for one in scout.responses()] == ([says] if says else [])
    assert scout.stage("scout") == ("quarantined" if says else "active")
    assert scout.leases() == ({("overlay", "scout"): "quarantined"} if says else {})


def test_ten_thousand_good_calls_do_not_hide_twenty_bad_ones(scout):
    start = scout.start
    for _ in range(10):
        scout.record([scout.call("scout", "s", at=start) for _ in range(1_000)])
    scout.tell([scout.call("scout", "f", at=start + n * SECOND) for n in range(1, 21)])

    assert scout.stage("scout") == "quarantined"


def test_one_response_however_many_failures_follow(scout):
    for _ in range(5):
        scout.tell(scout.calls("scout", "f" * 12))

    assert scout.rungs() == ["quarantine"]


@pytest.mark.parametrize("size", [1, 7, 20, -20])
def test_it_makes_no_difference_how_events_were_batched(scout, size):
    events = scout.calls("scout", "ssss" + "ffffff" + "s" * 10)
    if size < 0:
        events.reverse()
    for first in range(0, len(events), abs(size)):
        scout.tell(events[first : first + abs(size)])

    assert scout.stage("scout") == "quarantined"
    assert scout.responses()[0]["evidence"]["measures"]["failed"] == 6


def test_events_that_come_twice_count_once(scout):
    events = scout.calls("scout", "s" + "f" * 8)

    assert scout.tell(events).new == 9
    assert scout.tell(events).duplicates == 9
    assert scout.tell([*scout.calls("scout", "s"), events[3], events[3]]).duplicates == 2
    assert scout.stage("scout") == "active"
    assert scout.house.one("SELECT sum(calls) FROM overlay_minutes") == 10


def test_an_overlay_that_nobody_registered_is_counted_and_not_answered(scout):
    scout.tell(scout.calls("ghost", "f" * 20))

    assert scout.responses() == []
    assert scout.house.one("SELECT sum(failed) FROM overlay_minutes WHERE overlay = 'ghost'") == 20


def test_quarantine_probation_release(scout):
    scout.tell(scout.calls("scout", "f" * 10))
    scout.go_on()
    assert scout.stage("scout") == "quarantined"

    scout.time_passes(timedelta(seconds=75))
    scout.go_on()
    assert scout.stage("scout") == "probation"
    assert scout.leases() == {("overlay", "scout"): "probation"}

    now = scout.house.one("SELECT clock_timestamp()")
    scout.record([scout.call("scout", "s", at=now + n * SECOND / 100) for n in range(3)])
    scout.go_on()
    assert scout.stage("scout") == "probation"
    scout.record([scout.call("scout", "s", at=now + SECOND)])
    scout.go_on()
    assert scout.stage("scout") == "active"
    assert scout.leases() == {}
    assert scout.responses()[0]["ended_by"] == "system"

    # What was before counts no more.
    scout.tell([scout.call("scout", "f", at=now + 2 * SECOND)])
    assert scout.stage("scout") == "active"


def test_three_failed_probations_are_for_people(scout):
    scout.tell(scout.calls("scout", "f" * 10))
    for attempt in range(3):
        scout.time_passes(timedelta(hours=1))
        scout.go_on()
        assert scout.stage("scout") == "probation"
        now = scout.house.one("SELECT clock_timestamp()")
        scout.tell([scout.call("scout", "f", at=now + n * SECOND / 100) for n in range(3)])
        scout.go_on()
        assert scout.stage("scout") == ("held" if attempt == 2 else "quarantined")

    scout.time_passes(timedelta(days=30))
    scout.go_on()
    assert scout.stage("scout") == "held"


def test_a_probation_without_calls_is_not_for_ever(scout):
    scout.tell(scout.calls("scout", "f" * 10))
    for _ in range(2):
        scout.time_passes(timedelta(hours=1))
        scout.go_on()

    assert scout.stage("scout") == "active"


def test_a_runtime_whose_clock_is_slow_hides_no_failure(scout):
    def failing(count):
        behind = scout.house.one("SELECT clock_timestamp()") - timedelta(minutes=20)
        return [scout.call("scout", "f", at=behind + n * SECOND / 100) for n in range(count)]

    scout.tell(failing(10))
    scout.time_passes(timedelta(minutes=2))
    scout.go_on()
    assert scout.stage("scout") == "probation"
    scout.record(failing(3))
    scout.go_on()
    assert scout.stage("scout") == "quarantined"
    scout.house.do("immune.release", "otto", **by_hand("overlay", "scout"))
    scout.tell(failing(10))
    assert scout.stage("scout") == "quarantined"


def test_quarantined_again_and_again_is_held(scout):
    for _ in range(3):
        now = scout.house.one("SELECT clock_timestamp()")
        scout.tell([scout.call("scout", "f", at=now + n * SECOND / 100) for n in range(10)])
        if scout.stage("scout") == "quarantined":
            for _ in range(2):
                scout.time_passes(timedelta(minutes=11))
                scout.go_on()

    assert scout.rungs() == ["quarantine", "quarantine", "hold"]
    assert scout.stage("scout") == "held"


def test_never_more_than_a_fifth_at_once(scout):
    for number in range(9):
        scout.tell(scout.calls(f"o{number}", "f" * 10))

    contained = [number for number in range(9) if scout.stage(f"o{number}") != "active"]
    assert contained == [0, 1]
    assert scout.incidents() == ["systemic"]
    assert scout.rungs().count("warn") == 1
    assert scout.rungs().count("observe") == 6

    # Ten minutes later what still fails is answered again.
    scout.time_passes(timedelta(minutes=10))
    scout.go_on()
    scout.tell(scout.calls("o5", "f"))
    assert scout.responses()[-1]["why"] == "too many overlays are contained already"


def test_the_last_provider_of_a_capability_is_left_to_people(runtime):
    runtime.register("one", "two", provides=["search"])
    runtime.register(*(f"o{number}" for number in range(20)))
    runtime.tell(runtime.calls("one", "f" * 10))
    runtime.tell(runtime.calls("two", "f" * 10))

    assert (runtime.stage("one"), runtime.stage("two")) == ("quarantined", "active")
    assert runtime.responses()[-1]["why"] == "it is the last provider of a capability"
    assert (
        runtime.house.one("SELECT rung FROM immune_actions WHERE subject = 'two'") == "quarantine"
    )


def test_core_takes_two_people(runtime):
    house = runtime.house
    runtime.register("kernel", trust="CORE")
    runtime.tell(runtime.calls("kernel", "f" * 20))
    runtime.tell(runtime.calls("kernel", "f" * 20))

    assert runtime.rungs() == ["warn"]
    assert runtime.stage("kernel") == "active"
    action = house.one("SELECT id FROM immune_actions")
    assert house.command("immune.confirm", "tara", {"action": action}).code == "POWER_MISSING"
    assert house.do("immune.confirm", "otto", action=action) == {"status": "confirmed by one"}
    again = house.command("immune.confirm", "otto", {"action": action})
    assert again.code == "CONFIRMED_ALREADY"
    assert runtime.stage("kernel") == "active"


def test_the_second_operator_does_what_was_pending(full_house):
    runtime = Runtime(full_house)
    done(
        full_house,
        type="role_change",
        payload={"member": "sam", "role": "operator", "holds": True},
    )
    runtime.register("kernel", trust="CORE")
    runtime.tell(runtime.calls("kernel", "f" * 20))
    action = full_house.one("SELECT id FROM immune_actions")

    full_house.do("immune.confirm", "otto", action=action)
    assert full_house.do("immune.confirm", "sam", action=action) == {"status": "done"}
    assert runtime.stage("kernel") == "quarantined"
    refused = full_house.command("immune.confirm", "otto", {"action": action})
    assert refused.code == "ACTION_DONE"


def test_what_was_contained_meanwhile_is_not_confirmed(runtime):
    house = runtime.house
    runtime.register("kernel", trust="CORE")
    runtime.tell(runtime.calls("kernel", "f" * 20))
    action = house.one("SELECT id FROM immune_actions")
    house.do("immune.hold", "otto", **by_hand("overlay", "kernel"))

    assert house.command("immune.confirm", "otto", {"action": action}).code == "ACTION_LAPSED"
    assert house.one("SELECT first_by FROM immune_actions") is None


def test_slow_calls_are_warned_of_and_then_throttled(runtime):
    runtime.register("scout", max_execution_ms=100)
    runtime.tell(runtime.calls("scout", "s" * 9, execution_ms=100))
    runtime.tell(runtime.calls("scout", "s" * 12, execution_ms=101))
    assert runtime.rungs() == ["warn"]
    assert runtime.leases() == {}

    runtime.time_passes(timedelta(minutes=11))
    runtime.tell(runtime.calls("scout", "s", execution_ms=101))
    assert runtime.rungs() == ["warn", "throttle"]
    assert runtime.leases() == {("overlay", "scout"): "throttled"}


# Addresses


def test_the_tenth_failed_login_blocks_an_hour_and_nobody_else(runtime):
    runtime.tell(runtime.attempts("192.0.2.1", 9))
    assert runtime.responses() == []

    runtime.tell(runtime.attempts("192.0.2.1", 1))
    (block,) = runtime.responses()
    assert block["rung"] == "block"
    lasts = runtime.house.one("SELECT until_at - began_at FROM immune_responses")
    assert lasts == timedelta(seconds=3_600)

    runtime.tell(runtime.attempts("192.0.2.1", 40))
    runtime.tell(runtime.attempts("192.0.2.2", 9))
    assert len(runtime.responses()) == 1
    assert runtime.leases() == {("address", "192.0.2.1"): "blocked"}

    runtime.time_passes(timedelta(seconds=3_601))
    assert runtime.leases() == {}


def test_blocks_double_and_what_came_before_one_counts_no_more(runtime):
    lengths = []
    for _ in range(6):
        now = runtime.house.one("SELECT clock_timestamp()")
        runtime.tell(runtime.attempts("192.0.2.1", 9, at=now))
        assert len(runtime.responses()) == len(lengths)
        runtime.tell(runtime.attempts("192.0.2.1", 1, at=now + SECOND))
        lengths.append(
            runtime.house.one(
                "SELECT extract(epoch FROM until_at - began_at)::int / 3600 FROM immune_responses"
                " ORDER BY began_at DESC LIMIT 1"
            )
        )
        runtime.time_passes(timedelta(hours=lengths[-1], seconds=1))

    assert lengths == [1, 2, 4, 8, 16, 24]


def test_a_burst_across_a_five_minute_edge_is_caught(runtime):
    edge = runtime.start.replace(minute=runtime.start.minute // 5 * 5, second=0, microsecond=0)
    runtime.tell(runtime.attempts("192.0.2.1", 5, at=edge - 100 * SECOND))
    runtime.tell(runtime.attempts("192.0.2.1", 5, at=edge + 100 * SECOND))

    assert runtime.rungs() == ["block"]


def test_a_success_clears_the_failures_before_it(runtime):
    for _ in range(4):
        runtime.tell(runtime.attempts("192.0.2.1", 4))
        runtime.tell([runtime.attempt("192.0.2.1", success=True)])

    assert runtime.responses() == []


def test_failures_spread_over_an_hour_are_none_but_many_members_are(runtime):
    for number in range(10):
        at = runtime.start + number * 130 * SECOND
        runtime.tell([runtime.attempt("192.0.2.1", at=at)])
        runtime.tell([runtime.attempt("192.0.2.2", member=f"m{number}", at=at)])

    assert [one["rule"] for one in runtime.responses()] == ["auth.spraying"]
    assert runtime.leases() == {("address", "192.0.2.2"): "blocked"}


def test_addresses_of_one_network_are_one(runtime):
    for number in range(10):
        runtime.tell([runtime.attempt(f"2001:db8:1:2::{number}")])
    runtime.tell(runtime.attempts("::ffff:192.0.2.1", 5))
    runtime.tell(runtime.attempts("192.0.2.1", 5))

    assert set(runtime.leases()) == {
        ("address", "2001:db8:1:2::/64"),
        ("address", "192.0.2.1"),
    }


def test_no_address_stands_in_the_ledger(runtime):
    runtime.tell(runtime.attempts("192.0.2.77", 10))

    bodies = runtime.house.sql("SELECT convert_from(body, 'UTF8') FROM ledger_entries")
    assert not any("192.0.2.77" in body for (body,) in bodies)


def test_who_is_on_the_allowlist_is_observed(runtime):
    runtime.set("immune.allowlist", {"allowed": [{"network": "192.0.2.0/24"}]})
    runtime.tell(runtime.attempts("192.0.2.77", 10))
    runtime.tell(runtime.attempts("198.51.100.1", 10))

    assert [(one["rung"], one["why"]) for one in runtime.responses()] == [
        ("observe", "the subject is on the allowlist"),
        ("block", "the rule's ladder"),
    ]


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize(("mode", "rungs"), [("off", []), ("observe", ["observe"])])
def test_a_rule_that_does_not_enforce_touches_nobody(scout, mode, rungs, everywhere):
    scout.set("immune.overlay.failures_in_a_row", {"mode": "off"})
    key = "immune.responses" if everywhere else "immune.overlay.failure_rate"
    scout.set(key, {"mode": mode})
    scout.tell(scout.calls("scout", "f" * 30))

    assert scout.rungs() == rungs
    assert scout.stage("scout") == "active"


# Members and hosts


def test_limits_used_up_are_warned_of_and_then_restrict_new_commands(runtime):
    start = runtime.start.replace(second=0, microsecond=0)
    minute = timedelta(minutes=1)
    runtime.tell([runtime.window("stan", 95, at=start + n * minute) for n in (0, 2)])
    assert runtime.responses() == []
    runtime.tell([runtime.window("stan", 80, refused=10, at=start + 4 * minute)])
    assert runtime.rungs() == ["warn"]

    runtime.time_passes(11 * minute)
    runtime.tell([runtime.window("stan", 95, at=start - 6 * minute)])
    assert runtime.rungs() == ["warn", "restrict"]
    assert runtime.leases() == {("member", "stan"): "restricted"}
    refused = runtime.house.command("members.delegate", "stan", {"delegate": "tara"})
    assert refused.code == "MEMBER_RESTRICTED"


def test_a_core_member_is_never_touched_automatically(runtime):
    start = runtime.start.replace(second=0, microsecond=0)
    for hour in range(2):
        for n in range(5):
            at = start + timedelta(minutes=n + 10 * hour)
            runtime.tell([runtime.window("cora", 100, at=at)])
        runtime.time_passes(timedelta(minutes=11))

    assert runtime.rungs() == ["warn", "warn"]
    assert runtime.house.one("SELECT rung FROM immune_actions") == "restrict"
    assert runtime.leases() == {}


def test_hoarding_is_nominated_by_an_estimate_and_counted_exactly(runtime):
    items = [f"i{number}" for number in range(600)]
    event = runtime.event("data.downloaded", {"member": "stan", "items": items[:500]})
    runtime.tell([event])
    assert runtime.responses() == []
    runtime.tell([runtime.event("data.downloaded", {"member": "stan", "items": items[:501]})])

    (warning,) = runtime.responses()
    assert warning["evidence"]["measures"] == {"items": 501, "usual": 0}


def test_a_host_that_runs_out_is_warned_of_once(runtime):
    for memory in (79.9, 80, 81):
        sample = {"host": "h1", "memory": memory, "disk": 10}
        runtime.tell([runtime.event("resource.sampled", sample)])

    assert [one["evidence"]["says"] for one in runtime.responses()] == ["memory is used to 80.0 %"]


# By hand


@pytest.mark.parametrize("kind", ["quarantine", "hold", "release", "block", "unblock"])
def test_people_need_the_role_a_reason_and_a_target_that_there_is(scout, kind):
    house = scout.house
    kind = f"immune.{kind}"
    target = {"target_type": "overlay", "target_id": "scout"}

    assert house.command(kind, "tara", {**target, "reason": "x"}).code == "POWER_MISSING"
    assert house.command(kind, "otto", target).code == "TEXT_INVALID_TYPE"
    unknown = {"target_type": "planet", "target_id": "mars", "reason": "x"}
    assert house.command(kind, "otto", unknown).code == "TARGET_TYPE_UNKNOWN"
    assert scout.responses() == []


def by_hand(target_type: str, target_id: str) -> dict[str, str]:
    return {"target_type": target_type, "target_id": target_id, "reason": "because"}


def test_quarantine_hold_and_release_by_hand(scout):
    house = scout.house
    house.do("immune.quarantine", "otto", **by_hand("overlay", "scout"))
    assert scout.stage("scout") == "quarantined"
    again = house.command("immune.quarantine", "otto", by_hand("overlay", "scout"))
    assert again.code == "CONTAINED_ALREADY"
    house.do("immune.hold", "otto", **by_hand("overlay", "scout"))
    assert scout.stage("scout") == "held"
    house.do("immune.release", "otto", **by_hand("overlay", "scout"))
    assert scout.leases() == {}
    again = house.command("immune.release", "otto", by_hand("overlay", "scout"))
    assert again.code == "NOT_CONTAINED"
    missing = house.command("immune.hold", "otto", by_hand("overlay", "ghost"))
    assert missing.code == "OVERLAY_UNKNOWN"


def test_a_release_clears_what_was_counted(scout):
    now = scout.house.one("SELECT clock_timestamp()")
    scout.tell([scout.call("scout", "f", at=now - SECOND) for _ in range(20)])
    scout.house.do("immune.release", "otto", **by_hand("overlay", "scout"))
    scout.tell([scout.call("scout", "f", at=now + SECOND + n * SECOND / 100) for n in range(9)])

    assert scout.stage("scout") == "active"
    scout.tell([scout.call("scout", "f", at=now + 2 * SECOND)])
    assert scout.stage("scout") == "quarantined"


def test_blocks_by_hand_never_shorten_and_are_lifted(runtime):
    house = runtime.house
    long = house.do("immune.block", "otto", **by_hand("address", "192.0.2.1"), seconds=7_200)
    short = house.do("immune.block", "otto", **by_hand("address", "192.0.2.1"), seconds=60)
    assert short["until"] == long["until"]
    assert runtime.leases() == {("address", "192.0.2.1"): "blocked"}
    house.do("immune.unblock", "otto", **by_hand("address", "192.0.2.1"))
    assert runtime.leases() == {}
    again = house.command("immune.unblock", "otto", by_hand("address", "192.0.2.1"))
    assert again.code == "NOT_BLOCKED"
    wrong = house.command("immune.block", "otto", by_hand("address", "example.org"))
    assert wrong.code == "ADDRESS_INVALID"


def test_one_operator_restricts_a_member_and_neither_level_nor_roll_changes(runtime):
    house = runtime.house
    before = house.sql("SELECT * FROM electorate"), house.sql("SELECT * FROM member_levels")
    house.do("immune.hold", "otto", **by_hand("member", "stan"), seconds=600)
    assert runtime.leases() == {("member", "stan"): "restricted"}
    house.do("immune.release", "otto", **by_hand("member", "stan"))
    assert runtime.leases() == {}
    assert before == (
        house.sql("SELECT * FROM electorate"),
        house.sql("SELECT * FROM member_levels"),
    )


def test_the_kill_switch_leaves_what_is_in_force_and_does_nothing_new(scout):
    house = scout.house
    scout.tell(scout.calls("o1", "f" * 10))
    house.do("immune.halt", "otto", reason="a drill", seconds=600)
    scout.tell(scout.calls("scout", "f" * 10))
    assert (scout.stage("o1"), scout.stage("scout")) == ("quarantined", "active")
    assert scout.responses()[-1]["why"] == "automatic action pauses"

    house.do("immune.halt", "otto", reason="longer", seconds=1_200)
    house.do("immune.resume", "otto", reason="done")
    assert house.command("immune.resume", "otto", {"reason": "x"}).code == "NOT_HALTED"
    scout.tell(scout.calls("scout", "f"))
    assert scout.stage("scout") == "quarantined"


def test_everything_of_it_is_in_the_ledger(scout):
    house = scout.house
    scout.tell(scout.calls("scout", "f" * 10))
    scout.tell(scout.attempts("192.0.2.1", 10))
    house.do("immune.release", "otto", **by_hand("overlay", "scout"))
    house.do("immune.halt", "otto", reason="a drill")
    rows = house.derived_rows()
    house.refold()

    assert house.derived_rows() == rows


def test_what_is_held_for_people_is_asked_of_them(scout):
    house = scout.house
    scout.tell(scout.calls("scout", "f" * 10))
    for _ in range(3):
        scout.time_passes(timedelta(hours=1))
        scout.go_on()
        now = house.one("SELECT clock_timestamp()")
        scout.tell([scout.call("scout", "f", at=now + n * SECOND / 100) for n in range(3)])
        scout.go_on()
    house.sweep()
    house.perform("immune.draft")
    house.sweep()
    house.perform("immune.draft")

    drafts = house.sql("SELECT id, convert_from(payload, 'UTF8')::json FROM proposals ORDER BY id")
    assert sorted(payload["standing"] for _, payload in drafts) == [
        "reinstated",
        "retired",
    ]
    proposal = next(id_ for id_, p in drafts if p["standing"] == "reinstated")
    story = house.one(
        "SELECT body FROM proposals JOIN texts ON commitment = description WHERE id = %s", proposal
    )
    assert "the last 10 calls failed, one after the other." in story
    assert "After that it failed 3 probations." in story

    assert house.command("proposals.activate", "tara", {"proposal_id": proposal}).code
    house.do("proposals.activate", "cora", proposal_id=proposal)
    house.approve(proposal)
    house.close_now()
    house.perform("enforcement.execute")
    assert house.status(proposal) == "executed"
    assert scout.leases() == {}
    scout.go_on()
    assert scout.responses()[0]["ended_by"] == "system"
    now = house.one("SELECT clock_timestamp()")
    scout.tell([scout.call("scout", "f", at=now + SECOND + n * SECOND / 100) for n in range(10)])
    assert scout.stage("scout") == "quarantined"


def test_a_held_overlay_is_retired_by_vote_and_called_no_more(scout):
    house = scout.house
    proposal = house.executed(
        type="overlay_standing", payload={"overlay": "scout", "standing": "retired"}
    )
    assert scout.leases() == {("overlay", "scout"): "retired"}

    undo = house.executed(type="rollback", payload={"proposal": proposal})
    assert house.status(undo) == "executed"
    assert scout.leases() == {}
