"""Leases as rows, past the steps that make them: for tests of what is asked about them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case

from forge_workers.stack.postgres import PostgresServer

_RESPONSE = """
    INSERT INTO immune_responses
        (id, subject_kind, subject, rung, reason, imposed_by, began_at, until_at)
    VALUES (%s, %s, %s, %s, 'a test', 'system', clock_timestamp(),
        clock_timestamp() + make_interval(secs => %s))
    RETURNING until_at
"""


class LeaseRows:
    """Written by the superuser, without the rows that they would refer to."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.cursor()
        self._cursor.execute("SET session_replication_role = replica")

    def sql(self, statement: str, *parameters: object) -> list[tuple]:
        self._cursor.execute(statement, parameters or None)
        return self._cursor.fetchall() if self._cursor.description else []

    def block(self, address: str, seconds: float = 3600) -> datetime:
        id_ = uuid.uuid4().hex
        self.sql("INSERT INTO known_addresses VALUES (%s, %s)", address, id_)
        ((until,),) = self.sql(_RESPONSE, id_, "address", id_, "block", seconds)
        return until

    def unblock_all(self) -> None:
        self.sql("UPDATE immune_responses SET ended_at = clock_timestamp(), ended_by = 'otto'")

    def throttle(self, overlay: str, seconds: float = 3600) -> None:
        self.sql(_RESPONSE, uuid.uuid4().hex, "overlay", overlay, "throttle", seconds)

    def contain(self, overlay: str, stage: str) -> None:
        self.sql(
            "INSERT INTO containments VALUES (%s, %s, clock_timestamp(),"
            " CASE WHEN %s = 'quarantined' THEN clock_timestamp() + INTERVAL '1 minute' END,"
            " 0, 0, 'r') ON CONFLICT (overlay) DO UPDATE"
            " SET stage = excluded.stage, since = excluded.since, until_at = excluded.until_at",
            *(overlay, stage, stage),
        )

    def restrict(self, member: str, seconds: float = 3600) -> None:
        self.sql(
            "INSERT INTO restrictions VALUES (%s, clock_timestamp(),"
            " clock_timestamp() + make_interval(secs => %s), 'gus', 'a test')",
            *(member, seconds),
        )


@contextmanager
def lease_rows(server: PostgresServer, database: str) -> Iterator[LeaseRows]:
    with server.superuser(database) as connection:
        yield LeaseRows(connection)
