"""Workers that race, windows that are lost, votings that go on: what must hold all the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis

from forge_workers.windows import ValkeyWindows
from tests.core.factories import House
from tests.core.immunity import Runtime


@pytest.fixture
def runtime(house: House) -> Runtime:
    return Runtime(house)


def forced(house: House, statement: str) -> None:
    """What no role of the house may do, and a crash or a superuser does."""
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)


def at_once(workers: int, *work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(one) for one in work]:
            future.result()


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_workers_that_race_give_one_response(runtime, workers):
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    flushes = [runtime.calls("scout", "f" * 10) for _ in range(12)]

    def worker(events):
        return lambda: (runtime.record(events), runtime.check(), runtime.check())

    at_once(workers, *(worker(events) for events in flushes))
    runtime.house.sweep()
    runtime.check()

    assert runtime.rungs() == ["quarantine"]
    assert runtime.house.one("SELECT count(*) FROM runtime_unjudged") == 0


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_no_interleaving_contains_more_than_a_fifth(runtime, workers):
    overlays = [f"o{number}" for number in range(10)]
    runtime.register(*overlays)
    flushes = [[runtime.call(o, "f") for o in overlays for _ in range(10)] for _ in range(3)]
    runtime.record(flushes[0])
    by_hand = {"target_type": "overlay", "reason": "x"}
    release = {**by_hand, "target_id": "o1"}

    at_once(
        workers,
        *([runtime.check] * 4),
        lambda: runtime.record(flushes[1]),
        lambda: runtime.house.command("immune.release", "otto", release),
        *([runtime.check] * 4),
        lambda: runtime.record(flushes[2]),
        *([runtime.go_on] * 2),
        *([runtime.check] * 4),
    )

    contained = [overlay for overlay in overlays if runtime.stage(overlay) != "active"]
    assert 1 <= len(contained) <= 2
    assert runtime.incidents() == ["systemic"]


def test_lost_windows_change_no_verdict(runtime, redis_url):
    """The same events, told with rows alone and with a Valkey that forgets now and then."""
    client = redis.Redis.from_url(redis_url)
    runtime.register(*(f"o{number}" for number in range(60)))

    def flushes(overlay: str, address: str):
        calls = runtime.calls(overlay, "ssfffsff" + "fsff" + "ssff")
        attempts = [runtime.attempt(address, success=n == 7) for n in range(22)]
        for first in range(0, 22, 3):
            yield [*calls[first : first + 3], *attempts[first : first + 3]]

    def verdicts(prefix: str) -> set[tuple[str, str]]:
        return {
            (one["rule"], one["evidence"]["says"])
            for one in runtime.responses()
            if one["subject"] == prefix or one["subject_kind"] == "address"
        }

    for events in flushes("o1", "192.0.2.1"):
        runtime.tell(events)
    expected = verdicts("o1")
    assert len(expected) == 3

    for lost in range(8):
        forced(runtime.house, "DELETE FROM immune_responses")
        runtime.windows = ValkeyWindows(redis_url)
        for number, events in enumerate(flushes(f"o{lost + 2}", f"198.51.100.{lost}")):
            if number >= lost:
                client.flushdb()
            runtime.tell(events)
        assert verdicts(f"o{lost + 2}") == expected
    client.close()


def test_no_immune_action_touches_a_ballot_or_the_quorum(runtime):
    house = runtime.house
    runtime.register("kernel", trust="CORE")
    runtime.register(*(f"o{number}" for number in range(5)))
    proposal = house.open()
    for member, choice in (("cora", "for"), ("tara", "for"), ("stan", "against"), ("sam", "for")):
        assert house.vote(proposal, member, choice).code is None
    house.perform("votes.count")

    def base():
        return [
            house.sql(f"SELECT * FROM {table} ORDER BY 1, 2")
            for table in ("ballots", "effective_ballots", "tallies", "member_levels", "electorate")
        ] + [house.image(proposal)]

    before = base()
    for kind in ("quarantine", "hold", "release"):
        for target in ("o1", "kernel"):
            payload = {"target_type": "overlay", "target_id": target, "reason": "x"}
            house.command(f"immune.{kind}", "otto", payload)
    for member in ("stan", "sam", "tara"):
        hold = {"target_type": "member", "target_id": member, "reason": "x", "seconds": 900}
        house.do("immune.hold", "otto", **hold)
    house.do("immune.block", "otto", target_type="address", target_id="192.0.2.1", reason="x")
    runtime.tell(runtime.attempts("192.0.2.2", 30))
    runtime.tell(
        [call for o in ("o0", "o1", "o2", "o3", "kernel") for call in runtime.calls(o, "f" * 10)]
    )
    start = runtime.start.replace(second=0, microsecond=0)
    minute = timedelta(minutes=1)
    runtime.tell([runtime.window("sam", 100, at=start + n * minute) for n in range(5)])
    runtime.time_passes(11 * minute)
    runtime.tell([runtime.window("sam", 100, at=start - n * minute) for n in range(5)])
    house.do("immune.halt", "otto", reason="x")
    assert base() == before

    # Restricted members' ballots count, and they may not vote again: as the rules of voting say.
    house.close_now()
    assert house.status(proposal) == "queued"


def test_a_check_whose_worker_was_lost_is_found_again(runtime):
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    runtime.record(runtime.calls("scout", "f" * 10))
    forced(runtime.house, "DELETE FROM jobs")
    forced(runtime.house, "UPDATE runtime_unjudged SET noted_at = noted_at - INTERVAL '2 s'")
    runtime.house.sweep()
    runtime.check()

    assert runtime.stage("scout") == "quarantined"


def test_a_check_that_fails_leaves_what_it_took(runtime):
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    runtime.record(runtime.calls("scout", "f" * 10))
    forced(runtime.house, "REVOKE INSERT ON immune_responses FROM forge_app")
    runtime.check()
    assert runtime.house.one("SELECT count(*) FROM runtime_unjudged") == 1
    forced(runtime.house, "GRANT INSERT ON immune_responses TO forge_app")
    forced(runtime.house, "UPDATE jobs SET not_before = clock_timestamp()")
    runtime.check()

    assert runtime.stage("scout") == "quarantined"
