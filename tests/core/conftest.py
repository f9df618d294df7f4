"""Houses: empty, founded as a sandbox, founded for production, or shared by a module's refusals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from forge_workers.stack.roles import create_database, drop_database
from tests.conftest import TEMPLATE, TestServers, _servers
from tests.core.factories import House, found_house


@contextmanager
def _house(servers: TestServers, template: str) -> Iterator[House]:
    name = f"house_{uuid.uuid4().hex}"
    create_database(servers.postgres, name, template=template)
    house = House(servers.postgres, name)
    try:
        yield house
    finally:
        house.close()
        drop_database(servers.postgres, name)


@pytest.fixture(scope="session")
def founded_template(pytestconfig: pytest.Config) -> Iterator[str]:
    """A founded sandbox to clone: nobody is connected to it."""
    with _house(_servers(pytestconfig), TEMPLATE) as house:
        found_house(house)
        house.close()
        yield house.name


@pytest.fixture
def empty_house(servers: TestServers) -> Iterator[House]:
    """Migrated, without genesis."""
    with _house(servers, TEMPLATE) as house:
        yield house


@pytest.fixture
def house(servers: TestServers, founded_template: str) -> Iterator[House]:
    """A sandbox with the founders of ``factories.FOUNDERS``."""
    with _house(servers, founded_template) as house:
        yield house


@pytest.fixture
def production(servers: TestServers) -> Iterator[House]:
    """The same founders, outside a sandbox."""
    with _house(servers, TEMPLATE) as house:
        found_house(house, sandbox=False)
        yield house


@pytest.fixture(scope="module")
def shared(pytestconfig: pytest.Config, founded_template: str) -> Iterator[House]:
    """One sandbox for a module's tests that leave nothing behind."""
    with _house(_servers(pytestconfig), founded_template) as house:
        yield house
