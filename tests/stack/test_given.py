"""Servers of somebody else: one clear sentence when they cannot be used, without a password."""

from __future__ import annotations

import pytest

from forge_core.errors import Misconfigured, Unavailable
from forge_workers.stack import external
from forge_workers.stack.external import Given
from forge_workers.stack.servers import embedded_servers


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (
            Given(database_url="postgresql://u:hidden@127.0.0.1:1/forge"),
            "FORGE_DATABASE_URL: PostgreSQL cannot be used: .*refused",
        ),
        (
            Given(broker_url="redis://:hidden@127.0.0.1:1/0"),
            "FORGE_BROKER_URL: Valkey or Redis cannot be used: .*refused",
        ),
        (
            Given(broker_url="amqp://u:hidden@127.0.0.1:1//"),
            "FORGE_BROKER_URL: the broker cannot be used: .*refused",
        ),
        (
            Given(redis_url="redis://:hidden@127.0.0.1:1/0"),
            "FORGE_REDIS_URL: Valkey or Redis cannot be used: .*refused",
        ),
    ],
)
def test_a_server_out_of_reach_is_named(given, names):
    with pytest.raises(Unavailable, match=names) as refusal:
        given.check()
    assert "hidden" not in str(refusal.value)


def test_an_address_that_is_none_is_named():
    with pytest.raises(Misconfigured, match="FORGE_REDIS_URL must be redis://"):
        Given(redis_url="localhost:6379").check()


def test_a_narrower_role_without_the_database_is_refused(monkeypatch):
    monkeypatch.setenv("FORGE_CLIENT_DATABASE_URL", "postgresql://x/y")
    with pytest.raises(Misconfigured, match="set without FORGE_DATABASE_URL"):
        Given.from_environment()


def test_a_wrong_password_is_told_as_such(servers):
    url = servers.broker_url.replace(servers.broker_url.split("@")[0], "redis://:wrong")
    with pytest.raises(Unavailable, match=r"FORGE_BROKER_URL: .*(invalid|WRONGPASS)"):
        Given(broker_url=url).check()


def test_a_server_too_old_is_refused(database, servers, monkeypatch):
    monkeypatch.setattr(external, "OLDEST_POSTGRES", 99)
    with pytest.raises(Unavailable, match=r"PostgreSQL 18 is too old; it must be 99 or newer"):
        Given(database_url=database.app_url).check()
    monkeypatch.setattr(external, "OLDEST_VALKEY", 99)
    with pytest.raises(Unavailable, match=r"is too old; it must be 99 or newer"):
        Given(redis_url=servers.redis_url).check()


def test_given_servers_replace_the_embedded_ones_one_by_one(database, servers, folder):
    given = Given(database_url=database.app_url, redis_url=servers.redis_url)
    with embedded_servers(folder / "home", given=given) as running:
        assert list(running.embedded) == ["broker"]
        settings = running.settings()
    assert settings.database_url == settings.client_database_url == database.app_url
    assert settings.redis_url == servers.redis_url
    assert settings.broker_url == running.broker.url
