"""Servers that somebody else runs, named in the environment: each replaces an embedded one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import redis
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from forge_core.database import make_engine
from forge_core.errors import Misconfigured, Unavailable
from forge_core.settings import OTHER_ROLES, VARIABLES

OLDEST_POSTGRES = 15
OLDEST_VALKEY = 7
_PATIENCE = 3  # seconds for a connection


@dataclass(frozen=True)
class Given:
    """The addresses that were given; None is what the stack runs itself."""

    database_url: str | None = None
    migrate_database_url: str | None = None
    client_database_url: str | None = None
    reader_database_url: str | None = None
    broker_url: str | None = None
    redis_url: str | None = None

    @classmethod
    def from_environment(cls) -> Given:
        """FORGE_DATABASE_URL and its siblings; an empty variable is no variable."""
        given = {name: os.environ.get(variable) or None for name, variable in VARIABLES.items()}
        if given["database_url"] is None:
            for narrower in OTHER_ROLES:
                if given[narrower]:
                    raise Misconfigured(
                        f"{VARIABLES[narrower]} is set without {VARIABLES['database_url']}; "
                        "set both, or neither for an embedded PostgreSQL"
                    )
        return cls(**given)

    def check(self) -> None:
        """``Unavailable`` with one sentence when a given server is out of reach or too old."""
        for name in ("database_url", *OTHER_ROLES):
            if url := getattr(self, name):
                _check_postgres(VARIABLES[name], url)
        if self.broker_url:
            if self.broker_url.startswith(("redis://", "rediss://")):
                _check_valkey(VARIABLES["broker_url"], self.broker_url)
            else:
                _check_other_broker(VARIABLES["broker_url"], self.broker_url)
        if self.redis_url:
            _check_valkey(VARIABLES["redis_url"], self.redis_url)


def _check_postgres(variable: str, url: str) -> None:
    engine = make_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    except DBAPIError as error:
        raise Unavailable(
            f"{variable}: PostgreSQL cannot be used: {_first_line(error.orig)}"
        ) from None  # the cause holds the address with its password
    finally:
        engine.dispose()
    if version // 10_000 < OLDEST_POSTGRES:
        raise Unavailable(
            f"{variable}: PostgreSQL {version // 10_000} is too old; "
            f"it must be {OLDEST_POSTGRES} or newer"
        )


def _check_valkey(variable: str, url: str) -> None:
    try:
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=_PATIENCE,
            socket_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise Misconfigured(f"{variable} must be redis://[:password@]host:port/number") from None
    try:
        version = str(client.info("server")["redis_version"])
    except redis.RedisError as error:
        raise Unavailable(
            f"{variable}: Valkey or Redis cannot be used: {_first_line(error)}"
        ) from None
    finally:
        client.close()
    if int(version.split(".", 1)[0]) < OLDEST_VALKEY:
        raise Unavailable(
            f"{variable}: Valkey or Redis {version} is too old; it must be {OLDEST_VALKEY} or newer"
        )


def _check_other_broker(variable: str, url: str) -> None:
    connection = Connection(url, connect_timeout=_PATIENCE)
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_PATIENCE)
    except (OSError, OperationalError) as error:
        raise Unavailable(f"{variable}: the broker cannot be used: {_first_line(error)}") from None
    finally:
        connection.release()


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n", 1)[0]
