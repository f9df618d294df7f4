"""The Celery application that ours is compared with: one task a ballot, and a task that is empty.

As people write it: the broker's second logical database, as many pool processes as the worker it
is compared with, early acknowledgement, no results, no events, JSON.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psycopg2
from celery import Celery

from benchmarks.house import House
from benchmarks.rows import DATABASE, Given, connect, write_one
from forge_core.settings import Settings
from forge_workers.stack import readiness
from forge_workers.stack.house import Worker
from forge_workers.stack.processes import Program
from forge_workers.stack.roles import create_database

BROKER_DATABASE = 1
QUEUE = "peers"
URL = "BENCH_PEERS_DATABASE_URL"

app = Celery("peers", set_as_current=False)
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    accept_content=["json"],
    task_serializer="json",
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


def use_broker(settings: Settings) -> None:
    """Our broker, in a logical database of their own."""
    app.conf.update(broker_url=settings.broker_url.removesuffix("/0") + f"/{BROKER_DATABASE}")


if "FORGE_HOME" in os.environ:
    use_broker(Settings.load())


@cache
def _connection(_process: int) -> psycopg2.extensions.connection:
    return connect(os.environ[URL])


@app.task(name="count")
def count(ballot: Given, number: int) -> None:
    """One transaction that writes everything there is about one ballot."""
    connection = _connection(os.getpid())
    with connection, connection.cursor() as cursor:
        write_one(cursor, ballot, number)


@app.task(name="empty")
def empty() -> None:
    """Nothing."""


def executed(task: str) -> int:
    """How many tasks of this name the running worker has begun."""
    answers = app.control.inspect(timeout=2, limit=1).stats() or {}
    return sum(int(stats["total"].get(task, 0)) for stats in answers.values())


def prepare_database(house: House) -> str:
    """The peers' database: migrated as ours, writable as theirs; returns its address."""
    from forge_core.database import migrate  # noqa: PLC0415  # Alembic, which no worker needs

    postgres = house.stack.servers.postgres
    create_database(postgres, DATABASE)
    migrate(postgres.url("forge_migrate", DATABASE))
    with postgres.superuser(DATABASE) as superuser, superuser.cursor() as cursor:
        cursor.execute("GRANT INSERT ON ballot_inbox TO forge_app")
        for table in ("proposals", "members"):
            cursor.execute(f"ANALYZE {table}")
    return postgres.url("forge_app", DATABASE)


_names = itertools.count()


@contextmanager
def peer_worker(house: House, concurrency: int, url: str = "") -> Iterator[None]:
    """Run a worker of the peers' application for as long as the block lasts."""
    use_broker(house.settings)
    name = f"peers{next(_names)}"
    marker = house.stack.servers.home.run / f"{name}.ready"
    environment = {
        **os.environ,
        "FORGE_HOME": str(house.settings.home),
        URL: url,
        readiness.VARIABLE: str(marker),
        "PYTHONWARNINGS": "ignore",
    }
    arguments = Worker(name, (QUEUE,), concurrency).arguments(f"--include={readiness.__name__}")
    program = Program(
        name=name,
        arguments=tuple(
            "--app=benchmarks.peers" if word.startswith("--app=") else word for word in arguments
        ),
        environment=environment,
    )
    handle = house.stack.servers.supervisor.add(program, house.stack.servers.output)
    handle.wait_ready(marker.exists)
    try:
        yield
    finally:
        handle.stop()
