"""Nothing runs on a ledger that could be rewritten: triggers and grants are looked at first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from forge_core.database import Held, make_engine, transaction
from forge_core.errors import Misconfigured
from forge_core.ledger.guards import _REQUIRED, problems, require_guarded
from forge_core.settings import VARIABLES, Settings
from forge_core.tables import TABLES
from forge_workers import processes
from tests.conftest import Database, TestServers
from tests.core.factories import House

HARM = {
    "trigger off": (
        "ALTER TABLE ledger_entries DISABLE TRIGGER append_only",
        "the trigger append_only of ledger_entries is not enabled always",
    ),
    "trigger not always": (
        "ALTER TABLE ledger_order ENABLE TRIGGER append_only",
        "the trigger append_only of ledger_order is not enabled always",
    ),
    "trigger for replicas": (
        "ALTER TABLE ledger_entries ENABLE REPLICA TRIGGER no_truncate",
        "the trigger no_truncate of ledger_entries is not enabled always",
    ),
    "trigger gone": (
        "DROP TRIGGER await_sealing ON ledger_entries",
        "the trigger await_sealing of ledger_entries is missing",
    ),
    "update granted": (
        "GRANT UPDATE ON ledger_entries TO forge_app",
        "forge_app may UPDATE ledger_entries",
    ),
    "one column granted": (
        "GRANT UPDATE (body) ON ledger_entries TO forge_app",
        "forge_app may UPDATE ledger_entries",
    ),
    "truncate granted": (
        "GRANT TRUNCATE ON ledger_tiles TO forge_app",
        "forge_app may TRUNCATE ledger_tiles",
    ),
    "granted to all": (
        "GRANT DELETE ON ballots TO PUBLIC",
        "forge_app may DELETE ballots",
    ),
    "granted to the client": (
        "GRANT DELETE ON ledger_checkpoints TO forge_client",
        "forge_client may DELETE ledger_checkpoints",
    ),
}


@pytest.fixture
def house(servers: TestServers, database: Database) -> Iterator[House]:
    house = House(servers.postgres, database.name)
    yield house
    house.close()


def test_a_migrated_database_is_guarded(house):
    with transaction(house.app) as session:
        assert problems(session) == []


@pytest.mark.parametrize("harm", HARM)
def test_each_way_to_rewrite_history_is_named(house, harm):
    """INV-45: detection beats prevention, and this is both."""
    statement, said = HARM[harm]
    house.sql(statement)

    with transaction(house.app) as session, pytest.raises(Misconfigured) as caught:
        require_guarded(session)

    assert said in str(caught.value)


def test_the_owner_of_the_ledger_is_no_role_to_run_as(house):
    with transaction(make_engine(house.server.url("forge_migrate", house.name))) as session:
        found = problems(session)

    assert "forge_migrate owns ledger_entries" in found


def test_a_process_gets_no_engine_for_an_unprotected_ledger(house, settings, monkeypatch):
    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, getattr(settings, name))
    monkeypatch.setattr(processes, "_held", [])
    house.sql("ALTER TABLE ledger_entries DISABLE TRIGGER append_only")

    for _ in range(2):
        with pytest.raises(Misconfigured):
            processes.engine()

    house.sql("ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER append_only")
    processes.engine().dispose()


def test_every_table_of_the_ledger_is_looked_at():
    """But for the notes of what waits to be sealed, which come and go."""
    ledger = {table.name for table in TABLES if table.info["held"] is Held.LEDGER}
    assert ledger - {"ledger_unsealed"} <= set(_REQUIRED)


@pytest.mark.processes
def test_a_worker_does_not_start_on_an_unprotected_ledger(house, settings: Settings):
    house.sql("GRANT UPDATE ON ledger_entries TO forge_app")
    named = {variable: getattr(settings, name) for name, variable in VARIABLES.items()}

    done = subprocess.run(
        [sys.executable, "-m", "celery", "--quiet", "--app=forge_workers.app", "worker",
         "--queues=ledger", "--concurrency=1", "--without-gossip", "--without-mingle"],
        env={**os.environ, **named, "FORGE_HOME": str(settings.home), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "forge_app may UPDATE ledger_entries" in done.stdout + done.stderr
