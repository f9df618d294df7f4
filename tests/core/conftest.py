"""Houses: empty, founded as a sandbox or for production, shared by a module's refusals."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from forge_core.members.genesis import Founder
from forge_workers.stack.roles import create_database, drop_database
from tests.conftest import TEMPLATE, TestServers, _servers
from tests.core.factories import FOUNDERS, FULL_FOUNDERS, House, found_house
from tests.core.histories import at_home, live_through


@contextmanager
def _house(
    servers: TestServers, template: str, founders: Sequence[Founder] = FOUNDERS
) -> Iterator[House]:
    name = f"house_{uuid.uuid4().hex}"
    create_database(servers.postgres, name, template=template)
    house = House(servers.postgres, name, founders=founders)
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


@pytest.fixture(scope="session")
def full_template(pytestconfig: pytest.Config) -> Iterator[str]:
    """The same with founders for every track."""
    with _house(_servers(pytestconfig), TEMPLATE, FULL_FOUNDERS) as house:
        found_house(house)
        house.close()
        yield house.name


LIVED = "forge_lived"


def lived_template(servers: TestServers) -> str:
    """A house in which everything has happened, to clone: made once a run, by whoever is first."""
    draft = f"{LIVED}_draft"
    with servers.postgres.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [LIVED])
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [LIVED])
        if cursor.rowcount == 0:
            drop_database(servers.postgres, draft)
            create_database(servers.postgres, draft, template=TEMPLATE)
            house = House(servers.postgres, draft, founders=FULL_FOUNDERS)
            found_house(house)
            live_through(house)
            house.close()
            cursor.execute(f"ALTER DATABASE {draft} RENAME TO {LIVED}")
    return LIVED


@contextmanager
def _lived_house(servers: TestServers) -> Iterator[House]:
    with _house(servers, lived_template(servers), FULL_FOUNDERS) as house:
        at_home(house)
        yield house


@pytest.fixture
def lived_house(servers: TestServers) -> Iterator[House]:
    """A house in which everything has happened."""
    with _lived_house(servers) as house:
        yield house


@pytest.fixture(scope="module")
def lived_shared(pytestconfig: pytest.Config) -> Iterator[House]:
    """One for a module."""
    with _lived_house(_servers(pytestconfig)) as house:
        yield house


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
def full_house(servers: TestServers, full_template: str) -> Iterator[House]:
    """A sandbox with the founders of ``factories.FULL_FOUNDERS``: every track is open."""
    with _house(servers, full_template, FULL_FOUNDERS) as house:
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


@pytest.fixture(scope="module")
def full_shared(pytestconfig: pytest.Config, full_template: str) -> Iterator[House]:
    """The same with founders for every track."""
    with _house(_servers(pytestconfig), full_template, FULL_FOUNDERS) as house:
        yield house


# One case of these is a whole way from proposal to effect: `make test` takes every fifth of a
# function that has many, `make long` takes all.
MATRICES = ("test_effects", "test_undoing", "test_emergencies", "test_simulation", "test_execution")
MANY = 12


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out most cases of the large matrices, unless all are asked for."""
    if os.environ.get("FORGE_LONG"):
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.stem in MATRICES:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = [
        item
        for of_one in cases.values()
        if len(of_one) >= MANY
        for number, item in enumerate(of_one)
        if number % 5
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
