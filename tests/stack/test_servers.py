"""The embedded servers: who gets in, what is written where, and that nothing lies open."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.engine import make_url

from forge_core.database import migrate
from forge_core.errors import Misconfigured
from forge_workers.stack.servers import Servers, embedded_servers
from tests.support import living_in, short_folder


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    folder = short_folder()
    with embedded_servers(folder / "home", durable=False) as servers:
        yield servers
    shutil.rmtree(folder)


def connect(url: str, **other) -> psycopg2.extensions.connection:
    address = make_url(url)
    arguments = {
        "user": address.username,
        "password": address.password,
        "dbname": address.database,
        "host": address.query["host"],
    }
    return psycopg2.connect(**(arguments | other))


def answer(url: str, statement: str) -> object:
    connection = connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]
    finally:
        connection.close()


@pytest.mark.parametrize("role", ["forge_migrate", "forge_app", "forge_client", "forge_reader"])
def test_each_role_enters_with_its_own_password(running, role):
    assert answer(running.postgres.url(role), "SELECT current_user") == role


@pytest.mark.parametrize("password", ["wrong", ""])
def test_postgres_refuses_a_wrong_or_missing_password(running, password):
    with pytest.raises(psycopg2.OperationalError, match="password"):
        connect(running.postgres.url("forge_app"), password=password)


def test_postgres_refuses_the_password_of_another_role(running):
    other = make_url(running.postgres.url("forge_client")).password
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        connect(running.postgres.url("forge_app"), password=other)


def test_superuser_needs_a_password_too(running):
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        connect(running.postgres.url("forge_app"), user="forge_superuser", password=None)


def test_owner_cannot_log_in(running):
    with pytest.raises(psycopg2.OperationalError):
        connect(running.postgres.url("forge_app"), user="forge_owner")


@pytest.mark.parametrize("role", ["forge_app", "forge_client", "forge_reader"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("idle_in_transaction_session_timeout", "10s"),
        ("statement_timeout", "15s"),
        ("lock_timeout", "5s"),
    ],
)
def test_worker_roles_are_limited(running, role, setting, value):
    assert answer(running.postgres.url(role), f"SHOW {setting}") == value


def test_migrations_are_not_limited(running):
    url = running.postgres.url("forge_migrate")
    assert answer(url, "SHOW statement_timeout") == "0"
    assert answer(url, "SELECT pg_has_role('forge_owner', 'MEMBER')") is True


@pytest.mark.parametrize("role", ["forge_app", "forge_client", "forge_reader"])
def test_worker_roles_are_neither_owner_nor_privileged(running, role):
    url = running.postgres.url(role)
    assert answer(url, "SELECT pg_has_role('forge_owner', 'MEMBER')") is False
    assert answer(url, "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname=user") is False
    assert answer(url, "SELECT has_schema_privilege('public', 'CREATE')") is False
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        connect(running.postgres.url(role, "nothing_of_theirs"), dbname="template1")


def test_postgres_is_durable_unless_a_test_says_otherwise(folder):
    with embedded_servers(folder / "home") as servers:
        url = servers.postgres.url()
        assert [answer(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit")] == [
            "on",
            "on",
        ]


def test_nothing_listens_beyond_loopback_and_postgres_on_no_port(running):
    for name in ("postgres", "broker", "counters"):
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(running.handle(name).pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == ([] if name == "postgres" else ["127.0.0.1"])


@pytest.mark.parametrize("name", ["broker", "counters"])
def test_valkey_refuses_whoever_has_no_password(running, name):
    server = getattr(running, name)
    with (
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


@pytest.mark.parametrize(
    ("name", "policy", "append"),
    [("broker", "noeviction", "yes"), ("counters", "volatile-ttl", "no")],
)
def test_broker_keeps_and_counters_are_bounded(running, name, policy, append):
    with redis.Redis.from_url(getattr(running, name).url) as client:
        settings = client.config_get("maxmemory*", "appendonly")
    assert settings["maxmemory-policy"] == policy
    assert settings["appendonly"] == append
    assert (int(settings["maxmemory"]) > 0) == (name == "counters")


def test_no_password_is_on_a_command_line(running):
    passwords = [path.read_text().strip() for path in running.home.secrets.iterdir()]
    assert len(passwords) == 7
    # `info` has None for a process that is gone or somebody else's.
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    assert not [line for line in lines if any(password in line for password in passwords)]


def test_what_holds_a_password_is_for_its_owner_only(running):
    passwords = [path.read_bytes().strip() for path in running.home.secrets.iterdir()]
    for path in running.home.path.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() for word in passwords):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (running.home.secrets, running.home.run, running.home.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_logs_hold_no_password(running):
    passwords = [path.read_text().strip() for path in running.home.secrets.iterdir()]
    written = "".join(path.read_text() for path in running.home.logs.iterdir())
    assert "ready to accept connections" in written
    assert not [password for password in passwords if password in written]


def test_socket_folder_is_short_and_private(running):
    status = running.postgres.sockets.lstat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == psutil.Process(running.handle("postgres").pid).uids().effective
    assert len(str(running.postgres.sockets / ".s.PGSQL.5432")) <= 100


def test_a_clean_stop_leaves_no_process_socket_or_lock_file(folder):
    with embedded_servers(folder / "home", durable=False) as servers:
        sockets = servers.postgres.sockets
        assert living_in(folder)
    assert not living_in(folder)
    assert not sockets.exists() or not list(sockets.iterdir())
    assert not (servers.postgres.data / "postmaster.pid").exists()
    assert not (servers.home.run / "processes.json").exists()


def test_a_server_made_before_a_role_was_needed_is_told_how_to_make_it(folder):
    """An initialising script does not run again; whoever migrates may not make roles."""
    with embedded_servers(folder / "home", durable=False) as servers:
        with servers.postgres.superuser("forge") as connection, connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY forge_reader")
            cursor.execute("DROP ROLE forge_reader")
        with pytest.raises(Misconfigured, match="CREATE ROLE forge_reader LOGIN"):
            migrate(servers.postgres.url("forge_migrate"))
        with servers.postgres.superuser("forge") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE ROLE forge_reader LOGIN")
        migrate(servers.postgres.url("forge_migrate"))
