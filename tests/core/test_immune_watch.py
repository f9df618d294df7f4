"""What no single event shows, and what is kept of them for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.core.factories import House
from tests.core.immunity import Runtime

MINUTE = timedelta(minutes=1)


@pytest.fixture
def runtime(house: House) -> Runtime:
    return Runtime(house)


def summed(runtime: Runtime, overlay: str, minutes_ago: int, calls: int, failed: int = 0) -> None:
    """Calls of one minute, as their summary tells of them; each took 20 ms."""
    runtime.house.sql(
        "INSERT INTO overlay_minutes VALUES (%s,"
        " date_trunc('minute', clock_timestamp()) - %s, %s, %s, 0, 0, 0, %s) RETURNING 1",
        overlay,
        minutes_ago * MINUTE,
        calls,
        failed,
        20 * calls,
    )


def watched(runtime: Runtime) -> list[tuple[str, str, str]]:
    runtime.house.perform("immune.watch")
    return [(one["rule"], one["subject"], one["rung"]) for one in runtime.responses()]


def test_an_overlay_that_fails_far_more_than_its_peers_is_noted(runtime):
    names = [f"o{number}" for number in range(7)]
    runtime.register(*names)
    for number, name in enumerate(names):
        summed(runtime, name, 3, 100, failed=90 if number == 6 else number)

    assert watched(runtime) == [("overlay.outlier", "o6", "observe")]
    assert watched(runtime) == [("overlay.outlier", "o6", "observe")]
    assert runtime.stage("o6") == "active"


def usual(runtime: Runtime, overlay: str) -> None:
    """Ten calls a minute for an hour, until half an hour ago."""
    for minutes_ago in range(30, 90):
        summed(runtime, overlay, minutes_ago, 10)
    runtime.house.perform("immune.tidy")


@pytest.mark.parametrize("others_are_heard", [True, False])
def test_an_overlay_that_nobody_calls_any_more_is_warned_of(runtime, others_are_heard):
    runtime.register("scout", "other")
    usual(runtime, "scout")
    if others_are_heard:
        summed(runtime, "other", 0, 5)

    found = [("overlay.silence", "scout", "warn")] if others_are_heard else []
    assert watched(runtime) == found


def test_an_overlay_that_was_stopped_is_not_silent(runtime):
    runtime.register("scout", "other")
    usual(runtime, "scout")
    summed(runtime, "other", 0, 5)
    runtime.tell([runtime.event("overlay.stopped", {"overlay": "scout"})])

    assert watched(runtime) == []


def test_crowds_are_noted_and_nobody_is_touched(runtime):
    house = runtime.house
    proposal = house.open()
    members = [f"m{number}" for number in range(25)]
    house.do(
        "members.admit",
        "cora",
        source="tests",
        members=[{"id": one, "level": "SANDBOX"} for one in members],
    )
    proposal = house.open()
    house.vote_many(
        [
            {"command_id": house_id(), "proposal_id": proposal, "member_id": one, "choice": "for"}
            for one in members
        ]
    )
    house.perform("votes.count")
    house.advance(minutes=1)

    found = watched(runtime)
    assert sorted(rule for rule, _, _ in found) == ["votes.burst", "votes.new_accounts"]
    assert {(subject, rung) for _, subject, rung in found} == {(proposal, "observe")}
    assert runtime.leases() == {}


def house_id() -> str:
    from forge_core.ids import uuid7

    return str(uuid7())


def test_what_is_usual_is_worked_out_from_a_day(runtime):
    runtime.register("scout")
    usual(runtime, "scout")

    ((overlay, usual_ms, a_minute),) = runtime.house.sql(
        "SELECT overlay, usual_ms, calls_a_minute FROM overlay_baselines"
    )
    assert (overlay, usual_ms) == ("scout", 20)
    assert 6 < a_minute < 7

    # Three times as long as usual, and a tenth of a second more, is slow.
    runtime.tell(runtime.calls("scout", "s" * 12, execution_ms=120))
    assert runtime.responses() == []
    runtime.tell(runtime.calls("scout", "s" * 13, execution_ms=121))
    assert [one["rule"] for one in runtime.responses()] == ["overlay.slow_calls"]


def test_downloads_are_counted_by_the_hour_and_what_is_usual_raises_the_bound(runtime):
    house = runtime.house
    hour = house.one("SELECT date_trunc('hour', clock_timestamp(), 'UTC')")
    for start in (0, 400):
        items = [f"i{number}" for number in range(start, start + 500)]
        data = {"member": "stan", "items": items}
        runtime.record([runtime.event("data.downloaded", data, at=hour - MINUTE)])
    house.perform("immune.tidy")
    house.perform("immune.tidy")
    assert house.sql("SELECT member, hour, items FROM download_hours") == [
        ("stan", hour - timedelta(hours=1), 900)
    ]


def test_partitions_come_before_they_are_needed_and_go_a_day_later(runtime):
    house = runtime.house
    old = "runtime_events_2020010100"
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {old} PARTITION OF runtime_events"
            " FOR VALUES FROM ('2020-01-01 00:00Z') TO ('2020-01-01 01:00Z')"
        )
        cursor.execute(f"ALTER TABLE {old} OWNER TO forge_owner")
    house.perform("immune.tidy")

    names = [
        name
        for (name,) in house.sql(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'runtime_events'::regclass ORDER BY 1"
        )
    ]
    assert old not in names
    assert len(names) == 27
    latest = house.one(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' + '2 h', 'YYYYMMDDHH24')"
    )
    assert names[-1] == f"runtime_events_{latest}"


def test_summaries_leave_after_eight_days(runtime):
    day = 24 * 60
    for days in (7, 9):
        summed(runtime, "scout", days * day, 1)
    runtime.house.perform("immune.tidy")

    assert runtime.house.one("SELECT count(*) FROM overlay_minutes") == 1


def test_a_database_without_genesis_is_told_and_answers_nothing(empty_house):
    runtime = Runtime(empty_house)
    runtime.tell(runtime.attempts("192.0.2.1", 20))
    runtime.house.perform("immune.watch")

    assert runtime.house.one("SELECT count(*) FROM runtime_events") == 20
    assert runtime.house.one("SELECT count(*) FROM ledger_entries") == 0
