"""A service is given the addresses that it uses, and needs no others."""

from __future__ import annotations

import pytest

from forge_core.errors import Misconfigured, Refused
from forge_core.settings import VARIABLES, Settings
from forge_workers.client import GovernanceClient
from forge_workers.leases import Leases
from forge_workers.runtime_events import RuntimeEvents


@pytest.fixture
def given(monkeypatch, folder, settings):
    """Sets these variables, and no others, in a home without a stack."""

    def give(*names: str) -> None:
        monkeypatch.setenv("FORGE_HOME", str(folder))
        for name in names:
            monkeypatch.setenv(VARIABLES[name], getattr(settings, name))

    return give


def test_a_publisher_needs_the_broker_alone(given):
    given("broker_url")
    with RuntimeEvents("shop") as runtime:
        runtime.overlay_invoked("weather", success=True).result(10)


def test_a_publishers_name_is_looked_at_when_it_is_given(given):
    given("broker_url")
    with pytest.raises(Refused, match="ID_INVALID"):
        RuntimeEvents("my shop")


def test_a_client_needs_its_database_and_the_broker(given):
    given("client_database_url", "broker_url")
    with GovernanceClient(issuer="shop") as client:
        assert client.setting("rate_limit.STANDARD") == 1_000
        with pytest.raises(Misconfigured, match="FORGE_REDIS_URL"):
            client.is_blocked("192.0.2.1")


def test_who_asks_needs_the_counters_too(given):
    given("client_database_url", "broker_url", "redis_url")
    with GovernanceClient(issuer="shop") as client:
        assert client.is_blocked("192.0.2.1") is False
        with pytest.raises(Refused, match="ID_INVALID"):
            client.may_invoke("two words")


def test_what_is_missing_is_named(given):
    given("broker_url")
    with pytest.raises(Misconfigured, match="set FORGE_CLIENT_DATABASE_URL"):
        GovernanceClient(issuer="shop")
    with pytest.raises(Misconfigured, match="FORGE_REDIS_URL"):
        Leases(Settings.load(needed=()))
