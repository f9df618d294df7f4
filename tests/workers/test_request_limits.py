"""Request limits on a real Valkey, and where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pytest
import redis

from forge_core.immune.intake.events import RequestWindow as EventData
from forge_workers.request_limits import PREFIX, RequestLimits, RequestWindow

NOWHERE = "redis://:nobody@127.0.0.1:1/0"


@pytest.fixture
def valkey(redis_url) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as valkey:
        yield valkey


@pytest.fixture(params=["shared", "away"])
def limits(request, redis_url) -> Iterator[RequestLimits]:
    limits = RequestLimits(NOWHERE if request.param == "away" else redis_url)
    yield limits
    limits.close()


def pass_a_minute(limits: RequestLimits, valkey: redis.Redis) -> None:
    """As if every minute so far had been the one before."""
    for key in sorted(valkey.keys(f"{PREFIX}:[0-9]*")):
        minute = int(key.rpartition(":")[2])
        valkey.rename(key, f"{PREFIX}:{minute - 1}")
    with limits._lock:
        limits._noted = {
            (minute - 1, member): window for (minute, member), window in limits._noted.items()
        }


def summed(windows: Sequence[RequestWindow], member: str) -> tuple[int, int, int]:
    """Limit, used and refused: a test may run across the edge of a minute."""
    own = [window for window in windows if window.member == member]
    return own[0].limit, sum(one.used for one in own), sum(one.refused for one in own)


def test_as_many_requests_as_are_allowed_are_admitted(limits) -> None:
    assert [limits.hit("mia", 3) for _ in range(5)] == [True] * 3 + [False] * 2
    assert limits.hit("max", 3)


def test_gateways_share_one_count(redis_url) -> None:
    gateways = [RequestLimits(redis_url) for _ in range(2)]
    assert sum(gateway.hit("mia", 10) for _ in range(10) for gateway in gateways) == 10
    for gateway in gateways:
        gateway.close()


def test_a_minute_that_is_over_tells_what_was_used_and_refused_and_is_told_once(
    limits, valkey
) -> None:
    began = time.time()
    for _ in range(7):
        limits.hit("mia", 5)
    limits.hit("m|ax", 9)
    if int(began) // 60 == int(time.time()) // 60:
        assert limits.finished_windows() == []
    pass_a_minute(limits, valkey)
    found = limits.finished_windows()
    assert limits.finished_windows() == []
    assert summed(found, "mia") == (5, 5, 2)
    assert summed(found, "m|ax") == (9, 1, 0)
    for window in found:
        assert window.minute.second == 0
        assert window.minute.timestamp() < began
        data = {name: value for name, value in asdict(window).items() if name != "minute"}
        assert EventData.model_validate(data)


def test_what_valkey_did_not_hear_of_is_told_with_what_it_did(redis_url, valkey) -> None:
    limits = RequestLimits(redis_url)
    limits.hit("mia", 5)
    limits._note("mia", 5, admitted=False)
    pass_a_minute(limits, valkey)
    assert summed(limits.finished_windows(), "mia") == (5, 1, 1)
    limits.close()


def test_minutes_nobody_asks_for_are_forgotten(limits, valkey) -> None:
    for _ in range(12):
        limits.hit("mia", 5)
        pass_a_minute(limits, valkey)
    assert len(limits.finished_windows()) <= 11
    assert all(0 < valkey.ttl(key) <= 660 for key in valkey.keys(f"{PREFIX}:[0-9]*"))
