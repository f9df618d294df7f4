"""A PostgreSQL of our own: on a unix socket only, and nobody enters without a password."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class in lower case

from forge_core.errors import Unavailable
from forge_workers.stack.account import Account
from forge_workers.stack.binaries import Binaries
from forge_workers.stack.home import write_private
from forge_workers.stack.processes import Program, created_at, end_leftover
from forge_workers.stack.secrets import Secrets

SUPERUSER = "forge_superuser"
DATABASE = "forge"

FAST_SHUTDOWN = signal.SIGINT
IMMEDIATE_SHUTDOWN = signal.SIGQUIT

_SETTINGS: dict[str, str] = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",  # every query here is short
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "autovacuum_naptime": "10s",  # job and inbox rows die as quickly as they are made
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    # The text of a failing statement holds its values, and logs hold nobody's words.
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# For tests: a killed server still has everything, a machine without power may not.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "1min"}


@dataclass(frozen=True)
class PostgresServer:
    """One cluster; ``folder`` belongs to the account that runs it."""

    binaries: Binaries
    folder: Path
    sockets: Path
    account: Account
    secrets: Secrets
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, role: str = "forge_app", database: str = DATABASE) -> str:
        """The SQLAlchemy address of ``database`` for ``role``, password included."""
        password = quote(self.secrets.get(role), safe="")
        return (
            f"postgresql+psycopg2://{role}:{password}@/{database}?host={quote(str(self.sockets))}"
        )

    def ensure_cluster(self) -> None:
        """Make the data directory when there is none; one half made by a killed run is remade.

        ``initdb`` works beside the final place and the result is renamed: what is called ``data``
        is whole. ``Unavailable`` with the reason when it fails.
        """
        if self.data.is_dir():
            return
        self.account.make_folder(self.folder)
        draft = self.folder / "data.unfinished"
        shutil.rmtree(draft, ignore_errors=True)
        with self._password_file() as password_file:
            done = subprocess.run(  # noqa: S603  # our binary, our arguments
                [
                    str(self.binaries.initdb),
                    f"--pgdata={draft}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    "--no-instructions",
                    *(() if self.durable else ("--no-sync",)),
                ],
                env=_ENVIRONMENT,
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                **self.account.as_popen(),
            )
        if done.returncode != 0:
            last = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise Unavailable("PostgreSQL's initdb failed: " + " ".join(last))
        draft.rename(self.data)

    def program(self) -> Program:
        return Program(
            name="postgres",
            arguments=(str(self.binaries.postgres), "-D", str(self.data)),
            environment=_ENVIRONMENT,
            account=self.account,
            stop_signal=FAST_SHUTDOWN,
            death_signal=FAST_SHUTDOWN,
            prepare=self._prepare,
        )

    def answers(self) -> bool:
        """Whether it is up and lets us in."""
        try:
            with self.superuser():
                return True
        except psycopg2.OperationalError:
            return False

    @contextmanager
    def superuser(self, database: str = "postgres") -> Iterator[Connection]:
        """A connection in autocommit, for what no other role may do."""
        connection = psycopg2.connect(
            host=str(self.sockets),
            user=SUPERUSER,
            password=self.secrets.get(SUPERUSER),
            dbname=database,
            connect_timeout=5,
        )
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def _prepare(self) -> None:
        self._clear_lock_file()
        settings = _SETTINGS | {"unix_socket_directories": f"'{self.sockets}'"}
        if not self.durable:
            settings |= _NOT_DURABLE
        self._write("postgresql.conf", "".join(f"{k} = {v}\n" for k, v in settings.items()))
        self._write("pg_hba.conf", "local all all scram-sha-256\n")

    def _clear_lock_file(self) -> None:
        """Deal with the lock file of a killed run.

        PostgreSQL knows what to do when the process it names is gone. When the number exists it is
        our own server, still ending, or its zombie, or a stranger who got the same number.
        """
        lock_file = self.data / "postmaster.pid"
        try:
            pid = int(lock_file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if not psutil.pid_exists(pid):
            return
        created = created_at(pid)
        if created is not None and _works_in(pid, self.data):
            end_leftover(pid, created, polite=FAST_SHUTDOWN, seconds=10)
        else:
            lock_file.unlink(missing_ok=True)

    def _write(self, name: str, content: str) -> None:
        owner = self.account.owner if self.account.switch else None
        write_private(self.data / name, content, owner=owner)

    @contextmanager
    def _password_file(self) -> Iterator[Path]:
        """The superuser's password where initdb can read it, for as long as it needs it."""
        path = self.folder / "password"
        owner = self.account.owner if self.account.switch else None
        write_private(path, self.secrets.get(SUPERUSER), owner=owner)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(psutil.Process(pid).cwd()) == folder.resolve()
    except psutil.Error:  # gone meanwhile, or somebody else's
        return False
