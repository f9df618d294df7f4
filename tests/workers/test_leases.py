"""The mirror of the leases and the questions, while Valkey, the database or both are there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import redis
from sqlalchemy import Engine

from forge_core.database import make_engine, transaction
from forge_core.errors import Refused, Unavailable
from forge_core.jobs.record import wake, woken
from forge_core.settings import VARIABLES, Settings
from forge_workers import processes
from forge_workers.app import app
from forge_workers.client import GovernanceClient
from forge_workers.leases import MIRROR, Leases, Mirror
from forge_workers.queues import QUEUE_OF
from forge_workers.waker import Waker
from tests.support import until
from tests.workers.lease_rows import LeaseRows, lease_rows
from tests.workers.own_valkey import own_valkey

NOWHERE = "redis://:nobody@127.0.0.1:1/0"
ADDRESSES = ("192.0.2.7", "2001:db8:1:2::/64")


@pytest.fixture
def rows(servers, database) -> Iterator[LeaseRows]:
    with lease_rows(servers.postgres, database.name) as rows:
        yield rows


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    mirror = Mirror(settings.redis_url)
    yield mirror
    mirror.close()


@pytest.fixture
def valkey(redis_url) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as valkey:
        yield valkey


@contextmanager
def asking(settings: Settings, **changes: str) -> Iterator[Leases]:
    leases = Leases(replace(settings, **changes))
    try:
        yield leases
    finally:
        leases.close()


@pytest.fixture(params=["mirror", "emptied", "away"])
def leases(request, settings, engine, mirror, rows, valkey) -> Iterator[Leases]:
    """Asked in a world of some leases: from the mirror, or where there is none."""
    for address in ADDRESSES:
        rows.block(address)
    rows.contain("o-quarantined", "quarantined")
    rows.contain("o-held", "held")
    rows.contain("o-probation", "probation")
    rows.throttle("o-throttled")
    rows.restrict("mallory")
    mirror.sync(engine)
    if request.param == "emptied":
        valkey.flushdb()
    away = {"redis_url": NOWHERE} if request.param == "away" else {}
    with asking(settings, **away) as leases:
        yield leases


def test_an_address_is_blocked_under_each_of_its_names(leases) -> None:
    blocked = ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1:2::1", "2001:DB8:1:2:ffff::9")
    assert [leases.is_blocked(address) for address in blocked] == [True] * 4
    assert not leases.is_blocked("192.0.2.8")
    assert not leases.is_blocked("2001:db8:1:3::1")


def test_what_is_no_address_is_refused(leases) -> None:
    with pytest.raises(Refused) as refusal:
        leases.is_blocked("localhost")
    assert refusal.value.code == "ADDRESS_INVALID"


def test_a_restricted_member_may_not_act(leases) -> None:
    assert not leases.may_act("mallory")
    assert leases.may_act("alice")


def test_the_reason_says_which_verdict_and_until_when(leases, rows) -> None:
    ((ends,),) = rows.sql("SELECT until FROM restrictions")
    restricted = leases.lease_of_member("mallory")
    assert (restricted.verdict, restricted.subject) == ("restricted", "mallory")
    assert 0 <= (restricted.until - ends).total_seconds() < 0.002
    assert leases.lease_of_address("192.0.2.7").verdict == "blocked"
    quarantined = leases.lease_of_overlay("o-quarantined")
    assert (quarantined.verdict, quarantined.until) == ("quarantined", None)
    assert leases.lease_of_overlay("o-free") is None


def test_what_is_set_aside_is_not_invoked_and_what_is_free_always(leases) -> None:
    assert not any(leases.may_invoke(one) for one in ("o-quarantined", "o-held") for _ in range(20))
    assert all(leases.may_invoke("o-free") for _ in range(20))


def test_one_call_in_ten_of_a_throttled_overlay_goes_ahead(leases) -> None:
    assert sum(leases.may_invoke("o-throttled") for _ in range(100)) == 10


def test_ten_calls_go_ahead_in_a_probation_and_one_more_for_each_that_was_returned(leases) -> None:
    for _ in range(5):
        leases.lease_of_overlay("o-probation")  # asking why takes no permit
    assert sum(leases.may_invoke("o-probation") for _ in range(10)) == 10
    leases.return_canary("o-probation")
    assert leases.may_invoke("o-probation")
    leases.return_canary("o-free")
    assert leases.may_invoke("o-free")


def test_threads_never_get_more_canaries_than_there_are(leases) -> None:
    with ThreadPoolExecutor(8) as pool:
        permitted = pool.map(lambda _: leases.may_invoke("o-probation"), range(200))
        assert sum(permitted) == 10


def test_the_next_probation_has_canaries_of_its_own(settings, engine, mirror, rows) -> None:
    with asking(settings) as leases:
        for _ in range(2):
            rows.contain("o", "probation")
            mirror.sync(engine)
            assert sum(leases.may_invoke("o") for _ in range(30)) == 10


def test_a_change_is_seen_after_the_next_sync(settings, engine, mirror, rows) -> None:
    with asking(settings) as leases:
        mirror.sync(engine)
        assert not leases.is_blocked("192.0.2.7")
        rows.block("192.0.2.7")
        mirror.sync(engine)
        assert leases.is_blocked("192.0.2.7")
        rows.unblock_all()
        mirror.sync(engine)
        assert not leases.is_blocked("192.0.2.7")


@pytest.mark.parametrize("changes", [{}, {"redis_url": NOWHERE}], ids=["mirror", "away"])
def test_a_lease_ends_by_the_databases_clock_and_never_earlier(
    settings, engine, mirror, rows, changes
) -> None:
    ends = rows.block("192.0.2.7", seconds=1)
    mirror.sync(engine)
    with asking(settings, **changes) as leases:
        assert leases.is_blocked("192.0.2.7")
        until(lambda: not leases.is_blocked("192.0.2.7"))
        ((now,),) = rows.sql("SELECT clock_timestamp()")
    assert now >= ends


def test_the_mirror_has_no_end_and_leaves_nothing_beside_it(engine, mirror, rows, valkey) -> None:
    for n in range(1_200):
        rows.block(f"10.0.{n // 250}.{n % 250}")
    for _ in range(2):
        mirror.sync(engine)
    assert valkey.hlen(MIRROR) == 1_201
    assert valkey.ttl(MIRROR) == -1
    assert valkey.keys() == [MIRROR]


def test_who_looked_later_is_not_overwritten_by_who_looked_earlier(
    engine, mirror, rows, valkey
) -> None:
    rows.block("192.0.2.7")
    mirror.sync(engine)
    number, rest = valkey.hget(MIRROR, "synced").split("|", 1)
    later = f"{int(number) + 10}|{rest}"
    valkey.hset(MIRROR, "synced", later)
    rows.unblock_all()
    mirror.sync(engine)
    assert valkey.hget(MIRROR, "synced") == later
    assert valkey.hexists(MIRROR, "address|192.0.2.7")
    assert valkey.keys() == [MIRROR]


def test_many_at_once_end_with_what_the_database_says(settings, engine, rows, valkey) -> None:
    mirrors = [Mirror(settings.redis_url) for _ in range(4)]
    for n in range(10):
        rows.block(f"10.0.0.{n}")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: one.sync(engine), mirrors))
        assert valkey.hlen(MIRROR) == n + 2
    for one in mirrors:
        one.close()


def test_a_mirror_that_nobody_renews_is_not_believed(
    settings, engine, mirror, rows, valkey
) -> None:
    mirror.sync(engine)
    rows.block("192.0.2.7")
    number, at, *rest = valkey.hget(MIRROR, "synced").split("|")
    valkey.hset(MIRROR, "synced", "|".join((number, str(int(at) - 31_000), *rest)))
    with asking(settings) as leases:
        assert leases.is_blocked("192.0.2.7")


def test_a_copy_is_renewed_while_valkey_is_away(settings, rows) -> None:
    with asking(settings, redis_url=NOWHERE) as leases:
        assert not leases.is_blocked("192.0.2.7")
        rows.block("192.0.2.7")
        until(lambda: leases.is_blocked("192.0.2.7"))


def test_a_server_that_restarts_empty_frees_nobody(settings, engine, rows) -> None:
    rows.block("192.0.2.7")
    with own_valkey() as own, asking(settings, redis_url=own.url) as leases:
        mirror = Mirror(own.url)
        for between in (own.restart, own.stop, own.start):
            with suppress(Unavailable):
                mirror.sync(engine)
            for _ in range(20):
                assert leases.is_blocked("192.0.2.7")
                assert not leases.is_blocked("192.0.2.8")
            between()
        assert leases.is_blocked("192.0.2.7")
        mirror.close()


def test_what_was_blocked_stays_blocked_without_any_server(
    settings, servers, database, rows
) -> None:
    rows.block("192.0.2.7")
    ends = rows.block("192.0.2.8", seconds=2)
    with asking(settings, redis_url=NOWHERE) as leases:
        assert leases.is_blocked("192.0.2.8")
        with servers.postgres.superuser("postgres") as connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND usename = 'forge_client'",
                (database.name,),
            )
            until(lambda: not leases.is_blocked("192.0.2.8"))
            ((now,),) = rows.sql("SELECT clock_timestamp()")
            assert now >= ends
            assert leases.is_blocked("192.0.2.7")


def test_without_any_answer_ever_it_is_unavailable(settings) -> None:
    gone = "postgresql+psycopg2://forge_client:x@127.0.0.1:1/forge"
    with (
        asking(settings, redis_url=NOWHERE, client_database_url=gone) as leases,
        pytest.raises(Unavailable, match="neither Valkey nor the database"),
    ):
        leases.is_blocked("192.0.2.7")


def test_the_client_asks_and_lets_go(settings, engine, mirror, rows) -> None:
    rows.block("192.0.2.7")
    rows.contain("o", "probation")
    mirror.sync(engine)
    with GovernanceClient(issuer="gateway", settings=settings) as client:
        assert client.is_blocked("192.0.2.7")
        assert sum(client.may_invoke("o") for _ in range(11)) == 10
        client.return_canary("o")
        assert client.may_invoke("o")
        assert client.may_act("alice")


def test_the_mirror_is_a_task_that_may_be_woken_and_survives_valkeys_absence(
    settings, engine, rows, valkey, monkeypatch
) -> None:
    from forge_workers import tasks

    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, getattr(settings, name))
    # The app has looked up its broker once for all, whoever asked first in this process.
    waker = Waker(app, broker_url=settings.broker_url)
    rows.block("192.0.2.7")
    with transaction(engine) as session:
        wake(session, "immune.mirror")
        assert woken(session) <= set(QUEUE_OF)
    try:
        app.tasks["immune.mirror"]()
        assert valkey.hexists(MIRROR, "address|192.0.2.7")
        monkeypatch.setenv(VARIABLES["redis_url"], NOWHERE)
        app.tasks["immune.mirror"]()
        waker.wake(["immune.mirror"])
    finally:
        waker.close()
        tasks._waker.close()
        for held in processes._held:
            held.engine.dispose()
        processes._held.clear()
    with redis.Redis.from_url(settings.broker_url) as broker:
        assert broker.llen("immune") == 1
