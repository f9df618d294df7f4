"""What a hostile tester once got past the immune system; each of these was wrong."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from tests.core.factories import House
from tests.core.immunity import SECOND, Runtime

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def runtime(house: House) -> Runtime:
    runtime = Runtime(house)
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    return runtime


def by_hand(target_type: str, target_id: str) -> dict[str, str]:
    return {"target_type": target_type, "target_id": target_id, "reason": "because"}


def now(runtime: Runtime):
    return runtime.house.one("SELECT clock_timestamp()")


def failing(runtime: Runtime, overlay: str, count: int, **more):
    start = now(runtime)
    return [runtime.call(overlay, "f", at=start + n * SECOND / 1_000, **more) for n in range(count)]


def set_aside(runtime: Runtime, overlay: str = "scout") -> None:
    runtime.tell(failing(runtime, overlay, 10))
    assert runtime.stage(overlay) == "quarantined"


def retire(runtime: Runtime, overlay: str) -> str:
    return runtime.house.executed(
        type="overlay_standing", payload={"overlay": overlay, "standing": "retired"}
    )


def test_a_refused_halt_does_not_lift_the_one_in_force(runtime):
    house = runtime.house
    house.do("immune.halt", "otto", reason="a drill", seconds=3_600)
    entries = len(house.entries())
    refused = house.command("immune.halt", "otto", {"reason": "a drill", "seconds": 0})

    assert refused.code == "DURATION_OUT_OF_RANGE"
    assert len(house.entries()) == entries
    runtime.tell(failing(runtime, "scout", 10))
    assert runtime.stage("scout") == "active"


def test_a_second_halt_never_shortens_the_first(runtime):
    first = runtime.house.do("immune.halt", "otto", reason="a drill", seconds=3_600)
    second = runtime.house.do("immune.halt", "otto", reason="a drill", seconds=60)

    assert second["until"] == first["until"]


def test_a_confirmation_that_is_refused_leaves_no_trace(runtime):
    house = runtime.house
    runtime.register("kernel", trust="CORE")
    runtime.tell(failing(runtime, "kernel", 10))
    action = house.one("SELECT id FROM immune_actions")
    refused = house.command("immune.confirm", "otto", {"action": action, "reason": ""})

    assert refused.code == "TEXT_BLANK"
    assert house.one("SELECT first_by FROM immune_actions") is None


def test_who_is_retired_stays_out_whatever_it_was_before(runtime):
    house = runtime.house
    set_aside(runtime)
    retire(runtime, "scout")
    runtime.time_passes(HOUR)
    runtime.go_on()

    assert runtime.leases() == {("overlay", "scout"): "retired"}
    refused = house.command("immune.hold", "otto", by_hand("overlay", "scout"))
    assert refused.code == "OVERLAY_RETIRED"


def test_every_subject_has_one_lease(runtime):
    runtime.register("slow", max_execution_ms=100)
    for _ in range(2):
        runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))
        runtime.time_passes(11 * MINUTE)
    runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))
    assert runtime.leases() == {("overlay", "slow"): "throttled"}
    retire(runtime, "slow")

    with runtime.house.client.begin() as connection:
        rows = connection.exec_driver_sql("SELECT kind, subject, verdict FROM forge_leases()").all()
    assert [tuple(row) for row in rows] == [("overlay", "slow", "retired")]


def test_ten_clean_canaries_heal_under_the_strictest_rule(runtime):
    runtime.set("immune.overlay.failure_rate", {"rate": "0.05"})
    set_aside(runtime)
    runtime.time_passes(HOUR)
    runtime.go_on()
    start = now(runtime)
    runtime.record([runtime.call("scout", "s", at=start + n * SECOND / 100) for n in range(9)])
    runtime.go_on()
    assert runtime.stage("scout") == "probation"
    runtime.record([runtime.call("scout", "s", at=start + SECOND)])
    runtime.go_on()

    assert runtime.stage("scout") == "active"


def test_flapping_that_is_only_observed_stops_no_quarantine(runtime):
    runtime.set("immune.overlay.flapping", {"mode": "observe"})
    for _ in range(3):
        set_aside(runtime)
        for _ in range(2):
            runtime.time_passes(11 * MINUTE)
            runtime.go_on()
    set_aside(runtime)


def test_no_id_tells_an_address(runtime):
    runtime.tell(runtime.attempts("192.0.2.77", 10))
    ((id_, since),) = runtime.house.sql("SELECT id, evidence ->> 'since' FROM immune_responses")
    named = f"auth.guessing\naddress\n192.0.2.77\n{since}"
    guesses = [
        named,
        named + "\nblock",
        hashlib.sha256(named.encode()).hexdigest()[:32] + "\nblock",
    ]

    assert id_ not in {"r-" + hashlib.sha256(one.encode()).hexdigest()[:30] for one in guesses}


def test_thousands_of_calls_of_one_moment_blind_nobody(runtime):
    at = runtime.start
    runtime.record([runtime.call("scout", "f" if n < 6 else "s", at=at) for n in range(6_000)])
    runtime.check()
    for number in range(1, 12):
        runtime.record([runtime.call("scout", "f", at=at + number * SECOND)])
        runtime.house.sql(
            "UPDATE runtime_unjudged SET noted_at = noted_at - INTERVAL '2 s' RETURNING 1"
        )
        runtime.house.sweep()
        runtime.check()

    assert runtime.stage("scout") == "quarantined"


def test_who_is_throttled_can_be_quarantined(runtime):
    runtime.tell(runtime.calls("scout", "s" * 12, execution_ms=101, memory=0))
    runtime.register("slow", max_execution_ms=100)
    for _ in range(2):
        runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))
        runtime.time_passes(11 * MINUTE)
    runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))
    runtime.house.sql("DELETE FROM overlays WHERE id IN ('o1', 'o2') RETURNING 1")
    runtime.tell(failing(runtime, "slow", 10))

    assert runtime.stage("slow") == "quarantined"
    assert runtime.incidents() == []


def test_a_busy_address_cannot_guess_without_end(runtime):
    start = now(runtime) - 50 * MINUTE
    for first in range(0, 5_200, 1_300):
        runtime.record(
            [
                runtime.attempt("192.0.2.1", success=True, at=start + (first + n) * SECOND / 10)
                for n in range(1_300)
            ]
        )
    for _ in range(12):
        runtime.tell([runtime.attempt("192.0.2.1", at=now(runtime))])

    assert runtime.leases() == {("address", "192.0.2.1"): "blocked"}


def test_a_release_clears_a_member_too(runtime):
    house = runtime.house
    minute = now(runtime).replace(second=0, microsecond=0)
    runtime.tell([runtime.window("stan", 100, at=minute - n * MINUTE) for n in range(4, 8)])
    runtime.time_passes(11 * MINUTE)
    runtime.tell([runtime.window("stan", 100, at=minute - n * MINUTE) for n in range(1, 5)])
    assert runtime.rungs() == ["warn", "restrict"]
    house.do("immune.release", "otto", **by_hand("member", "stan"))
    runtime.tell([runtime.window("stan", 100, at=minute)])

    assert runtime.leases() == {}


def test_a_release_clears_a_throttled_overlay_too(runtime):
    runtime.register("slow", max_execution_ms=100)
    for _ in range(2):
        runtime.tell(runtime.calls("slow", "s" * 30, execution_ms=101))
        runtime.time_passes(11 * MINUTE)
    runtime.tell(runtime.calls("slow", "s" * 30, execution_ms=101))
    assert runtime.leases() == {("overlay", "slow"): "throttled"}
    runtime.house.do("immune.release", "otto", **by_hand("overlay", "slow"))
    runtime.tell([runtime.call("slow", "s", at=now(runtime), execution_ms=101)])

    assert runtime.leases() == {}


def test_drills_by_hand_are_no_flapping(runtime):
    for _ in range(2):
        runtime.house.do("immune.quarantine", "otto", **by_hand("overlay", "scout"))
        runtime.house.do("immune.release", "otto", **by_hand("overlay", "scout"))
    set_aside(runtime)


def test_a_member_who_was_released_elsewhere_can_be_restricted_again(runtime):
    house = runtime.house
    house.do("immune.hold", "otto", **by_hand("member", "stan"), seconds=30 * 24 * 3_600)
    house.do("members.release", "otto", member_id="stan", reason="nothing there")
    minute = now(runtime).replace(second=0, microsecond=0)
    runtime.tell([runtime.window("stan", 100, at=minute - n * MINUTE) for n in range(4)])
    runtime.time_passes(11 * MINUTE)
    runtime.tell([runtime.window("stan", 100, at=minute - n * MINUTE) for n in range(4)])

    assert runtime.leases() == {("member", "stan"): "restricted"}


def test_failures_of_yesterday_convict_nobody_today(runtime):
    runtime.record([runtime.call("scout", "s", at=now(runtime)) for _ in range(100)])
    old = now(runtime) - 20 * HOUR
    runtime.tell([runtime.call("scout", "f", at=old + n * SECOND) for n in range(12)])

    assert runtime.responses() == []


def test_erasing_an_address_ends_its_block_by_an_entry(runtime):
    house = runtime.house
    runtime.tell(runtime.attempts("192.0.2.1", 10))
    commitment = house.one("SELECT commitment FROM known_addresses")
    house.do("ledger.erase_text", "cora", commitment=commitment, reason="asked for")
    runtime.go_on()

    assert runtime.leases() == {}
    (block,) = runtime.responses("block")
    assert block["ended_by"] == "system"


def test_lifting_a_block_can_be_forgotten(runtime):
    house = runtime.house
    house.do("immune.block", "otto", **by_hand("address", "192.0.2.1"))
    house.do("immune.unblock", "otto", **by_hand("address", "192.0.2.1"))
    commitment = house.one("SELECT commitment FROM known_addresses")
    house.do("ledger.erase_text", "cora", commitment=commitment, reason="asked for")

    found = house.sql("SELECT payload::text FROM jobs WHERE payload::text LIKE '%192.0.2.1%%'")
    assert found == []


def test_names_that_there_are_none_of_fill_no_ledger(runtime):
    runtime.set("immune.usage.rate_abuse", {"mode": "observe"})
    entries = len(runtime.house.entries())
    minute = now(runtime).replace(second=0, microsecond=0)
    for number in range(5):
        runtime.tell([runtime.window(f"x{number}", 100, at=minute - n * MINUTE) for n in range(4)])
    for number in range(110):
        sample = {"host": f"h{number}", "memory": 99, "disk": 1}
        runtime.tell([runtime.event("resource.sampled", sample)])

    assert len(runtime.house.entries()) - entries == 100


def test_a_limit_used_up_at_two_gateways_together_is_seen(runtime):
    minute = now(runtime).replace(second=0, microsecond=0)
    for n in range(4):
        at = minute - n * MINUTE
        runtime.tell([runtime.window("stan", 50, at=at), runtime.window("stan", 45, at=at)])

    assert runtime.rungs() == ["warn"]
    assert runtime.house.one("SELECT max(used) FROM member_minutes") == 95


@pytest.mark.parametrize("said", ["allowed", "off", "core"])
def test_whom_nobody_may_touch_any_more_is_let_go(runtime, said):
    set_aside(runtime)
    runtime.time_passes(HOUR)
    runtime.go_on()
    if said == "allowed":
        runtime.set("immune.allowlist", {"allowed": [{"overlay": "scout"}]})
    elif said == "off":
        runtime.set("immune.overlay.failures_in_a_row", {"mode": "off"})
    else:
        runtime.house.sql("UPDATE overlays SET trust = 'CORE' WHERE id = 'scout' RETURNING 1")
    runtime.tell(failing(runtime, "scout", 3))
    runtime.go_on()

    assert runtime.stage("scout") == "active"


def test_the_kill_switch_stops_what_moves_by_itself(runtime):
    set_aside(runtime)
    runtime.house.do("immune.halt", "otto", reason="a drill")
    runtime.time_passes(2 * MINUTE)
    runtime.go_on()
    assert runtime.stage("scout") == "quarantined"
    runtime.house.sweep()  # nor is there anything to do, again and again
    assert runtime.house.perform("immune.recover").claimed == 0
    runtime.house.do("immune.resume", "otto", reason="done")
    runtime.go_on()
    assert runtime.stage("scout") == "probation"


def test_more_is_asked_of_people_when_it_becomes_worse(runtime):
    runtime.register("kernel", trust="CORE", max_execution_ms=100)
    runtime.tell(runtime.calls("kernel", "s" * 12, execution_ms=101))
    runtime.time_passes(11 * MINUTE)
    runtime.tell([runtime.call("kernel", "s", at=now(runtime), execution_ms=101)])
    runtime.tell(failing(runtime, "kernel", 10))

    found = runtime.house.sql("SELECT rung FROM immune_actions ORDER BY opened_at")
    assert [rung for (rung,) in found] == ["throttle", "quarantine"]


def test_who_is_registered_anew_begins_anew(runtime):
    house = runtime.house
    given = {"overlay": "rover", "name": "Rover", "version": "1.0.0"}
    registered = house.executed("stan", type="overlay_registration", payload=given)
    set_aside(runtime, "rover")
    house.executed(type="rollback", payload={"proposal": registered})
    house.executed("stan", type="overlay_registration", payload=given)
    assert runtime.leases() == {}
    runtime.go_on()
    set_aside(runtime, "rover")


def test_a_reinstatement_is_undone_whatever_happened_since(runtime):
    house = runtime.house
    house.do("immune.hold", "otto", **by_hand("overlay", "scout"))
    proposal = house.executed(
        type="overlay_standing", payload={"overlay": "scout", "standing": "reinstated"}
    )
    set_aside(runtime)
    undo = house.executed(type="rollback", payload={"proposal": proposal})

    assert house.status(undo) == "executed"
    assert runtime.stage("scout") == "held"


def test_who_fails_probation_after_a_quarantine_by_hand_is_asked_about(runtime):
    house = runtime.house
    house.do("immune.quarantine", "otto", **by_hand("overlay", "scout"))
    for _ in range(3):
        runtime.time_passes(HOUR)
        runtime.go_on()
        runtime.tell(failing(runtime, "scout", 3))
        runtime.go_on()
    assert runtime.stage("scout") == "held"
    house.sweep()
    house.perform("immune.draft")

    assert house.one("SELECT count(*) FROM proposals WHERE type = 'overlay_standing'") == 2


def test_an_id_that_is_used_again_convicts_nobody(runtime):
    start = runtime.start
    outcomes = "s" * 20 + "f" * 6 + "s" * 30
    for number, outcome in enumerate(outcomes):
        runtime.tell([runtime.call("scout", outcome, at=start + number * SECOND)])
    assert runtime.stage("scout") == "active"
    old = runtime.house.one("SELECT id FROM runtime_events WHERE NOT success ORDER BY at LIMIT 1")
    again = {"overlay": "scout", "success": False, "fault": "overlay"}
    at = start + 100 * SECOND
    runtime.tell([runtime.event("overlay.invoked", again, at=at, id_=old)])

    assert runtime.stage("scout") == "active"


def test_a_throttled_provider_is_no_other_provider(runtime):
    for name in ("one", "two"):
        runtime.register(name, provides=["search"], max_execution_ms=100)
    runtime.register(*(f"p{number}" for number in range(10)))
    runtime.tell(runtime.calls("one", "s" * 12, execution_ms=101))
    runtime.time_passes(11 * MINUTE)
    runtime.tell([runtime.call("one", "s", at=now(runtime), execution_ms=101)])
    runtime.tell(failing(runtime, "two", 10))

    assert runtime.stage("two") == "active"


def test_a_warning_lasts_before_more_follows(runtime):
    runtime.register("slow", max_execution_ms=100)
    for _ in range(5):
        runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))

    assert runtime.rungs() == ["warn"]


def test_a_host_that_becomes_worse_is_said_again(runtime):
    for memory in (85, 99, 99):
        sample = {"host": "h1", "memory": memory, "disk": 1}
        runtime.tell([runtime.event("resource.sampled", sample)])

    assert [one["evidence"]["severity"] for one in runtime.responses()] == ["warning", "critical"]


def test_a_vote_and_the_immune_system_move_an_overlay_one_after_the_other(runtime):
    """The executing step and the immune system lock it by the same name."""
    from forge_core.actions.targets import Target, named
    from forge_core.database import transaction
    from forge_core.immune.containing import lock_overlay

    with transaction(runtime.house.app) as session:
        lock_overlay(session, "scout")
        names = runtime.house.sql("SELECT name FROM named_locks")
    assert (Target.parse(named("overlay", "scout", "standing")).lock,) not in names
    held = runtime.house.sql("SELECT name FROM named_locks")
    assert (Target.parse(named("overlay", "scout", "standing")).lock,) in held
