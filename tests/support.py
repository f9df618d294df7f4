"""Small helpers of the tests that look at processes and folders from outside."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from forge_core.settings import VARIABLES
from forge_workers.stack.processes import Program, signal_group, start


def _room() -> str:
    """Memory where there is plenty: each test makes a database of its own and throws it away."""
    try:
        memory = os.statvfs("/dev/shm")
    except OSError:
        return "/tmp"
    roomy = memory.f_bavail * memory.f_frsize >= 4 << 30
    return "/tmp" if memory.f_flag & os.ST_NOEXEC or not roomy else "/dev/shm"


def short_folder() -> Path:
    """A folder that the account of root's servers can pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="forge-test-", dir=_room()))
    folder.chmod(0o711)
    return folder


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that another process does; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@contextmanager
def in_child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process of its own until it prints a line, then hand it over."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline(), "the child ended before it was ready"
            yield child
        finally:
            child.kill()


def free_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(Protocol):
    """What the stack runs for browsers and other programs."""

    def program(self, environment: Mapping[str, str]) -> Program: ...
    def answers(self) -> bool: ...


@contextmanager
def serving(server: Server, home: Path, **addresses: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it as the stack does, given these addresses and no other, until it answers."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES.values()}
    process = start(server.program(environment | {"FORGE_HOME": str(home)} | addresses))
    try:
        until(lambda: server.answers() or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()[0].decode()
        yield process
    finally:
        signal_group(process.pid, signal.SIGKILL)
        process.communicate()


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP; names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, path: str, *, method: str = "GET", headers: Mapping[str, str] = {}) -> Answer:
    """One request to a server on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)
    finally:
        connection.close()


def living_in(home: Path) -> list[psutil.Process]:
    """The living processes that have this home in their arguments or their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("FORGE_HOME", "")]
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
        if alive and process.pid != os.getpid() and any(str(home) in word for word in words):
            found.append(process)
    return found
