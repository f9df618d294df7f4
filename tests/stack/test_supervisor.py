"""The supervisor itself, with small programs in place of servers."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forge_core.errors import Unavailable
from forge_workers.stack.output import Output
from forge_workers.stack.processes import Program
from forge_workers.stack.supervisor import Handle, Supervisor, end_leftovers
from tests.support import until

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print("child", child.pid, flush=True)
time.sleep(100)
"""


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    output = Output(tmp_path, None)
    yield output
    output.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "processes.json")
    yield supervisor
    supervisor.close(0.1)


def python(code: str, **options) -> Program:
    return Program("subject", (sys.executable, "-c", code), dict(os.environ), **options)


def child_of(handle: Handle, output: Output) -> psutil.Process:
    until(lambda: output.last_lines(handle.name))
    return psutil.Process(int(output.last_lines(handle.name)[-1].split()[1]))


def test_what_never_starts_is_given_up_with_its_last_words(supervisor, output):
    handle = supervisor.add(python("raise SystemExit('no such luck')"), output)
    with pytest.raises(Unavailable, match=r"not start: no such luck( / no such luck)*$"):
        handle.wait_ready(lambda: False)
    assert handle.restarts == 4


def test_pauses_between_restarts_grow(supervisor, output, tmp_path):
    handle = supervisor.add(python("raise SystemExit(7)"), output)
    until(lambda: handle.restarts == 3)
    written = (tmp_path / "subject.log").read_text().splitlines()
    assert [line.rsplit(" in ", 1)[1] for line in written] == ["0.25 s", "0.50 s", "1.00 s"]


def test_what_had_worked_for_a_while_is_started_again_at_once(
    supervisor, output, tmp_path, monkeypatch
):
    monkeypatch.setattr("forge_workers.stack.supervisor._STEADY", 0.0)
    handle = supervisor.add(python("import time; time.sleep(100)"), output)
    for number in range(3):
        until(lambda: handle.alive)
        handle.send(signal.SIGKILL)
        until(lambda: handle.restarts > number)  # noqa: B023  # called at once
    written = (tmp_path / "subject.log").read_text().splitlines()
    assert [line.rsplit(" in ", 1)[1] for line in written] == ["0.25 s"] * 3


def test_what_will_not_end_politely_is_killed_with_all_it_started(supervisor, output):
    handle = supervisor.add(python(STUBBORN), output)
    child = child_of(handle, output)
    began = time.monotonic()
    handle.stop(0.3)
    assert 0.3 <= time.monotonic() - began < 3
    assert not handle.alive
    until(lambda: not child.is_running())


def test_what_a_killed_process_started_does_not_outlive_it(supervisor, output):
    handle = supervisor.add(python(STUBBORN), output)
    child = child_of(handle, output)
    handle.send(signal.SIGKILL, group=False)
    until(lambda: not child.is_running())
    until(lambda: handle.restarts == 1 and handle.alive)


def test_a_stopped_process_stays_stopped_until_it_is_started(supervisor, output):
    handle = supervisor.add(python("import time; time.sleep(100)"), output)
    first = handle.pid
    handle.stop()
    with pytest.raises(Unavailable, match="subject is not running"):
        handle.pid  # noqa: B018  # raises
    handle.start()
    assert handle.pid != first
    assert handle.restarts == 0


def test_only_processes_of_the_former_run_are_ended_as_leftovers(tmp_path, supervisor, output):
    handle = supervisor.add(python("import time; time.sleep(100)"), output)
    record = tmp_path / "processes.json"
    until(record.exists)
    copy = tmp_path / "copy.json"
    # The same number, but a process made at another time: somebody else's.
    copy.write_text(record.read_text().replace(f"[{handle.pid}, ", f"[{handle.pid}, 1"))
    assert end_leftovers(copy) == []
    assert handle.alive
    copy.write_text(record.read_text())
    assert end_leftovers(copy) == ["subject"]
    until(lambda: handle.restarts == 1)


def test_logs_are_prefixed_and_hushed_lines_still_reach_the_file(tmp_path, capsys):
    output = Output(tmp_path, sys.stderr)
    output.line("worker", "one")
    with output.hushed():
        output.line("worker", "two")
        output.line("worker", "ERROR three")
    output.close()
    assert capsys.readouterr().err == "worker    | one\nworker    | ERROR three\n"
    assert (tmp_path / "worker.log").read_text() == "one\ntwo\nERROR three\n"
