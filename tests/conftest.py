"""Servers for the tests: one PostgreSQL and two Valkeys a run, a fresh database a test.

The process that runs pytest starts them, on first use or, under xdist, before the workers start,
and ends them with the run. A test's database is a clone of one that was migrated once.
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from forge_core.database import migrate
from forge_core.settings import VARIABLES, Settings
from forge_workers.stack.postgres import PostgresServer
from forge_workers.stack.roles import create_database, drop_database
from forge_workers.stack.servers import embedded_servers
from tests.support import short_folder

TEMPLATE = "forge_template"


@dataclass(frozen=True)
class TestServers:
    """What a test process has to know of the servers; picklable."""

    __test__ = False

    postgres: PostgresServer
    broker_url: str
    redis_url: str


@dataclass(frozen=True)
class Database:
    """A migrated, empty database of one test, once for each role."""

    name: str
    app_url: str
    client_url: str
    migrate_url: str
    reader_url: str


_SERVERS = pytest.StashKey[TestServers]()
_RUNNING = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    for variable in ("FORGE_HOME", *VARIABLES.values()):
        os.environ.pop(variable, None)  # a developer's own stack is not the tests'
    for variable in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        del os.environ[variable]  # nor is their key
    config.stash[_RUNNING] = ExitStack()
    if pickled := getattr(config, "workerinput", {}).get("forge_servers"):
        config.stash[_SERVERS] = pickle.loads(pickled)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Under xdist: hand each new worker the servers of the run."""
    node.workerinput["forge_servers"] = pickle.dumps(_servers(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_RUNNING].close()


def _servers(config: pytest.Config) -> TestServers:
    if _SERVERS not in config.stash:
        running = config.stash[_RUNNING]
        folder = short_folder()
        running.callback(shutil.rmtree, folder)
        servers = running.enter_context(embedded_servers(folder / "home", durable=False))
        create_database(servers.postgres, TEMPLATE)
        migrate(servers.postgres.url("forge_migrate", TEMPLATE))
        config.stash[_SERVERS] = TestServers(
            servers.postgres, servers.broker.url, servers.counters.url
        )
    return config.stash[_SERVERS]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder of this test, for a FORGE_HOME."""
    folder = short_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def servers(pytestconfig: pytest.Config) -> TestServers:
    """The servers of this run."""
    return _servers(pytestconfig)


@pytest.fixture
def database(servers: TestServers) -> Iterator[Database]:
    """A fresh database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    create_database(servers.postgres, name, template=TEMPLATE)

    def url(role: str) -> str:
        return servers.postgres.url(role, name)

    roles = ("forge_app", "forge_client", "forge_migrate", "forge_reader")
    yield Database(name, *map(url, roles))
    drop_database(servers.postgres, name)


@pytest.fixture
def broker_url(servers: TestServers) -> str:
    """An empty logical database of the broker that no other test process uses."""
    return _emptied(servers.broker_url)


@pytest.fixture
def redis_url(servers: TestServers) -> str:
    """The same on the server of the counters."""
    return _emptied(servers.redis_url)


@pytest.fixture
def settings(database: Database, broker_url: str, redis_url: str, folder: Path) -> Settings:
    """Everything a client, a task or a command needs, all of it empty."""
    return Settings(
        home=folder,
        database_url=database.app_url,
        migrate_database_url=database.migrate_url,
        client_database_url=database.client_url,
        reader_database_url=database.reader_url,
        broker_url=broker_url,
        redis_url=redis_url,
    )


def _emptied(url: str) -> str:
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or "0"
    own = url.removesuffix("/0") + f"/{worker}"
    with redis.Redis.from_url(own) as client:
        client.flushdb()
    return own


def pytest_collection_finish() -> None:
    """What was collected stays: no need to look for garbage in it again and again."""
    gc.collect()
    gc.freeze()
