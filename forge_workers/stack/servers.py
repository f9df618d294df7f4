"""PostgreSQL and the two Valkeys of one home, as one thing to start and stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from forge_core.errors import Unavailable
from forge_core.settings import Settings
from forge_workers.stack.account import server_account
from forge_workers.stack.binaries import find_binaries
from forge_workers.stack.external import Given
from forge_workers.stack.folders import remove_socket_folder, servers_folder, socket_folder
from forge_workers.stack.home import Home
from forge_workers.stack.output import Output
from forge_workers.stack.ports import Ports
from forge_workers.stack.postgres import PostgresServer
from forge_workers.stack.roles import ensure_roles
from forge_workers.stack.secrets import Secrets
from forge_workers.stack.supervisor import Handle, Supervisor, end_leftovers
from forge_workers.stack.valkey import ValkeyServer

_POSTGRES_STARTS = 60.0  # seconds; after a crash it first reads its log again
_VALKEY_STARTS = 20.0
_SERVERS_END = 5.5  # seconds for a checkpoint and a last write; with the workers' below 10


@dataclass(frozen=True)
class Servers:
    """The running servers of one home; the supervisor takes further processes."""

    home: Home
    given: Given
    output: Output
    supervisor: Supervisor
    ports: Ports
    secrets: Secrets
    hurry: threading.Event
    embedded: dict[str, PostgresServer | ValkeyServer]

    @property
    def postgres(self) -> PostgresServer:
        server = self.embedded.get("postgres")
        if not isinstance(server, PostgresServer):
            raise Unavailable("PostgreSQL was given by FORGE_DATABASE_URL and is not ours")
        return server

    @property
    def broker(self) -> ValkeyServer:
        return self._valkey("broker")

    @property
    def counters(self) -> ValkeyServer:
        return self._valkey("counters")

    def handle(self, name: str) -> Handle:
        """The supervised process: "postgres", "broker", "counters"."""
        return self.supervisor.handles[name]

    def settings(self) -> Settings:
        """Where everything is, for the core, the clients and ``endpoints.json``."""
        given = self.given

        def database(role: str, *named: str | None) -> str:
            return next(filter(None, named), None) or self.postgres.url(role)

        return Settings(
            home=self.home.path,
            database_url=database("forge_app", given.database_url),
            migrate_database_url=database(
                "forge_migrate", given.migrate_database_url, given.database_url
            ),
            client_database_url=database(
                "forge_client", given.client_database_url, given.database_url
            ),
            reader_database_url=database(
                "forge_reader", given.reader_database_url, given.database_url
            ),
            broker_url=given.broker_url or self.broker.url,
            redis_url=given.redis_url or self.counters.url,
        )

    def wait_ready(self) -> None:
        """Return when every server answers and the roles are as they should be."""
        if "postgres" in self.embedded:
            self.handle("postgres").wait_ready(self.postgres.answers, _POSTGRES_STARTS)
            ensure_roles(self.postgres)
        for name, server in self.embedded.items():
            self.handle(name).wait_ready(server.answers, _VALKEY_STARTS)

    def _valkey(self, name: str) -> ValkeyServer:
        server = self.embedded.get(name)
        if not isinstance(server, ValkeyServer):
            raise Unavailable(f"the {name} was given by an environment variable and is not ours")
        return server


@contextmanager
def embedded_servers(
    home: Path,
    *,
    given: Given | None = None,
    durable: bool = True,
    console: TextIO | None = None,
    hurry: threading.Event | None = None,
) -> Iterator[Servers]:
    """Run the servers that are not ``given`` below ``home`` for as long as the block lasts.

    ``durable=False`` is for tests: a killed server keeps its data, a machine without power may
    not. ``hurry`` shortens the end. Raises ``Unavailable`` with one sentence.
    """
    given = given or Given()
    given.check()
    prepared = Home.prepare(home)
    with prepared.locked():
        record = prepared.run / "processes.json"
        end_leftovers(record)
        servers = Servers(
            home=prepared,
            given=given,
            output=Output(prepared.logs, console),
            supervisor=Supervisor(record),
            ports=Ports(prepared.run / "ports.json"),
            secrets=Secrets(prepared.secrets),
            hurry=hurry or threading.Event(),
            embedded={},
        )
        try:
            _start(servers, durable=durable)
            yield servers
        finally:
            servers.supervisor.close(_SERVERS_END, hurry=servers.hurry)
            servers.ports.close()
            remove_socket_folder(prepared)
            servers.output.close()


def _start(servers: Servers, *, durable: bool) -> None:
    home, given, secrets = servers.home, servers.given, servers.secrets
    wanted = {
        "broker": given.broker_url is None,
        "counters": given.redis_url is None,
        "postgres": given.database_url is None,
    }
    if not any(wanted.values()):
        return
    account = server_account()
    binaries = find_binaries(account)
    folder = servers_folder(home, account)
    for name in ("broker", "counters"):
        if wanted[name]:
            valkey = ValkeyServer(
                name=name,
                binary=binaries.valkey,
                folder=folder / name,
                account=account,
                # The counters are the server behind FORGE_REDIS_URL.
                port=servers.ports.get("redis" if name == "counters" else name),
                password=secrets.get(name),
                persistent=name == "broker",
            )
            servers.embedded[name] = valkey
            servers.supervisor.add(valkey.program(), servers.output)
    if wanted["postgres"]:
        postgres = PostgresServer(
            binaries=binaries,
            folder=folder / "postgres",
            sockets=socket_folder(home, folder, account),
            account=account,
            secrets=secrets,
            durable=durable,
        )
        postgres.ensure_cluster()
        servers.embedded["postgres"] = postgres
        servers.supervisor.add(postgres.program(), servers.output)
    servers.wait_ready()
