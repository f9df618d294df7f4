"""A Valkey of one test, which it may stop and start as it likes."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from forge_workers.stack.account import server_account
from forge_workers.stack.binaries import find_binaries
from tests.support import until


class OwnValkey:
    """As the counters' is configured, but without a password."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._binary = str(find_binaries(server_account()).valkey)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = f"--port {self.port} --bind 127.0.0.1 --maxmemory-policy volatile-ttl"
        self._process = subprocess.Popen(
            [self._binary, *words.split(), "--maxmemory", "64mb", "--save", "", "--dir", "/tmp"],
            stdout=subprocess.DEVNULL,
        )
        until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """It comes back empty, as the counters' always does."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def own_valkey() -> Iterator[OwnValkey]:
    valkey = OwnValkey()
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()
