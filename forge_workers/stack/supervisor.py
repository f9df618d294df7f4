"""Keeps the processes of a stack running: starts, restarts with back-off, and ends them.

One thread starts and reaps every process, because the kernel ends a child when the *thread* that
started it ends. Everybody else talks to a process through its handle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from forge_core.errors import Unavailable
from forge_workers.stack.home import write_private
from forge_workers.stack.output import Output
from forge_workers.stack.processes import (
    Program,
    created_at,
    end_leftover,
    signal_group,
    signal_stop,
    start,
)

_TICK = 0.05  # seconds between looks at the children
_FIRST_PAUSE = 0.25  # seconds before the first restart, doubled up to the longest
_LONGEST_PAUSE = 8.0
# Seconds after which a process counts as healthy again: less than lies between the kills of a
# storm, in which a worker must not be kept down longer each time it works again.
_STEADY = 5.0
_HOPELESS = 4  # exits in a row before a start is given up


class Handle:
    """One supervised process; its number changes when it is restarted."""

    def __init__(self, program: Program, output: Output) -> None:
        self.program = program
        self.restarts = 0
        self._output = output
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._wanted = True
        self._quick_exits = 0
        self._started = 0.0
        self._start_at = 0.0

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def alive(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """The number of the running process; ``Unavailable`` while there is none."""
        process = self._process
        if process is None:
            raise Unavailable(f"{self.name} is not running")
        return process.pid

    def send(self, sent: signal.Signals, *, group: bool = True) -> None:
        """Signal the process, and everything it started unless ``group`` is False."""
        with self._changed:  # not reaped meanwhile, so the number is still its own
            if group:
                signal_group(self.pid, sent)
            else:
                os.kill(self.pid, sent)

    def stop(self, seconds: float = 5.0, sent: signal.Signals | None = None) -> None:
        """End it and leave it ended: with ``sent`` (default: politely), then with SIGKILL."""
        self.ask_to_stop(sent)
        if not self.wait_stopped(seconds):
            self.ask_to_stop(signal.SIGKILL)
            self.wait_stopped(seconds)

    def ask_to_stop(self, sent: signal.Signals | None = None) -> None:
        with self._changed:
            self._wanted = False
            if self._process is not None:
                signal_stop(self._process.pid, sent or self.program.stop_signal)

    def wait_stopped(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._process is None, max(seconds, 0))

    def start(self, seconds: float = 10.0) -> None:
        """Start it (again); returns once it runs, not when it is ready."""
        with self._changed:
            self._wanted, self._start_at, self._quick_exits = True, 0.0, 0
            if not self._changed.wait_for(lambda: self._process is not None, seconds):
                raise Unavailable(f"{self.name} does not start: {self._last_words()}")

    def restart(self, sent: signal.Signals | None = None, seconds: float = 5.0) -> None:
        self.stop(seconds, sent)
        self.start()

    def wait_ready(self, probe: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when ``probe`` says yes; ``Unavailable`` when it keeps dying or time is up."""
        deadline = time.monotonic() + seconds
        pause = _TICK
        while not probe():
            if self._quick_exits >= _HOPELESS or time.monotonic() > deadline:
                raise Unavailable(f"{self.name} does not start: {self._last_words()}")
            time.sleep(pause)
            # A server that recovers from a crash logs each early visitor.
            pause = min(pause * 1.5, 0.5)

    def look(self, now: float) -> bool:
        """For the supervisor's thread: reap, start; True when a process was started."""
        with self._changed:
            if self._process is not None and _has_exited(self._process.pid):
                self._reap(self._process, now)
            if self._process is not None or not self._wanted or now < self._start_at:
                return False
            try:
                self._process = start(self.program)
            except (OSError, Unavailable) as error:
                self._output.line(self.name, f"ERROR cannot be started: {error}")
                self._pause(now)
                return False
            self._started = now
            self._reader = threading.Thread(
                target=self._output.pump, args=(self.name, self._process.stdout), daemon=True
            )
            self._reader.start()
            self._changed.notify_all()
            return True

    def finish_reading(self, seconds: float) -> None:
        """Let the last lines arrive in the log."""
        if self._reader is not None:
            self._reader.join(seconds)

    def _reap(self, process: subprocess.Popen[bytes], now: float) -> None:
        # Not reaped yet, so no other group can have this number.
        signal_group(process.pid, signal.SIGKILL)
        status = process.wait()
        self._process = None
        if self._wanted:
            self.restarts += 1
            if now - self._started > _STEADY:
                self._quick_exits = 0
            self._pause(now)
            self._output.note(
                self.name,
                f"ERROR ended unexpectedly ({_ending(status)}); "
                f"starting again in {self._start_at - now:.2f} s",
            )
        self._changed.notify_all()

    def _pause(self, now: float) -> None:
        self._start_at = now + min(_FIRST_PAUSE * 2**self._quick_exits, _LONGEST_PAUSE)
        self._quick_exits += 1

    def _last_words(self) -> str:
        return " / ".join(self._output.last_lines(self.name)[-4:]) or "it printed nothing"


class Supervisor:
    """The processes of one stack."""

    def __init__(self, record: Path) -> None:
        self.handles: dict[str, Handle] = {}
        self._record = record
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def add(self, program: Program, output: Output) -> Handle:
        """Start a process and keep it running."""
        handle = Handle(program, output)
        with self._lock:
            self.handles[program.name] = handle
        handle.start()
        return handle

    def stop(
        self,
        handles: Sequence[Handle],
        seconds: float,
        *,
        hurry: threading.Event | None = None,
    ) -> None:
        """End several at once: politely, after ``seconds`` or when ``hurry`` is set by force."""
        for handle in handles:
            handle.ask_to_stop()
        deadline = time.monotonic() + seconds
        for handle in handles:
            while not handle.wait_stopped(min(0.2, deadline - time.monotonic())):
                if time.monotonic() > deadline or (hurry is not None and hurry.is_set()):
                    handle.ask_to_stop(signal.SIGKILL)
        with self._lock:
            for handle in handles:
                self.handles.pop(handle.name, None)

    def close(self, seconds: float = 5.0, *, hurry: threading.Event | None = None) -> None:
        """End what is left and the thread."""
        handles = list(self.handles.values())
        self.stop(handles, seconds, hurry=hurry)
        self._ending.set()
        self._thread.join()
        for handle in handles:
            handle.finish_reading(1)
        self._record.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ending.wait(_TICK):
            with self._lock:
                handles = list(self.handles.values())
            if any([handle.look(time.monotonic()) for handle in handles]):  # noqa: C419  # all of them
                self._remember(handles)

    def _remember(self, handles: Sequence[Handle]) -> None:
        """So that the next run can end what a killed supervisor left behind."""
        running = {
            handle.name: [handle.pid, created_at(handle.pid), int(handle.program.stop_signal)]
            for handle in handles
            if handle.alive
        }
        write_private(self._record, json.dumps(running))


def end_leftovers(record: Path) -> list[str]:
    """End the processes of a former supervisor that are still there; returns their names."""
    try:
        running = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    ended = [
        name
        for name, (pid, created, _) in running.items()
        if created is not None and created_at(pid) == created
    ]
    for name in ended:
        pid, created, polite = running[name]
        end_leftover(pid, created, polite=signal.Signals(polite))
    record.unlink(missing_ok=True)
    return ended


def _has_exited(pid: int) -> bool:
    """Whether the child is a zombie, which it stays until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ending(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
