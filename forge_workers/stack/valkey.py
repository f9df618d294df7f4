"""A Valkey of our own: on loopback only, behind a password that is on no command line."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from forge_workers.stack.account import Account
from forge_workers.stack.home import write_private
from forge_workers.stack.ports import LOOPBACK
from forge_workers.stack.processes import Program

# The broker keeps what it has and refuses more when it is full. The counters are bounded and give
# up those that expire soonest: a flood of addresses must not stop governance.
_PERSISTENT = """\
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""
_VOLATILE = """\
appendonly no
maxmemory 64mb
maxmemory-policy volatile-ttl
"""


@dataclass(frozen=True)
class ValkeyServer:
    """One server; ``folder`` belongs to the account that runs it."""

    name: str
    binary: Path
    folder: Path
    account: Account
    port: int
    password: str
    persistent: bool

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def program(self) -> Program:
        return Program(
            name=self.name,
            arguments=(str(self.binary), str(self._configuration)),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            account=self.account,
            death_signal=signal.SIGTERM,
            prepare=self._prepare,
        )

    def answers(self) -> bool:
        """Whether it is up and lets us in."""
        client = redis.Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password,
            socket_timeout=1,
            retry=Retry(NoBackoff(), 0),  # who asks asks again
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    @property
    def _configuration(self) -> Path:
        return self.folder / "valkey.conf"

    def _prepare(self) -> None:
        self.account.make_folder(self.folder)
        write_private(
            self._configuration,
            f"bind {LOOPBACK}\n"
            f"port {self.port}\n"
            "protected-mode yes\n"
            f"requirepass {self.password}\n"
            f'dir "{_quoted(self.folder)}"\n'
            "daemonize no\n"
            "loglevel warning\n"  # starting and stopping is told by the stack itself
            "databases 64\n"
            "tcp-backlog 128\n"  # what small machines allow; more would only be warned about
            "set-proc-title no\n"
            'save ""\n' + (_PERSISTENT if self.persistent else _VOLATILE),
            owner=self.account.owner if self.account.switch else None,
        )


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
