"""`forge up` as a whole: ready soon, closed to strangers, and gone when it is told to go."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from forge_core.access.tokens import Scope, issue
from forge_core.database import make_engine, transaction
from forge_core.settings import Settings
from forge_workers.stack.up import Stack, running_stack
from tests.support import living_in, short_folder, until

pytestmark = pytest.mark.processes

LONG = bool(os.environ.get("FORGE_LONG"))
UP = "from forge_workers.cli import main; main()"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = short_folder()
    with running_stack(folder / "home") as stack:
        yield stack
    assert not living_in(folder)
    shutil.rmtree(folder)


@contextmanager
def forge_up(home: Path) -> Iterator[subprocess.Popen[str]]:
    """`forge up` in a process of its own, until it serves."""
    environment = os.environ | {"FORGE_HOME": str(home)}
    command = [sys.executable, "-c", UP, "up"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if line.startswith("serving"):
                    break
            yield process
        finally:
            process.kill()


def status_of(stack: Stack, password: str | None, path: str = "/workers") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stack.flower.port, timeout=5)
    headers = {}
    if password is not None:
        word = base64.b64encode(f"forge:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_other_commands_find_the_servers(stack):
    endpoints = stack.servers.home.endpoints
    assert stat.S_IMODE(endpoints.stat().st_mode) == 0o600
    assert Settings.load(stack.settings.home) == stack.settings
    content = json.loads(endpoints.read_text())
    assert content["pid"] == os.getpid()
    assert content["flower_url"] == stack.flower.url
    assert content["api_url"] == stack.gateway.url


def test_flower_needs_its_password(stack):
    assert status_of(stack, None) == 401
    assert status_of(stack, "wrong") == 401
    assert status_of(stack, stack.flower.password) == 200


def test_governance_pages_are_in_flower(stack):
    assert status_of(stack, None, "/governance") == 401
    assert status_of(stack, stack.flower.password, "/governance") == 200


def test_the_gateway_lets_in_who_has_a_token(stack):
    engine = make_engine(stack.settings.database_url, pool_size=1)
    with transaction(engine) as session:
        token = issue(session, "tests", [Scope.READ], timedelta(minutes=5)).token
    engine.dispose()
    found = []
    for given in (None, token):
        headers = {} if given is None else {"Authorization": f"Bearer {given}"}
        connection = http.client.HTTPConnection("127.0.0.1", stack.gateway.port, timeout=5)
        connection.request("GET", "/v1/proposals", headers=headers)
        found.append(connection.getresponse().status)
        connection.close()
    assert found == [401, 200]


def test_no_secret_is_on_a_command_line_in_an_environment_or_in_a_log(stack):
    home = stack.servers.home
    passwords = [
        path.read_text().strip()
        for path in home.secrets.iterdir()
        if path.suffix not in {".last", ".lock"}  # the signer's memory, which is public
    ]
    assert len(passwords) == 10
    processes = [psutil.Process(handle.pid) for handle in stack.servers.supervisor.handles.values()]
    assert len(processes) == 13
    for process in processes:
        words = [*process.cmdline(), *process.environ().values()]
        assert not [word for word in words for password in passwords if password in word]
    written = "".join(path.read_text() for path in home.logs.iterdir())
    assert not [password for password in passwords if password in written]


@pytest.mark.parametrize("group", [True, False], ids=["with its pool", "its pool left behind"])
def test_a_killed_worker_is_replaced_and_its_pool_does_not_outlive_it(stack, group):
    worker = stack.handle("count")
    before = psutil.Process(worker.pid)
    pool = before.children()
    assert pool
    restarts = worker.restarts
    worker.send(signal.SIGKILL, group=group)
    until(lambda: worker.restarts == restarts + 1 and worker.alive)
    assert worker.pid != before.pid
    until(lambda: not any(child.is_running() for child in pool))
    until((stack.servers.home.run / "count.ready").exists, 30)


def test_a_worker_that_was_frozen_can_be_stopped(stack):
    worker = stack.handle("count")
    worker.send(signal.SIGSTOP)
    worker.stop(10)
    assert not worker.alive
    worker.start()
    until((stack.servers.home.run / "count.ready").exists, 30)


# Each is a whole stack; SIGTERM and an interrupt end others below.
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if LONG else [signal.SIGHUP]


@pytest.mark.parametrize("sent", SIGNALS)
def test_up_ends_everything_within_ten_seconds_of_being_told(folder, sent):
    with forge_up(folder / "home") as process:
        assert len(living_in(folder)) > 8
        process.send_signal(sent)
        began = time.monotonic()
        process.communicate()
        assert time.monotonic() - began < 10
        assert process.returncode == 0
    assert not living_in(folder)
    assert not (folder / "home" / "endpoints.json").exists()


def test_a_second_interrupt_ends_everything_at_once(folder):
    with forge_up(folder / "home") as process:
        process.send_signal(signal.SIGINT)
        assert any("stopping" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 0
    until(lambda: not living_in(folder))


def test_an_interrupt_before_it_is_ready_leaves_nothing(folder):
    environment = os.environ | {"FORGE_HOME": str(folder / "home")}
    command = [sys.executable, "-c", UP, "up"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        until(lambda: len(living_in(folder)) > 1, 30)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert not living_in(folder)


def test_a_killed_up_takes_everything_with_it_and_the_next_one_works(folder):
    with forge_up(folder / "home") as process:
        process.kill()
        process.wait()
        until(lambda: not living_in(folder))
    with forge_up(folder / "home") as process:
        process.terminate()
        process.communicate()
        assert process.returncode == 0


def test_a_port_in_use_is_one_sentence_and_status_3(folder, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("FORGE_FLOWER_PORT", str(port))
        monkeypatch.setenv("FORGE_HOME", str(folder / "home"))
        done = subprocess.run(
            [sys.executable, "-c", UP, "up"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 3
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert not living_in(folder)
