"""A database with a history, brought to the newest schema: nothing of it is lost or doubted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from forge_core.database import migrate, transaction
from forge_core.ledger.discrepancy import Discrepancy
from forge_workers.stack.roles import create_database, drop_database
from tests.conftest import TestServers
from tests.core.factories import House

GOLDEN = Path(__file__).parent / "golden"


# The first one had the application hash what it appended.
APPEND = {
    "0001": "INSERT INTO ledger_entries (kind, subject, body, leaf_hash) SELECT %s, %s, b,"
    " sha256('\\x00'::bytea || b) FROM (SELECT convert_to(%s, 'UTF8')) AS given (b)",
    **dict.fromkeys(
        ("0002", "0003"),
        "INSERT INTO ledger_entries (kind, subject, body) VALUES (%s, %s, convert_to(%s, 'UTF8'))",
    ),
}


@pytest.fixture(params=APPEND)
def schema(request: pytest.FixtureRequest) -> str:
    """An old schema."""
    return str(request.param)


@pytest.fixture
def old_house(servers: TestServers, schema: str) -> Iterator[House]:
    """An old schema with the golden ledger of its time: entries, and the rows they made."""
    name = f"old_{uuid.uuid4().hex}"
    create_database(servers.postgres, name)
    migrate(servers.postgres.url("forge_migrate", name), schema)
    house = House(servers.postgres, name)
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for body in _lines(f"{schema}.entries.jsonl"):
            document = json.loads(body)
            given = (document["kind"], document["subject"], body)
            cursor.execute(APPEND[schema], given)
        for line in _lines(f"{schema}.rows.jsonl"):
            table, _, row = line.removeprefix('{"table": "').partition('", "row": ')
            cursor.execute(
                f"INSERT INTO {table} SELECT * FROM json_populate_record(null::{table}, %s)",
                (row.removesuffix("}"),),
            )
        if schema >= "0003":  # a file of rows does not tell the null of JSON from that of SQL
            cursor.execute(
                "UPDATE effects SET before = coalesce(before, 'null'),"
                " after = coalesce(after, 'null') WHERE type IS NOT NULL"
            )
        cursor.execute(
            "INSERT INTO commands (issuer, command_id, content_hash, accepted_at, ballot_id, state)"
            " SELECT issuer, command_id, sha256(''), accepted_at, ballot_id, 'accepted'"
            " FROM ballots"
        )
    yield house
    house.close()
    drop_database(servers.postgres, name)


def _lines(name: str) -> list[str]:
    return (GOLDEN / name).read_text(encoding="utf-8").split("\n")[:-1]


def test_an_old_ledger_is_sealed_and_every_row_is_what_its_entries_say(old_house, schema):
    """INV-44; the golden files hold no texts, so these alone are missing."""
    migrate(old_house.server.url("forge_migrate", old_house.name))
    old_house.seal()

    found = {one.where for one in old_house.verify() if isinstance(one, Discrepancy)}

    assert found == {"texts"}
    assert old_house.one("SELECT count(*) FROM ledger_order") == len(
        _lines(f"{schema}.entries.jsonl")
    )


@pytest.mark.parametrize("schema", ["0001"], indirect=True)
def test_nobody_promises_the_entry_of_a_ballot_that_was_counted_before(old_house: House):
    """Its entry is of an older kind, whose leaf nobody could know."""
    migrate(old_house.server.url("forge_migrate", old_house.name))
    ids = [str(id_) for (id_,) in old_house.sql("SELECT command_id FROM ballots")]

    with transaction(old_house.client) as session:
        promised = session.execute(
            text("SELECT * FROM forge_own_ballots('tests', CAST(:ids AS uuid[]))"), {"ids": ids}
        ).all()

    assert ids
    assert promised == []
